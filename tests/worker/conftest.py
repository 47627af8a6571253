"""Settings of the property tests: kernels compile on first use, so no test has a deadline."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("worker", deadline=None, print_blob=True)
settings.load_profile("worker")
