"""Which ranges of the stream are left out once a job has gone back to a restore point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ps.errors import SpecError
from worker.skipping import merged, without
from worker.sources.again import Again, skips_in_pass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cluster.plan import Plan
    from ps.admin.restore_points import PointStore
    from ps.store.commit import Commit, Skips

_NAMES_SHOWN = 10


def left_out_from(plan: Plan, store: PointStore, target: Commit, skips: Skips) -> Skips:
    """The ranges that are left out from the restore point on: those it knows of itself, and `skips`.

    Not those that were left out later: going back undoes that as well. Raises SpecError where `skips`
    names a partition that there is not, or begins before where the restore point stands: what it has
    learned of it already would stay in the model.
    """
    passes = plan.train.passes
    known = [
        *plan.source.partitions(),
        *(p for number in range(1, passes) for p in Again(plan.source, number).partitions()),
    ]
    for partition in skips:
        if partition not in known:
            raise SpecError(
                f"the stream has no partition {partition!r} to leave anything out of; it has "
                f"{_listed(known)}"
            )
    learned = _learned_of(target, skips, passes)
    if learned:
        with store.reading() as catalog:
            before = _newest_before(catalog.survey().commits.values(), skips, passes)
        parts = "; ".join(_in_words(target, partition, learned) for partition in learned)
        advice = (
            "no restore point that is kept stands before it"
            if before is None
            else f"the newest restore point that stands before it is {before}: go back to that"
        )
        raise SpecError(
            f"restore point {target.at.epoch} has learned a part of what is to be left out, which "
            f"would stay in the model: {parts}; {advice}"
        )
    return merged(target.skips, skips)


def _learned_of(commit: Commit, skips: Skips, passes: int) -> Skips:
    """What a restore point has learned from of these ranges: any shard of it, in any pass."""
    behind = {
        partition: tuple((begin, min(end, _position(commit, partition))) for begin, end in ranges)
        for partition, ranges in _in_all(skips, passes).items()
    }
    return without(behind, _in_all(commit.skips, passes))


def _newest_before(commits: Iterable[Commit], skips: Skips, passes: int) -> int | None:
    """The newest restore point that has learned nothing of these ranges; None: there is none."""
    before = (one.at.epoch for one in commits if not _learned_of(one, skips, passes))
    return max(before, default=None)


def _position(commit: Commit, partition: str) -> int:
    """Where the shard stands that is furthest ahead."""
    return max(
        commit.positions.get(partition, 0),
        *(chain.positions.get(partition, 0) for chain in commit.shards),
    )


def _in_all(skips: Skips, passes: int) -> Skips:
    return merged(*(skips_in_pass(skips, number) for number in range(passes)))


def _in_words(commit: Commit, partition: str, learned: Skips) -> str:
    ranges = ", ".join(f"{begin:,} to {end:,}" for begin, end in learned[partition])
    return f"{ranges} of {partition}, where it stands at {_position(commit, partition):,}"


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
