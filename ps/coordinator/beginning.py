"""Where a coordinator begins: with the store, and with the processes there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ps.store.resume import GoOnFrom

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ps.coordinator.keeping import Keeping
    from ps.coordinator.plan import JobPlan
    from ps.shard_spec import ShardSpec
    from ps.store.commit import Commit, ShardChain


@dataclass(frozen=True, slots=True)
class Beginning:
    """What to go on from. specs: of as many shards as there are to be. commit: with `chains`; None:
    nothing yet. newest: the highest epoch there ever was. is_new: the store is told at once, and what
    processes hold is of no use: they go on from something else.
    """

    specs: tuple[ShardSpec, ...]
    chains: Sequence[ShardChain]
    commit: Commit | None
    newest: int
    is_new: bool


def begin(plan: JobPlan, keeping: Keeping, *, successor: bool) -> Beginning:
    """Choose what to go on from.

    A successor goes on with the newest restore point and as many shards as that has: what was asked
    for at the start has been done, and shards may have been cut anew since. Raises
    IncompatibleModelError, NoRestorePointError, SpecError, StoreUnavailableError, ForeignFileError.
    """
    restoring, specs, wanted = keeping.restoring(), plan.specs_for(plan.shards), plan.go_on_from
    stored = _newest(keeping)
    if successor:
        wanted = GoOnFrom()
        if stored is not None:
            specs = plan.specs_for(len(stored.shards))
    chosen = restoring.choose(specs, wanted, set(), keeping.generation)
    commit = chosen.commit
    is_new = commit is not None and (
        wanted.epoch is not None
        or bool(wanted.reset)
        or (stored is not None and len(stored.shards) != len(specs))
    )
    return Beginning(tuple(specs), chosen.chains, commit, chosen.newest, is_new)


def _newest(keeping: Keeping) -> Commit | None:
    with keeping.reading() as catalog:
        return catalog.survey().newest
