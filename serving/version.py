"""How far a replica has come, shard by shard."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShardVersion:
    """The last block of one shard that was applied whole.

    event_ts_us: the shard's event clock then. sealed_us: wall time of sealing, microseconds.
    """

    shard: int
    generation: int
    epoch: int
    event_ts_us: int
    sealed_us: int


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """What blocks call the model (a fingerprint of the job, say), and the version of each shard that has one, in the order of shards.

    A lower bound while blocks are applied: rows of the next block may be visible already.
    """

    model: str
    shards: tuple[ShardVersion, ...] = ()

    def staleness_s(self, now_us: int) -> float:
        """How long ago the shard that is furthest behind sealed what is served; 0 without shards."""
        if not self.shards:
            return 0.0
        return max(0, now_us - min(shard.sealed_us for shard in self.shards)) / 1e6
