"""Adding up what several workers know of the stream, as if one had read it all."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from worker.errors import MetricsError, WorkerStateError
from worker.metrics.progressive import MetricsSpec, ProgressiveMetrics
from worker.quarantine import QuarantineState, bounded
from worker.state import WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from worker.event_time_guard import GuardState


def merge_states(states: Sequence[bytes]) -> bytes:
    """WorkerState.encode() of what several workers counted, none the same examples; b"" of none.

    Counts and metrics are added up, positions are the furthest of each partition, the event-time
    guard is the one whose clock is the largest. Settings of metrics are those of the last state; what
    others counted under other settings is left out where it cannot be carried over. Empty bytes are
    nobody's state. Raises WorkerStateError.
    """
    known = [state for state in states if state]
    if len(known) <= 1:
        return known[0] if known else b""
    decoded = [WorkerState.decode(state) for state in known]
    return WorkerState(
        metrics=_metrics([state.metrics for state in decoded]),
        guard=_guard([state.guard for state in decoded]),
        quarantine=_quarantine([state.quarantine for state in decoded]),
        positions=_furthest(state.positions for state in decoded),
        examples=sum(state.examples for state in decoded),
        batches_dropped=sum(state.batches_dropped for state in decoded),
        positions_skipped=sum(state.positions_skipped for state in decoded),
    ).encode()


def _metrics(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    try:
        found = states[-1]["spec"]
        spec = MetricsSpec(**{**found, "group_by": tuple(found["group_by"])})
        merged = ProgressiveMetrics(spec)
        for state in states:
            each = ProgressiveMetrics(spec)
            each.restore(state)
            merged.merge(each)
    except (MetricsError, TypeError, KeyError) as error:
        raise WorkerStateError(f"metrics of workers that cannot be added up: {error}") from error
    return merged.to_dict()


def _guard(states: Iterable[GuardState | None]) -> GuardState | None:
    """Ties are broken by the rest, so that their order does not matter."""
    return max(
        (state for state in states if state is not None),
        key=lambda state: (-1 if state.clock_us is None else state.clock_us, *state[1:]),
        default=None,
    )


def _quarantine(states: Sequence[QuarantineState]) -> QuarantineState:
    reasons: Counter[str] = Counter()
    for state in states:
        reasons.update(state.reasons)
    return QuarantineState(
        records=sum(state.records for state in states),
        dropped_batches=sum(state.dropped_batches for state in states),
        dropped_positions=sum(state.dropped_positions for state in states),
        reasons=bounded(reasons),
        counted_upto=_furthest(state.counted_upto for state in states),
        dropped_upto=_furthest(state.dropped_upto for state in states),
    )


def _furthest(each: Iterable[Mapping[str, int]]) -> dict[str, int]:
    furthest: dict[str, int] = {}
    for positions in each:
        for partition, position in positions.items():
            furthest[partition] = max(position, furthest.get(partition, 0))
    return dict(sorted(furthest.items()))
