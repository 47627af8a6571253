"""What a coordinator is told of its job: what to hold, where to keep it, how often to do what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ps.store.resume import GoOnFrom
from ps.store.upkeep import UpkeepPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ps.shard_spec import ShardSpec


@dataclass(frozen=True, slots=True)
class StoreKeeping:
    """The job's store. commit_every_s: wall time between two restore points. upkeep: what is
    compacted and what is kept.

    Compaction runs in the coordinator's process, one shard after another, and streams every row of a
    shard through it: within compact_memory_bytes, at what one process reads and writes. A model of
    terabytes outgrows that; until then chains only get longer where it does not keep up.
    """

    url: str
    commit_every_s: float = 1.0
    upkeep: UpkeepPolicy = field(default_factory=UpkeepPolicy)


@dataclass(frozen=True, slots=True)
class JobPlan:
    """A job, as far as its coordinator needs to know it.

    specs_for: the shards of the model in any number. shards: the number asked for. partitions: of the
    stream, asked now and then. merge_states: WorkerState.encode() of several as one. fingerprint: of
    the code that every process must run. seal_interval_s: wall time between two epochs. go_on_from:
    heeded at a fresh start only.
    """

    name: str
    specs_for: Callable[[int], tuple[ShardSpec, ...]]
    shards: int
    store: StoreKeeping
    partitions: Callable[[], Sequence[str]]
    merge_states: Callable[[Sequence[bytes]], bytes]
    fingerprint: str
    seal_interval_s: float = 1.0
    go_on_from: GoOnFrom = field(default_factory=GoOnFrom)
