"""Pieces of SVG that charts share: the frame, axes with their labels, the legend."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cluster.report.scale import Axis

WIDTH, HEIGHT = 620, 300
LEFT, RIGHT, TOP, BOTTOM = 72, WIDTH - 14, 16, HEIGHT - 46


def element(name: str, content: str = "", **attributes: object) -> str:
    """An element; underscores of attribute names stand for dashes, one at the end is dropped."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def text(content: str, x: float, y: float, **attributes: object) -> str:
    """A text, escaped."""
    return element("text", escape(content), x=x, y=y, **attributes)


def frame(label: str, parts: Iterable[str]) -> str:
    """A whole chart. label: what it shows, for those who cannot see it."""
    return element(
        "svg",
        "".join(parts),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=label,
    )


def grid(x: Axis, y: Axis, x_label: str, y_label: str) -> str:
    """Horizontal lines at the ticks of y, ticks and labels of both axes."""
    parts = []
    for tick in y.ticks:
        at = y.place(tick)
        parts.append(element("line", x1=LEFT, x2=RIGHT, y1=at, y2=at, class_="grid"))
        parts.append(text(y.label(tick), LEFT - 8, at + 4, text_anchor="end", class_="tick"))
    for tick in x.ticks:
        at = x.place(tick)
        parts.append(element("line", x1=at, x2=at, y1=BOTTOM, y2=BOTTOM + 4, class_="axis"))
        parts.append(text(x.label(tick), at, BOTTOM + 18, text_anchor="middle", class_="tick"))
    parts.append(element("line", x1=LEFT, x2=RIGHT, y1=BOTTOM, y2=BOTTOM, class_="axis"))
    middle = (LEFT + RIGHT) / 2
    parts.append(text(x_label, middle, HEIGHT - 8, text_anchor="middle", class_="label"))
    height = (TOP + BOTTOM) / 2
    parts.append(
        text(
            y_label,
            13,
            height,
            text_anchor="middle",
            class_="label",
            transform=f"rotate(-90 13 {height:g})",
        )
    )
    return "".join(parts)


def _number(value: object) -> str:
    """Coordinates to a hundredth of a unit: what the eye can tell, in half the bytes."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
