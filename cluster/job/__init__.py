"""Job files: YAML that says what to learn from, how, and where to serve it."""

from cluster.job.load import Job, job_schema, load_job, parse_job
from cluster.job.resolve import resolve

__all__ = ["Job", "job_schema", "load_job", "parse_job", "resolve"]
