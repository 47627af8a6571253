"""Settings of every property test: kernels compile on first use, so none has a deadline."""

from __future__ import annotations

import gc
import os

from hypothesis import settings

settings.register_profile("trilith", deadline=None, print_blob=True)
settings.load_profile("trilith")

# A runner that spreads tests over processes tells them how wide its own terminal is.
os.environ.pop("COLUMNS", None)


def pytest_collection_finish() -> None:
    """Keep what is there by now out of every later collection: it is much, and stays to the end."""
    gc.collect()
    gc.freeze()
