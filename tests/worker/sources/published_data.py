"""Where real data sets lie; a test that wants one skips where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data_file(name: str) -> str:
    """The path of a file of TRILITH_DATA."""
    path = Path(os.environ.get("TRILITH_DATA", "../shared/data")) / name
    if not path.exists():
        pytest.skip(f"{path} is absent; set TRILITH_DATA to where the data sets lie")
    return str(path)
