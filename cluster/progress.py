"""What a run tells of itself while it goes on, and when it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class RunProgress:
    """A run at one moment. Rates and window metrics are None until there is something to say.

    examples: learned from, since the model began; examples_before: of these, by runs that this one
    goes on from. quarantined: records rejected, by reason.
    batches_dropped: batches whose gradient was not finite. window_*: of the last closed window of
    event time. staleness_*: seconds from reading an example to serving what it taught, over recent
    blocks of all replicas. store: ok, behind or failing; None where there is none. saved_epoch: of the
    newest restore point this run has made. finished: nothing more is learned for now; stopped: since
    the run was told to stop, not at the end of the stream.
    """

    elapsed_s: float
    examples: int
    examples_per_s: float | None
    event_ts_us: int
    auc: float | None
    log_loss: float | None
    normalized_entropy: float | None
    calibration: float | None
    window_auc: float | None
    window_log_loss: float | None
    rows: int
    rows_admitted: int
    rows_expired: int
    epoch: int
    staleness_p50_s: float | None
    staleness_p99_s: float | None
    batches_dropped: int = 0
    quarantined: Mapping[str, int] = field(default_factory=dict)
    store: Literal["ok", "behind", "failing"] | None = None
    saved_epoch: int | None = None
    examples_before: int = 0
    finished: bool = False
    stopped: bool = False
