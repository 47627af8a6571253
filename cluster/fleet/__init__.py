"""A job's processes on a Ray cluster: placed, started, watched, and ended."""
