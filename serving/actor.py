"""A replica as an actor: what the fleet places, starts and watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ps.coordinator.orders import ReplicaReport
    from serving.host import ReplicaHost


class ReplicaActor:
    """For ray.remote, with a thread for each method and more: stay() keeps one.

    make: makes the host, in the actor's process.
    """

    def __init__(self, make: Callable[[], ReplicaHost]) -> None:
        self._host = make()

    def run(self) -> ReplicaReport:
        """Start; how it stands. Raises serving.errors.ServerStartError."""
        self._host.start()
        return self._host.hello()

    def stay(self) -> None:
        """Return once the replica has ended in order: until then a pending call, which fails with
        the process.
        """
        self._host.wait()

    def stop(self) -> bool:
        """End in order; whether it has."""
        return self._host.stop()

    def hello(self) -> ReplicaReport:
        """How it stands."""
        return self._host.hello()
