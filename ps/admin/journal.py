"""The journal: a line in the job's log for everything an operator has it do."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ps.admin.target import (
        FailoverReport,
        PruneReport,
        ReshardReport,
        RestorePoint,
        RollbackReport,
    )
    from ps.clock import Clock
    from ps.store.commit import Skips

T = TypeVar("T")


class Journal:
    """Says what was asked for, what came of it and how long it took. Safe to use from any thread."""

    def __init__(self, say: Callable[[str], None], clock: Clock) -> None:
        self._say = say
        self._clock = clock

    def note(self, what: str, do: Callable[[], T], told: Callable[[T], str]) -> T:
        """Do it, and say so once it is done, or has not been. told: the result in words."""
        began_s = self._clock.monotonic_s()
        try:
            result = do()
        except Exception as error:
            self._line(what, f"not done: {error}", began_s)
            raise
        self._line(what, told(result), began_s)
        return result

    def _line(self, what: str, came_of_it: str, began_s: float) -> None:
        seconds = self._clock.monotonic_s() - began_s
        self._say(f"operator: {what}: {came_of_it} ({seconds:.2f} s)")


def rollback_told(report: RollbackReport) -> str:
    """A rollback, on one line."""
    again = _listed(report.learned_again)
    return (
        f"back from epoch {report.from_epoch} to {report.to_epoch}, on as epoch {report.epoch}, "
        f"generation {report.generation}; {report.rows_changed:,} rows changed, "
        f"{report.rows_removed:,} removed; left out: {_listed(report.skips) or 'nothing'}"
        + (f", no longer: {again}" if again else "")
    )


def reshard_told(report: ReshardReport) -> str:
    """Resharding, on one line."""
    return (
        f"from {report.shards_before} to {report.shards_after} shards with {report.rows:,} rows, on "
        f"as epoch {report.epoch}, generation {report.generation}"
    )


def failover_told(report: FailoverReport) -> str:
    """A failover, on one line."""
    return f"replaced from {report.source} at epoch {report.epoch}, generation {report.generation}"


def snapshot_told(point: RestorePoint) -> str:
    """A snapshot, on one line."""
    return f"epoch {point.epoch}, {point.rows:,} rows"


def prune_told(report: PruneReport) -> str:
    """Pruning, on one line."""
    return (
        f"{len(report.restore_points):,} restore points and {report.files:,} files deleted, "
        f"{report.bytes:,} bytes"
    )


def expire_told(freed: Mapping[str, int]) -> str:
    """Expiry, on one line."""
    return "freed " + (", ".join(f"{n:,} rows of {table}" for table, n in freed.items()) or "none")


def _listed(skips: Skips) -> str:
    return ", ".join(
        f"{partition}:{begin}-{end}" for partition, ranges in skips.items() for begin, end in ranges
    )
