"""The figures that progressive validation reports."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """Metrics of a set of examples; None where they are undefined.

    auc_error: the most by which auc can differ from the exact value (0 where it is exact; None where
    auc is the mean of what several workers found).
    log_loss: mean, natural logarithm. normalized_entropy: log_loss over the entropy of the
    empirical click rate (He et al. 2014, section 3): below 1 is better than the constant that knows
    it. calibration: sum of predictions over clicks, 1 is perfect.
    """

    examples: int
    positives: int
    click_rate: float | None
    mean_prediction: float | None
    auc: float | None
    auc_error: float | None
    log_loss: float | None
    normalized_entropy: float | None
    calibration: float | None

    def to_dict(self) -> dict[str, int | float | None]:
        """Plain numbers by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class WindowSummary:
    """Metrics of the examples with begin_us <= event time < end_us."""

    begin_us: int
    end_us: int
    closed: bool
    metrics: MetricSummary


def summarise(
    examples: int,
    positives: int,
    loss_sum: float,
    prediction_sum: float,
    auc: float | None,
    auc_error: float | None,
) -> MetricSummary:
    """The figures that follow from sums over examples."""
    if examples == 0:
        return MetricSummary(0, 0, None, None, None, None, None, None, None)
    rate = positives / examples
    log_loss = loss_sum / examples
    entropy = 0.0
    if 0 < positives < examples:
        entropy = -(rate * math.log(rate) + (1.0 - rate) * math.log1p(-rate))
    return MetricSummary(
        examples=examples,
        positives=positives,
        click_rate=rate,
        mean_prediction=prediction_sum / examples,
        auc=auc,
        auc_error=auc_error,
        log_loss=log_loss,
        normalized_entropy=log_loss / entropy if entropy > 0.0 else None,
        calibration=prediction_sum / positives if positives else None,
    )
