"""A counting job on a cluster, with users, until it is ended in order: to be broken, and waited for."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self, TypeVar

from cluster.fleet.launch import running
from cluster.fleet.shipping import JobText
from cluster.job.resolve_cluster import Spread
from ps.admin.client import AdminClient
from ps.admin.errors import AdminError
from ps.clock import SystemClock
from ps.store.resume import GoOnFrom
from serving.targets import from_admin
from tests.faults.cluster.counting import BATCH, PARTITIONS, REPLICAS, SHARDS, WORKERS, write_job
from tests.faults.cluster.load import Load
from tests.faults.cluster.machines import Machines
from tests.faults.cluster.sight import Sight

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ray.cluster_utils import Cluster

    from ps.admin.target import JobStatus
    from ps.stream import Positions

T = TypeVar("T")

# Of a push that was on its way at a kill: so many more positions are no sign of recovery.
IN_FLIGHT = 3 * BATCH
# For everything that must happen; on a machine with much else to do, it takes its time.
PATIENCE_S = 120.0
# Kernels may have to be compiled, in all processes at once.
_FIRST_S = 400.0
_LOOK_S = 0.02
_ANSWER_S = 1.0


class World:
    """A context manager: the job runs and is asked for predictions until finish()."""

    def __init__(self, cluster: Cluster, folder: Path, *, standbys: int) -> None:
        self._standbys = standbys
        self._cluster = cluster
        self.clock = SystemClock()
        self._pause = threading.Event()
        self._resources = ExitStack()
        self._admin_address = f"127.0.0.1:{_free_port()}"
        file = write_job(folder, self._admin_address, standbys=standbys)
        self.job = JobText.read(file, spread=Spread())
        self._driver_error: BaseException | None = None
        self.sight = Sight(standbys)
        self.machines = Machines(cluster)
        self.said: list[str] = []
        # What is_well() last found.
        self.ailment: str | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._run = stack.enter_context(
                running(
                    self.job,
                    self._cluster.address,
                    wanted=GoOnFrom(),
                    say=self.said.append,
                    step=self.said.append,
                )
            )
            stop = threading.Event()
            driver = threading.Thread(target=self._drive, args=(stop,), daemon=True)
            driver.start()
            stack.callback(driver.join, PATIENCE_S)
            stack.callback(stop.set)
            self._admin = stack.enter_context(AdminClient(self._admin_address, timeout_s=_ANSWER_S))
            self.wait("all are well for the first time", self.is_well, _FIRST_S)
            self.load = stack.enter_context(Load(from_admin(self._admin_address)))
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def finish(self) -> None:
        """End load and job in order."""
        self.load.stop()
        outcome = self._run.finish()
        assert outcome.unsaved is None, outcome.unsaved

    def status(self) -> JobStatus | None:
        """As an operator sees it; None: nobody answers."""
        try:
            return self._admin.status()
        except AdminError:
            return None

    def is_well(self) -> bool:
        """Whether nothing is left to recover: everybody is there, does its duty, and has spare parts."""
        self.ailment = self._ailment()
        return self.ailment is None

    def _ailment(self) -> str | None:
        missing = 1 + len(self._cluster.worker_nodes) - len(self.machines.alive())
        if missing > 0:
            return f"{missing} machine(s) missing"
        status = self.status()
        if status is None:
            return "no coordinator answers"
        if status.state != "training" or len(status.shards) < SHARDS:
            return f"the job is {status.state}, {len(status.shards)} shards are led"
        if sum(one.ready for one in status.replicas) < REPLICAS or not self.sight.are_ready({}):
            return f"not all replicas are ready: {status.replicas}"
        for shard in range(SHARDS):
            hosts = self.sight.hosts(shard)
            roles = sorted(host.role for host in hosts.values())
            if roles != sorted(["leading"] + ["following"] * self._standbys):
                return f"processes of shard {shard} are {roles}"
            if any(host.cursor is None for host in hosts.values()):
                return f"a standby of shard {shard} has not begun"
        owned = self.sight.owned()
        if len(owned) < PARTITIONS or len(set(owned.values())) < WORKERS:
            return f"partitions are owned so: {owned}"
        return None

    def wait(self, what: str, holds: Callable[[], object], patience_s: float = PATIENCE_S) -> float:
        """Until something holds; how long that took. Raises TimeoutError where it takes too long."""
        began_s = self.clock.monotonic_s()
        while not holds():
            waited_s = self.clock.monotonic_s() - began_s
            if self._driver_error is not None:
                raise self._driver_error
            if waited_s > patience_s:
                told = "\n  ".join(self.said[-20:])
                raise TimeoutError(
                    f"{what}: not within {patience_s:g} s ({self.ailment or 'all else is well'}); "
                    f"said last:\n  {told}"
                )
            self._pause.wait(_LOOK_S)
        return self.clock.monotonic_s() - began_s

    def seen(self, look: Callable[[], T]) -> T:
        """What is seen once that is anything: whoever is busy does not always answer in time."""
        found: list[T] = []

        def is_there() -> bool:
            found[:] = [look()]
            return bool(found[0])

        self.wait("somebody who is there answers", is_there)
        return found[0]

    def wait_learning(self, partitions: Sequence[str] | None = None) -> float:
        """Until all shards have learned more of all these partitions than can have been on its way."""
        before: list[Positions] = []

        def has_moved() -> bool:
            now = self.sight.positions()
            before[:] = before or now
            return len(now) > 0 and all(
                at[name] > began[name] + IN_FLIGHT
                for at, began in zip(now, before, strict=True)
                for name in partitions or began
            )

        return self.wait("everything is learned from again", has_moved)

    def pass_time(self, seconds: float) -> None:
        """Let the world go on for a while."""
        self._pause.wait(seconds)

    def _drive(self, stop: threading.Event) -> None:
        """As `trilith train` does."""
        try:
            glance = self._run.follow(stop, lambda _: None, hold=True)
            self._driver_error = None if glance is None else glance.failure
        except BaseException as error:  # noqa: BLE001  # raised by whoever waits
            self._driver_error = error


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
