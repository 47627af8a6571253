"""What workers know of the stream, put into words for the coordinator and for operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.fleet.report import metrics_of, state_of
from cluster.local.leaving_out import left_out_from
from ps.coordinator.knowledge import StreamStatus
from worker.errors import WorkerStateError
from worker.skipping import without

if TYPE_CHECKING:
    from cluster.plan import Plan
    from ps.admin.restore_points import PointStore
    from ps.store.commit import Commit, Skips


class PlanKnowledge:
    """See ps.coordinator.knowledge.StreamKnowledge."""

    def __init__(self, plan: Plan) -> None:
        """plan.source: opened."""
        self._plan = plan

    def status(self, state: bytes | None) -> StreamStatus:
        """See StreamKnowledge."""
        try:
            known = state_of(state)
        except WorkerStateError:
            known = None
        if known is None:
            return StreamStatus()
        metrics = metrics_of(known, self._plan.train.metrics)
        total = metrics.totals()
        closed = [window for window in metrics.windows() if window.closed]
        window = closed[-1].metrics if closed else None
        return StreamStatus(
            examples=known.examples,
            metrics={
                "auc": total.auc,
                "log_loss": total.log_loss,
                "normalized_entropy": total.normalized_entropy,
                "calibration": total.calibration,
                "window_auc": window.auc if window else None,
                "window_log_loss": window.log_loss if window else None,
            },
            quarantined=dict(known.quarantine.reasons),
        )

    def left_out(self, store: PointStore, target: Commit, skips: Skips) -> Skips:
        """See StreamKnowledge."""
        return left_out_from(self._plan, store, target, skips)

    def without(self, skips: Skips, other: Skips) -> Skips:
        """See StreamKnowledge."""
        return without(skips, other)
