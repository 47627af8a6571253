"""The job's stream, opened where the shards stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.batching import interleaved
from worker.skipping import leave_out
from worker.sources.again import Again, skips_in_pass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cluster.plan import Plan
    from ps.store.commit import Skips
    from worker.events import EventChunk, Source


def passes(
    plan: Plan, cuts: Mapping[str, Sequence[int]], skips: Skips
) -> Iterator[tuple[int, Iterator[EventChunk]]]:
    """The passes over the source that are not done yet: number, and chunks of batch_size positions.

    cuts: what RoutingClient.resume_cuts() says. Each partition is read from the oldest position any
    shard stands at, and no chunk straddles a position of another. skips: ranges to leave out.
    """
    train = plan.train
    sources = [plan.source, *(Again(plan.source, number) for number in range(1, train.passes))]
    for number in range(_first(sources, cuts), train.passes):
        source = sources[number]
        partitions = source.partitions()
        chunks = interleaved(
            source,
            {name: cuts[name][0] if name in cuts else 0 for name in partitions},
            train.batch_size,
            stops=None if train.max_examples is None else _shares(partitions, train.max_examples),
            cuts=cuts,
        )
        yield number, leave_out(chunks, skips_in_pass(skips, number))


def _shares(partitions: Sequence[str], positions: int) -> dict[str, int]:
    """Where each partition stops, so that together they cover about `positions` positions."""
    share, rest = divmod(positions, len(partitions))
    return {name: share + (number < rest) for number, name in enumerate(partitions)}


def _first(sources: Sequence[Source], cuts: Mapping[str, Sequence[int]]) -> int:
    """The pass to go on with: a shard that has begun one has all of those before it."""
    for number in range(len(sources) - 1, 0, -1):
        if any(cuts.get(partition, (0,))[0] > 0 for partition in sources[number].partitions()):
            return number
    return 0
