"""Histograms: how often each range of values occurred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.report.scale import axis
from cluster.report.svg import BOTTOM, LEFT, RIGHT, TOP, element, frame, grid, text

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class BarChart:
    """counts[i] values lay between edges[i] and edges[i + 1]. marks: values to point out, by name."""

    label: str
    x_label: str
    y_label: str
    edges: Sequence[float]
    counts: Sequence[int]
    color: int
    marks: tuple[tuple[str, float], ...] = ()


def bar_chart(chart: BarChart) -> str:
    """The chart as SVG."""
    if not any(chart.counts):
        return frame(chart.label, [text("nothing was measured", LEFT, (TOP + BOTTOM) / 2)])
    x = axis(chart.edges[0], chart.edges[-1], LEFT, RIGHT, about=8, tight=True)
    y = axis(0.0, float(max(chart.counts)) * 1.1, BOTTOM, TOP)
    parts = [grid(x, y, chart.x_label, chart.y_label)]
    for count, low, high in zip(chart.counts, chart.edges[:-1], chart.edges[1:], strict=True):
        begin, end = x.place(low), x.place(high)
        top = y.place(count)
        title = f"<title>{count:,} from {low:.2f} to {high:.2f}</title>"
        parts.append(
            element(
                "rect",
                title,
                x=begin + 0.5,
                y=top,
                width=max(end - begin - 1.0, 0.5),
                height=BOTTOM - top,
                class_=f"bar c{chart.color}",
            )
        )
    for place, (name, value) in enumerate(chart.marks):
        at = x.place(min(value, chart.edges[-1]))
        parts.append(element("line", x1=at, x2=at, y1=TOP, y2=BOTTOM, class_="mark"))
        near_the_end = at > RIGHT - 110
        parts.append(
            text(
                name,
                at - 6 if near_the_end else at + 6,
                TOP + 12 + 16 * place,
                text_anchor="end" if near_the_end else "start",
                class_="note strong",
            )
        )
    return frame(chart.label, parts)
