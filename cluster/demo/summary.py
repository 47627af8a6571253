"""What the demo came to, as one flat object of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cluster.demo.run import Seen

Number = int | float | None


def summarise(seen: Seen) -> dict[str, Number]:
    """The figures of a run; None where there was nothing to measure."""
    final = seen.final
    totals = seen.comparison.totals()
    model, oracle = totals.model.totals(), totals.oracle.totals()
    quarter = seen.comparison.last_quarter()
    late, late_oracle = quarter.model.totals(), quarter.oracle.totals()
    latencies = np.array([answer.latency_ms for answer in seen.answers])
    errors = sum(seen.errors.values())
    return {
        "examples": final.examples,
        "examples_per_s": final.examples / max(final.elapsed_s, 1e-9),
        "auc": model.auc,
        "oracle_auc": oracle.auc,
        "last_quarter_auc": late.auc,
        "last_quarter_oracle_auc": late_oracle.auc,
        "last_quarter_auc_gap": _difference(late_oracle.auc, late.auc),
        "log_loss": model.log_loss,
        "oracle_log_loss": oracle.log_loss,
        "normalized_entropy": model.normalized_entropy,
        "calibration": model.calibration,
        "staleness_p50_s": final.staleness_p50_s,
        "staleness_p99_s": final.staleness_p99_s,
        "rows": final.rows,
        "rows_admitted": final.rows_admitted,
        "rows_expired": final.rows_expired,
        "predict_requests": len(seen.answers) + errors,
        "predict_p50_ms": percentile(latencies, 50),
        "predict_p99_ms": percentile(latencies, 99),
        "predict_errors": errors,
        "replicas": seen.replicas,
        "epochs": final.epoch,
        "quarantined": sum(final.quarantined.values()),
        "batches_dropped": final.batches_dropped,
        "elapsed_s": final.elapsed_s,
    }


def percentile(values: np.typing.NDArray[np.float64], percent: float) -> float | None:
    """A percentile; None of no values."""
    return float(np.percentile(values, percent)) if len(values) else None


def _difference(one: Number, other: Number) -> float | None:
    return None if one is None or other is None else one - other
