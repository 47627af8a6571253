"""Line charts: several series over one axis, with bands and levels to read them against."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from cluster.report.scale import axis
from cluster.report.svg import BOTTOM, LEFT, RIGHT, TOP, element, frame, grid, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.report.scale import Axis

# Room above the highest point, as a share of the range.
_HEADROOM = 0.06


@dataclass(frozen=True, slots=True)
class Series:
    """A line. color: its number in the page's palette. ys: None leaves a gap."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    color: int
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of the x axis that is set apart."""

    begin: float
    end: float
    label: str


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal line to compare with: a bar to stay below, a mean."""

    y: float
    label: str


@dataclass(frozen=True, slots=True)
class LineChart:
    """What to draw. value_format: of the values shown when one points at them ("{:.4f}")."""

    label: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    value_format: str = "{:,.0f}"
    from_zero: bool = False
    bands: tuple[Band, ...] = ()
    levels: tuple[Level, ...] = ()


def line_chart(chart: LineChart) -> str:
    """The chart as SVG; its legend is the page's to draw."""
    xs = [x for series in chart.series for x in series.xs]
    ys = [y for series in chart.series for y in series.ys if y is not None]
    ys += [level.y for level in chart.levels]
    if not xs or not ys:
        return frame(chart.label, [text("nothing was measured", LEFT, (TOP + BOTTOM) / 2)])
    low, high = (0.0 if chart.from_zero else min(ys)), max(ys)
    x = axis(min(xs), max(xs), LEFT, RIGHT, about=8, tight=True)
    y = axis(low, high + (high - low) * _HEADROOM, BOTTOM, TOP)
    parts = [_band(band, x) for band in chart.bands]
    parts.append(grid(x, y, chart.x_label, chart.y_label))
    parts += [_level(level, y) for level in chart.levels]
    parts += [_line(series, x, y) for series in chart.series]
    parts += [_points(series, x, y, chart) for series in chart.series]
    return frame(chart.label, parts)


def _band(band: Band, x: Axis) -> str:
    begin, end = max(x.place(band.begin), LEFT), min(x.place(band.end), RIGHT)
    area = element("rect", x=begin, y=TOP, width=end - begin, height=BOTTOM - TOP, class_="band")
    return area + text(band.label, end - 6, BOTTOM - 8, text_anchor="end", class_="note")


def _level(level: Level, y: Axis) -> str:
    at = y.place(level.y)
    line = element("line", x1=LEFT, x2=RIGHT, y1=at, y2=at, class_="level")
    return line + text(level.label, RIGHT - 6, at - 6, text_anchor="end", class_="note")


def _line(series: Series, x: Axis, y: Axis) -> str:
    points = zip(series.xs, series.ys, strict=True)
    stretches = [
        [(x.place(at), y.place(value)) for at, value in run if value is not None]
        for present, run in groupby(points, key=lambda point: point[1] is not None)
        if present
    ]
    path = "".join(
        "M" + "L".join(f"{at:.1f} {value:.1f}" for at, value in stretch) for stretch in stretches
    )
    dashes = " dashed" if series.dashed else ""
    return element("path", d=path, class_=f"line c{series.color}{dashes}") if path else ""


def _points(series: Series, x: Axis, y: Axis, chart: LineChart) -> str:
    """Invisible places to point at, which say what is there."""
    return "".join(
        element(
            "circle",
            f"<title>{series.name}: {chart.value_format.format(value)} at {at:.0f} s</title>",
            cx=x.place(at),
            cy=y.place(value),
            r=7,
            class_=f"point c{series.color}",
        )
        for at, value in zip(series.xs, series.ys, strict=True)
        if value is not None
    )
