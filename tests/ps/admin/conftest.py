"""Admin services for the tests: real gRPC on the loopback, ended with the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ps.admin.client import AdminClient
from ps.admin.server import AdminServer
from tests.ps.admin.job import RecordingJob

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def job() -> RecordingJob:
    return RecordingJob()


@pytest.fixture
def server(job: RecordingJob) -> Iterator[AdminServer]:
    with AdminServer(job) as server:
        yield server


@pytest.fixture
def client(server: AdminServer) -> Iterator[AdminClient]:
    with AdminClient(server.address, timeout_s=20.0) as client:
        yield client
