"""Stores to test on: a folder, memory, and an S3 server of this machine's own."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import fsspec
import pytest

from ps.store.opening import open_location
from tests.ps.store.s3_server import BUCKET, s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ps.store.location import Location

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def s3_bucket() -> Iterator[str]:
    """The URL of an empty bucket; clients find their way by the environment."""
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    pytest.importorskip("moto", reason="moto is not installed")
    with pytest.MonkeyPatch.context() as patch, s3_server() as environment:
        for key, value in environment.items():
            patch.setenv(key, value)
        fsspec.filesystem("s3").mkdir(BUCKET)
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["folder", "memory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that nothing is in yet."""
    if request.param == "folder":
        return str(tmp_path / "store")
    if request.param == "memory":
        return f"memory://store-{next(_NUMBERS)}"
    return f"{request.getfixturevalue('s3_bucket')}/store-{next(_NUMBERS)}"


@pytest.fixture
def location(url: str) -> Location:
    """A location that nothing is in yet."""
    return open_location(url)
