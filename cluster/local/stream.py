"""The job's stream, opened where the shards stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.batching import interleaved
from worker.skipping import leave_out
from worker.sources.again import Again, name_in_pass, skips_in_pass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from cluster.plan import Plan
    from ps.store.commit import Skips
    from worker.events import EventChunk


def passes(
    plan: Plan,
    cuts: Mapping[str, Sequence[int]],
    skips: Skips,
    only: Collection[str] | None = None,
) -> Iterator[tuple[int, Iterator[EventChunk]]]:
    """The passes over the source that are not done yet: number, and chunks of batch_size positions.

    cuts: what RoutingClient.resume_cuts() says. Each partition is read from the oldest position any
    shard stands at, and no chunk straddles a position of another. skips: ranges to leave out. only: the
    partitions to read, by their names in the first pass; None: all. A partition that is in a later
    pass than others, as when it had another reader, waits there for them.
    """
    train = plan.train
    names = [name for name in plan.source.partitions() if only is None or name in only]
    first = {name: _first_pass(name, train.passes, cuts) for name in names}
    for number in range(min(first.values(), default=train.passes), train.passes):
        source = Again(plan.source, number) if number else plan.source
        own = [name_in_pass(name, number) for name in names if first[name] <= number]
        stops = None
        if train.max_examples is not None:
            stops = _shares(source.partitions(), train.max_examples)
        chunks = interleaved(
            source,
            {name: cuts[name][0] if name in cuts else 0 for name in own},
            train.batch_size,
            stops=stops,
            cuts=cuts,
        )
        yield number, leave_out(chunks, skips_in_pass(skips, number))


def _shares(partitions: Sequence[str], positions: int) -> dict[str, int]:
    """Where each partition stops, so that together they cover about `positions` positions."""
    share, rest = divmod(positions, len(partitions))
    return {name: share + (number < rest) for number, name in enumerate(partitions)}


def _first_pass(partition: str, passes: int, cuts: Mapping[str, Sequence[int]]) -> int:
    """The pass a partition goes on in: a shard that has begun one has all of those before it."""
    for number in range(passes - 1, 0, -1):
        if cuts.get(name_in_pass(partition, number), (0,))[0] > 0:
            return number
    return 0
