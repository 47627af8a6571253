"""The demo's plots: the model against the oracle, rows, staleness, latency, speed."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from cluster.demo.summary import percentile
from cluster.report import Band, BarChart, Level, LineChart, Plot, Series, bar_chart, line_chart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cluster.demo.comparison import Second
    from cluster.demo.load import Answer
    from cluster.demo.run import Seen
    from cluster.progress import RunProgress
    from worker.metrics.summary import MetricSummary

# What the demo is to reach on a machine of two cores.
STALENESS_BAR_S = 2.0
_TIME = "seconds since the start"
# A second of which less than this share was learned from, compared with the busiest, is no figure.
_THIN = 0.2
_BARS = 48


def demo_plots(seen: Seen) -> tuple[Plot, ...]:
    """The plots of a run, in the order in which to look at them."""
    return (
        _auc_plot(seen),
        _log_loss_plot(seen),
        _rows_plot(seen.history),
        _staleness_plot(seen),
        _latency_plot(seen.answers),
        _latency_over_time_plot(seen.answers),
        _speed_plot(seen),
        _calibration_plot(seen),
    )


def _auc_plot(seen: Seen) -> Plot:
    model, oracle = _by_second(seen, lambda metrics: metrics.auc)
    return Plot(
        "Progressive AUC against the oracle's",
        "Each second's examples, predicted before they were learned from. The oracle knows the true "
        "probability; nothing can do better for long.",
        line_chart(
            LineChart(
                "AUC by second, of the model and the oracle",
                _TIME,
                "AUC",
                (oracle, model),
                "{:.4f}",
                bands=_last_quarter(seen),
            )
        ),
        (("oracle", oracle.color), ("model", model.color)),
    )


def _log_loss_plot(seen: Seen) -> Plot:
    model, oracle = _by_second(seen, lambda metrics: metrics.log_loss)
    return Plot(
        "Progressive log loss",
        "Mean over each second's examples, natural logarithm; lower is better.",
        line_chart(
            LineChart(
                "Log loss by second, of the model and the oracle",
                _TIME,
                "log loss",
                (oracle, model),
                "{:.4f}",
                bands=_last_quarter(seen),
            )
        ),
        (("oracle", oracle.color), ("model", model.color)),
    )


def _rows_plot(history: Sequence[RunProgress]) -> Plot:
    times = [progress.elapsed_s for progress in history]
    live = Series("live", times, [progress.rows for progress in history], 0)
    admitted = Series("admitted", times, [p.rows_admitted for p in history], 2)
    expired = Series("expired", times, [p.rows_expired for p in history], 1)
    return Plot(
        "Rows: live, admitted, expired",
        "New users get a row at their second sight; users and items lose it half an hour of event time "
        "after their last. The table stays as large as the world it describes.",
        line_chart(
            LineChart(
                "Rows live, admitted so far and expired so far",
                _TIME,
                "rows",
                (admitted, expired, live),
                from_zero=True,
            )
        ),
        (("live", 0), ("admitted so far", 2), ("expired so far", 1)),
    )


def _staleness_plot(seen: Seen) -> Plot:
    known = [progress for progress in seen.history if progress.staleness_p50_s is not None]
    times = [progress.elapsed_s for progress in known]
    p50 = Series("p50", times, [progress.staleness_p50_s for progress in known], 0)
    p99 = Series("p99", times, [progress.staleness_p99_s for progress in known], 1)
    seconds, oldest = _by_whole_second(seen.answers, lambda some: max(a.staleness_s for a in some))
    answered = Series("oldest weights that answered", seconds, oldest, 2, dashed=True)
    return Plot(
        "Staleness",
        "From reading an example to serving what it taught (p50 and p99 over recent blocks of both "
        "replicas), and the age of the oldest weights that answered a request in each second.",
        line_chart(
            LineChart(
                "Staleness over time",
                _TIME,
                "seconds",
                (answered, p50, p99),
                "{:.2f} s",
                from_zero=True,
                levels=(Level(STALENESS_BAR_S, f"at most {STALENESS_BAR_S:g} s at p99"),),
            )
        ),
        (("p50", 0), ("p99", 1), ("oldest weights that answered", 2)),
    )


def _latency_plot(answers: Sequence[Answer]) -> Plot:
    latencies = np.array([answer.latency_ms for answer in answers])
    p50, p99 = percentile(latencies, 50), percentile(latencies, 99)
    high = percentile(latencies, 99.5)
    shown = latencies[latencies <= high] if high is not None else latencies
    counts, edges = np.histogram(shown, bins=_BARS, range=(0.0, float(high or 1.0)))
    marks = [] if p50 is None else [(f"p50 {p50:.2f} ms", p50)]
    marks += [] if p99 is None else [(f"p99 {p99:.2f} ms", p99)]
    slowest = f" Slowest: {latencies.max():.1f} ms." if len(latencies) else ""
    return Plot(
        "Predict latency",
        "Requests of 20 candidates as the client sees them, over gRPC, training at full speed "
        f"beside; without the slowest half percent.{slowest}",
        bar_chart(
            BarChart(
                "How many requests took how long",
                "milliseconds",
                "requests",
                edges.tolist(),
                counts.tolist(),
                0,
                tuple(marks),
            )
        ),
        (("requests", 0),),
    )


def _latency_over_time_plot(answers: Sequence[Answer]) -> Plot:
    def of(percent: float) -> Callable[[Sequence[Answer]], float]:
        return lambda some: float(np.percentile([a.latency_ms for a in some], percent))

    seconds, middle = _by_whole_second(answers, of(50))
    _, slow = _by_whole_second(answers, of(95))
    return Plot(
        "Predict latency over time",
        "The median and the 95th percentile of each second.",
        line_chart(
            LineChart(
                "Latency by second",
                _TIME,
                "milliseconds",
                (Series("p95", seconds, slow, 1), Series("p50", seconds, middle, 0)),
                "{:.2f} ms",
                from_zero=True,
            )
        ),
        (("p50", 0), ("p95", 1)),
    )


def _speed_plot(seen: Seen) -> Plot:
    seconds = seen.comparison.seconds[:-1]  # the last one is cut off somewhere
    speed = Series("examples", [s.at_s for s in seconds], [s.examples for s in seconds], 0)
    return Plot(
        "Speed",
        "Examples read, predicted and learned from in each second, beside everything else.",
        line_chart(
            LineChart("Examples a second", _TIME, "examples a second", (speed,), from_zero=True)
        ),
        (("examples a second", 0),),
    )


def _calibration_plot(seen: Seen) -> Plot:
    model, oracle = _by_second(seen, lambda metrics: metrics.calibration)
    return Plot(
        "Calibration",
        "Sum of predictions over clicks in each second; 1 is perfect, and luck moves the oracle too.",
        line_chart(
            LineChart(
                "Calibration by second",
                _TIME,
                "predictions / clicks",
                (oracle, model),
                "{:.3f}",
                levels=(Level(1.0, ""),),
            )
        ),
        (("oracle", oracle.color), ("model", model.color)),
    )


def _by_second(seen: Seen, of: Callable[[MetricSummary], float | None]) -> tuple[Series, Series]:
    """A metric of the model and of the oracle, second by second."""
    seconds = _full(seen.comparison.seconds)
    times = [second.at_s for second in seconds]
    return (
        Series("model", times, [of(second.model.totals()) for second in seconds], 0),
        Series("oracle", times, [of(second.oracle.totals()) for second in seconds], 1, dashed=True),
    )


def _full(seconds: Sequence[Second]) -> list[Second]:
    """Without seconds in which too little happened to measure anything."""
    most = max((second.examples for second in seconds), default=0)
    return [second for second in seconds if second.examples >= _THIN * most]


def _last_quarter(seen: Seen) -> tuple[Band, ...]:
    """The stretch of time that summary's last_quarter_auc is about."""
    seconds = seen.comparison.seconds
    if not seconds:
        return ()
    wanted = seen.comparison.last_quarter().examples
    found = 0
    for second in reversed(seconds):
        found += second.examples
        if found >= wanted:
            return (Band(second.at_s - 1.0, seconds[-1].at_s, "last quarter"),)
    return ()


def _by_whole_second(
    answers: Sequence[Answer], of: Callable[[Sequence[Answer]], float]
) -> tuple[list[float], list[float]]:
    """The ends of the seconds in which there were answers, and a figure of each."""
    gathered: dict[int, list[Answer]] = defaultdict(list)
    for answer in answers:
        gathered[int(answer.at_s)].append(answer)
    return [number + 1.0 for number in sorted(gathered)], [
        of(gathered[number]) for number in sorted(gathered)
    ]
