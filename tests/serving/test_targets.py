"""Targets from a job's admin service: the replicas that are ready, as they are now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ps.admin.errors import AdminRefusedError, AdminUnreachableError
from ps.admin.server import AdminServer
from ps.admin.target import AdminSettings, JobStatus, ReplicaStatus
from serving.client import PredictClient
from serving.targets import from_admin
from tests.ps.admin.job import STATUS, RecordingJob
from tests.serving.world import make_world

if TYPE_CHECKING:
    from serving.server import PredictServer

CONTEXT = {"user_id": 3, "position": 1}
ITEMS = [{"item_id": 1}]
DEADLINE_S = 20.0
TOKEN = "a word"  # noqa: S105


class Job(RecordingJob):
    """A job whose replicas change."""

    def __init__(self) -> None:
        super().__init__()
        self.replicas: tuple[ReplicaStatus, ...] = ()

    def status(self) -> JobStatus:
        return replace(STATUS, replicas=self.replicas)


def _replica(server: PredictServer, *, ready: bool = True) -> ReplicaStatus:
    return ReplicaStatus(server.target, ready, (1,), (1,), 1, None, None, None)


def test_a_client_finds_the_replicas_that_are_ready_and_those_that_come_later() -> None:
    job = Job()
    with (
        AdminServer(job, AdminSettings(token=TOKEN)) as admin,
        make_world().server() as one,
        make_world().server() as two,
    ):
        job.replicas = (_replica(one), _replica(two, ready=False))
        targets = from_admin(admin.address, TOKEN)
        assert targets() == (one.target,)
        with PredictClient(targets, timeout_s=DEADLINE_S, refresh_s=3600.0) as client:
            client.predict(CONTEXT, ITEMS)
            job.replicas = (_replica(two),)
            one.stop()
            client.predict(CONTEXT, ITEMS)


def test_a_job_that_refuses_or_is_not_there_is_an_error_that_says_so() -> None:
    with (
        AdminServer(Job(), AdminSettings(token=TOKEN)) as admin,
        pytest.raises(AdminRefusedError, match="token"),
    ):
        from_admin(admin.address, "another")()
    with pytest.raises(AdminUnreachableError, match="no job answers"):
        from_admin("127.0.0.1:1", TOKEN)()
