"""The coordinator as workers and replicas reach it: by the name of its actor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.fleet.actors import find_coordinator
from cluster.fleet.calls import call
from ps.errors import JobBusyError, ShardUnavailableError

if TYPE_CHECKING:
    from ray.actor import ActorHandle

    from ps.coordinator.orders import ReplicaOrders, ReplicaReport, WorkerOrders, WorkerReport

# A report that is not answered by then is made up for by the next.
_REPORT_S = 5.0


class ActorCoordination:
    """See ps.coordinator.orders.Coordination. One thread's."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._handle: ActorHandle | None = None

    def work(self, report: WorkerReport) -> WorkerOrders:
        """See Coordination."""
        orders: WorkerOrders = self._call("work", report)
        return orders

    def serve(self, report: ReplicaReport) -> ReplicaOrders:
        """See Coordination."""
        orders: ReplicaOrders = self._call("serve", report)
        return orders

    def _call(self, method: str, report: object) -> Any:
        if self._handle is None:
            self._handle = find_coordinator(self._job)
        try:
            return call("the coordinator", self._handle, method, _REPORT_S, report)
        except ShardUnavailableError as error:
            self._handle = None  # perhaps there is another one by now
            raise JobBusyError(
                f"the coordinator of {self._job} does not answer: {error.why}"
            ) from error
