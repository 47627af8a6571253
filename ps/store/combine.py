"""The heads of a model's shards as the head of one shard of another number of shards."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ps.admission import AdmissionFilter, AdmitAfter
from ps.block import Block, Cursor, DenseDelta, FilterDelta, TableTally
from ps.errors import SpecError
from ps.kernels.sketch import KEYS_PER_LINE, NARROW_CEILING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ps.store.commit import Commit
    from ps.stream import Positions

_COUNTED = 2  # the least that makes a filter count


def check_aligned(commit: Commit) -> None:
    """Raise SpecError where the shards stand at different positions and cannot be mixed."""
    if not commit.aligned:
        raise SpecError(
            f"at restore point {commit.at.epoch} the shards stand at different positions of the "
            "stream, so it can only be restored onto as many as there were "
            f"({len(commit.shards)}); take an aligned snapshot (ps-admin snapshot create) and use that"
        )


def combined_head(
    heads: Sequence[Block],
    shard: int,
    at: Cursor,
    positions: Positions,
    *,
    owns_dense: Callable[[str], bool],
    filters_of: Sequence[Block],
) -> Block:
    """A base's head for `shard` at `at`.

    heads: of all old shards, as bases. positions: where they all stand. owns_dense: which dense
    variables are the new shard's. filters_of: the heads whose fids come to it; their filters are
    merged, so that no fid counts for less than it did. Clocks, owners and the number of pushes are the
    largest; what was counted of tables goes to shard 0. Raises SpecError where filters of one table
    are configured differently.
    """
    newest = max(heads, key=lambda head: (head.event_ts_us, head.cursor))
    dense: dict[str, DenseDelta] = {}
    owners: dict[str, int] = {}
    for head in heads:
        dense.update({name: value for name, value in head.dense.items() if owns_dense(name)})
        for partition, owner in head.owners.items():
            owners[partition] = max(owner, owners.get(partition, owner))
    names = {name for head in filters_of for name in head.filters}
    return replace(
        newest,
        shard=shard,
        epoch=at.epoch,
        generation=at.generation,
        after=None,
        sealed_us=max(head.sealed_us for head in heads),
        ingest_us=min((us for us in (h.ingest_us for h in heads) if us is not None), default=None),
        positions=dict(positions),
        tables={},
        dense=dense,
        filters={
            name: _merged([h.filters[name] for h in filters_of if name in h.filters])
            for name in sorted(names)
        },
        owners=owners,
        tallies=_summed([head.tallies for head in heads]) if shard == 0 else {},
        pushes_applied=max(head.pushes_applied for head in heads),
        pushes_repeated=sum(head.pushes_repeated for head in heads) if shard == 0 else 0,
    )


def _merged(filters: Sequence[FilterDelta]) -> FilterDelta:
    first = filters[0]
    if len(filters) == 1:
        return first
    # Any filter of the same size and width of cell: thresholds are not part of what is counted.
    occurrences = NARROW_CEILING + 1 if first.wide else _COUNTED
    merged = AdmissionFilter(
        {0: AdmitAfter(occurrences)}, remembered_fids=first.total_lines * KEYS_PER_LINE
    )
    merged.apply(first, replace=True)
    for other in filters[1:]:
        merged.merge(other)
    export = merged.export()
    return first if export is None else export


def _summed(tallies: Sequence[Mapping[str, TableTally]]) -> dict[str, TableTally]:
    total: dict[str, TableTally] = {}
    for of_shard in tallies:
        for name, tally in of_shard.items():
            so_far = total.get(name, TableTally())
            total[name] = TableTally(
                rows_admitted=so_far.rows_admitted + tally.rows_admitted,
                rows_expired=so_far.rows_expired + tally.rows_expired,
                rows_evicted=so_far.rows_evicted + tally.rows_evicted,
                occurrences_refused=so_far.occurrences_refused + tally.occurrences_refused,
            )
    return total
