"""Settings of every property test: kernels compile on first use, so none has a deadline."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("trilith", deadline=None, print_blob=True)
settings.load_profile("trilith")
