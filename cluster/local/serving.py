"""The serving side of a run: replicas that follow the log of blocks, and their servers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ps.buckets import bucket_of, even_shard_map
from ps.errors import PsError
from serving.follower import Follower
from serving.predictor import Predictor
from serving.replica import Replica
from serving.server import PredictServer
from serving.table_store import TableStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cluster.plan import Plan
    from ps.arrays import I64, U64
    from ps.clock import Clock
    from ps.shard import ShardSpec
    from ps.table import TableSpec
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
        specs: dict[str, TableSpec] = {t.name: t for s in shards for t in s.tables}
        seed = shards[0].seed
        self.replica = Replica(
            shards[0].model,
            {name: lambda spec=spec: TableStore(spec, seed=seed) for name, spec in specs.items()},
            clock,
            shards=len(shards),
            owner=owner_of(len(shards)),
            dense=[variable.name for shard in shards for variable in shard.dense],
        )
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


def owner_of(shards: int) -> Callable[[U64], I64]:
    """fids uint64[n] -> the number of the shard that has each, int64[n]."""
    shard_map = even_shard_map(shards)

    def owner(fids: U64) -> I64:
        return shard_map[bucket_of(fids)].astype(np.int64)

    return owner
