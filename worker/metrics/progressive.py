"""The metric of record: progressive validation, in total, per window and per chosen value."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from worker.errors import MetricsError
from worker.metrics.groups import GroupedSums, encode
from worker.metrics.scores import clipped, logits_of
from worker.metrics.sums import ScoreSums
from worker.metrics.windows import EventTimeWindows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ps.arrays import F32, F64, I64
    from worker.metrics.groups import GroupKeys
    from worker.metrics.summary import MetricSummary, WindowSummary

_FIRST = np.zeros(1, np.int64)
_VERSION = 2


@dataclass(frozen=True, slots=True)
class MetricsSpec:
    """What to measure.

    window_s: length of event-time windows, None for none. lateness_s: how long after its end a
    window stays open. keep_windows: how many of the latest to remember. group_by: columns whose
    values get metrics of their own, group_capacity values each. total_bins, window_bins and
    group_bins: histogram resolution for AUC over logits from -16 to 16; MetricSummary.auc_error says
    what it costs. exact_limit: up to how many examples a window's AUC is exact.
    """

    window_s: float | None = 60.0
    lateness_s: float = 0.0
    keep_windows: int = 256
    group_by: tuple[str, ...] = ()
    group_capacity: int = 50
    total_bins: int = 16_384
    window_bins: int = 2_048
    group_bins: int = 512
    exact_limit: int = 10_000

    def __post_init__(self) -> None:
        if self.window_s is not None and not self.window_s >= 1e-6:
            raise MetricsError("window_s must be above 0, or null for no windows")
        if self.lateness_s < 0:
            raise MetricsError("lateness_s must be 0 or more")
        for name in ("keep_windows", "group_capacity", "total_bins", "window_bins", "group_bins"):
            if getattr(self, name) < 1:
                raise MetricsError(f"{name} must be 1 or more")


class ProgressiveMetrics:
    """AUC, log loss, normalised entropy and calibration of predictions made before learning.

    Totals do not depend on the order or the batches in which examples come, to the last bit. An
    example whose prediction or label is unusable (NaN, outside [0, 1], label not 0 or 1) is counted
    in invalid and nowhere else. One thread at a time.
    """

    def __init__(self, spec: MetricsSpec | None = None) -> None:
        self.spec = spec or MetricsSpec()
        self.clear()

    def clear(self) -> None:
        """Forget everything counted so far."""
        self.invalid = 0
        self._total = ScoreSums(1, self.spec.total_bins)
        self._windows = self._new_windows()
        self._groups = {name: self._new_group() for name in self.spec.group_by}

    def _new_windows(self) -> EventTimeWindows | None:
        if self.spec.window_s is None:
            return None
        return EventTimeWindows(
            round(self.spec.window_s * 1e6),
            round(self.spec.lateness_s * 1e6),
            self.spec.window_bins,
            self.spec.exact_limit,
            self.spec.keep_windows,
        )

    def _new_group(self) -> GroupedSums:
        return GroupedSums(self.spec.group_capacity, self.spec.group_bins)

    def update(
        self,
        probabilities: F32,
        labels: F32,
        event_ts_us: I64,
        groups: Mapping[str, GroupKeys] | None = None,
    ) -> list[WindowSummary]:
        """Count predictions in stream order; returns the windows that closed.

        probabilities, labels: float32[n]; event_ts_us: int64[n]; groups: by column of group_by, one
        value an example. Nothing is kept of the arrays.
        """
        return self._update(logits_of(probabilities), labels, event_ts_us, groups)

    def update_logits(
        self,
        logits: F32,
        labels: F32,
        event_ts_us: I64,
        groups: Mapping[str, GroupKeys] | None = None,
    ) -> list[WindowSummary]:
        """As update, from logits float32[n]: no precision lost where probabilities near 0 or 1."""
        return self._update(clipped(logits), labels, event_ts_us, groups)

    def totals(self) -> MetricSummary:
        """Metrics of all examples so far."""
        return self._total.summary()

    def windows(self) -> list[WindowSummary]:
        """The windows kept, in time order, open ones included."""
        return self._windows.summaries() if self._windows is not None else []

    @property
    def late(self) -> int:
        """Examples that came after their window had closed; they count in the totals."""
        return self._windows.late if self._windows is not None else 0

    def groups(self, column: str) -> dict[str, MetricSummary]:
        """Metrics by value of a column of group_by, the most frequent first."""
        if column not in self._groups:
            raise MetricsError(f"no metrics by {column!r}; add it to group_by")
        return self._groups[column].summaries()

    def merge(self, other: ProgressiveMetrics) -> None:
        """Add what another of the same spec has counted; other stays as it is."""
        if other.spec != self.spec:
            raise MetricsError("metrics of another spec cannot be merged; use the same MetricsSpec")
        self.invalid += other.invalid
        self._total.add_rows(other._total, _FIRST, _FIRST)
        if self._windows is not None and other._windows is not None:
            self._windows.merge(other._windows)
        for name, group in self._groups.items():
            group.merge(other._groups[name])

    def to_dict(self) -> dict[str, Any]:
        """The whole state, spec included, in numbers, strings and bytes: a copy, safe to write later.

        Closed windows are in it as figures, without their histograms.
        """
        return {
            "version": _VERSION,
            "spec": {**asdict(self.spec), "group_by": [*self.spec.group_by]},
            "invalid": self.invalid,
            "total": self._total.to_dict(),
            "windows": self._windows.to_dict() if self._windows is not None else None,
            "groups": {name: group.to_dict() for name, group in self._groups.items()},
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any], spec: MetricsSpec | None = None) -> Self:
        """Restore what to_dict gave, under the spec it was made with.

        Raises MetricsError where the state does not fit.
        """
        metrics = cls(spec)
        afresh = metrics.restore(state)
        if afresh:
            raise MetricsError(f"metrics of another spec cannot go on: {'; '.join(afresh)}")
        return metrics

    def restore(self, state: Mapping[str, Any]) -> list[str]:
        """Go on from what to_dict gave, in place of what is here, as far as the spec still allows.

        Returns what starts afresh because the spec has changed, each in words. Raises MetricsError
        where this is no state of metrics; then everything starts afresh.
        """
        self.clear()
        try:
            return self._restore(state)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            self.clear()
            raise MetricsError(f"not the state of these metrics: {error!r}") from error
        except MetricsError:
            self.clear()
            raise

    def _restore(self, state: Mapping[str, Any]) -> list[str]:
        if state["version"] != _VERSION:
            raise MetricsError(f"metrics state of version {state['version']}, not {_VERSION}")
        old = state["spec"]

        def changed(*names: str) -> str:
            return ", ".join(
                f"{name} was {old[name]}, is {getattr(self.spec, name)}"
                for name in names
                if old[name] != getattr(self.spec, name)
            )

        afresh: list[str] = []
        self.invalid = int(state["invalid"])
        if difference := changed("total_bins"):
            afresh.append(f"metrics in total ({difference})")
        else:
            self._total.load(state["total"])
        if self._windows is not None:
            if difference := changed("window_s", "lateness_s", "window_bins"):
                afresh.append(f"metrics by window ({difference})")
            else:
                self._windows.load(state["windows"])
        difference = changed("group_capacity", "group_bins")
        for name, group in self._groups.items():
            if name not in state["groups"]:
                afresh.append(f"metrics by {name} (new in group_by)")
            elif difference:
                afresh.append(f"metrics by {name} ({difference})")
            else:
                group.load(state["groups"][name])
        return afresh

    def _update(
        self,
        logits: F64,
        labels: F32,
        event_ts_us: I64,
        groups: Mapping[str, GroupKeys] | None,
    ) -> list[WindowSummary]:
        good = ~np.isnan(logits) & ((labels == 0.0) | (labels == 1.0))
        positive = labels == 1.0
        everything = bool(good.all())
        if not everything:
            self.invalid += int((~good).sum())
            logits, positive, event_ts_us = logits[good], positive[good], event_ts_us[good]
        self._total.add(logits, positive)
        for name, group in self._groups.items():
            if groups is None or name not in groups:
                raise MetricsError(f"group_by names {name!r}, but the batch brought no such column")
            names, codes = encode(groups[name])
            group.update(names, codes if everything else codes[good], logits, positive)
        if self._windows is None:
            return []
        return self._windows.update(logits, positive, event_ts_us)
