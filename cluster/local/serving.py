"""The serving side of a run: replicas that follow the log of blocks, and their servers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ps.errors import PsError
from serving.follower import Follower
from serving.from_specs import replica_of
from serving.predictor import Predictor
from serving.server import PredictServer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.plan import Plan
    from ps.clock import Clock
    from ps.shard import ShardSpec
    from serving.follower import BlockFeed

# A follower looks of itself this often; every sealed block wakes it at once.
_POLL_S = 1.0


class ServingReplica:
    """One replica, the thread that keeps it current, and its server."""

    def __init__(
        self,
        plan: Plan,
        shards: Sequence[ShardSpec],
        number: int,
        feed: BlockFeed,
        clock: Clock,
    ) -> None:
        self.replica = replica_of(shards, clock)
        self.follower = Follower(self.replica, feed, poll_s=_POLL_S)
        predictor = Predictor(plan.examples.features, plan.make_model, self.replica, clock)
        self.server = PredictServer(predictor, clock, plan.serve.servers[number])
        self._started = False

    @property
    def address(self) -> str:
        """host:port of the server; empty before start."""
        return self.server.target if self._started else ""

    def start(self) -> None:
        """Listen and follow: before training begins, which a base read later would hold up.

        Raises serving.errors.ServerStartError.
        """
        self.server.start()
        self._started = True
        with suppress(PsError):  # it has been logged, and the thread tries again
            self.follower.catch_up()
        self.follower.start()

    def stop(self) -> None:
        """Stop, within the server's grace; may be called again, or before start."""
        self.follower.stop()
        self.server.stop()
