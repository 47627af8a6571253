"""Reports: they load nothing, say what they show, and survive having nothing to show."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from cluster.report import (
    Band,
    BarChart,
    Level,
    LineChart,
    Page,
    Plot,
    Series,
    Tile,
    bar_chart,
    line_chart,
    render_page,
)
from cluster.report.scale import axis

LINES = LineChart(
    "two <lines> & more",
    "seconds",
    "share",
    (Series("a", [0, 1, 2, 3], [0.1, None, 0.3, 0.2], 0), Series("b", [0, 3], [0.2, 0.2], 1)),
    "{:.2f}",
    bands=(Band(1, 2, "here"),),
    levels=(Level(0.5, "bar"),),
)
BARS = BarChart("bars", "ms", "requests", [0.0, 1.0, 2.0], [3, 5], 0, (("p50", 1.2), ("p99", 1.9)))


class Links(HTMLParser):
    """Every attribute by which a page could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "link", "img", "iframe", "object", "embed", "base"):
            self.found.append(tag)
        self.found += [
            f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "xlink:href")
        ]


def check_self_contained(html: str) -> None:
    links = Links()
    links.feed(html)
    assert links.found == []
    assert not re.search(r"https?://|url\(|@import", html)


def page() -> Page:
    return Page(
        "Title <b>",
        "about & so on",
        (Tile("t", "1", "fine", True), Tile("u", "2", "not", False), Tile("v", "3")),
        (Plot("p", "c", line_chart(LINES), (("a", 0),)), Plot("q", "d", bar_chart(BARS))),
        (("key", "value <x>"),),
        (("source", "<script>alert(1)</script>"),),
    )


def test_a_page_loads_nothing_and_escapes_everything() -> None:
    html = render_page(page())
    check_self_contained(html)
    assert "<script" not in html
    assert "Title &lt;b&gt;" in html
    assert "prefers-color-scheme: dark" in html


@pytest.mark.parametrize("svg", [line_chart(LINES), bar_chart(BARS)], ids=["lines", "bars"])
def test_charts_are_well_formed_and_within_their_frame(svg: str) -> None:
    root = ET.fromstring(svg)  # noqa: S314  # of our own making
    assert root.get("role") == "img"
    assert root.get("aria-label")
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for each in root.iter():
        for name, limit in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            if name in each.attrib:
                assert 0 <= float(each.attrib[name]) <= limit


def test_charts_of_nothing_say_so() -> None:
    empty = LineChart("e", "x", "y", (Series("a", [], [], 0), Series("b", [1], [None], 1)))
    assert "nothing was measured" in line_chart(empty)
    assert "nothing was measured" in bar_chart(BarChart("e", "x", "y", [0, 1], [0], 0))


def test_a_gap_breaks_the_line() -> None:
    path = re.search(r'd="([^"]+)"', line_chart(LINES))
    assert path is not None
    assert path[1].count("M") == 2


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (0, 19_398_444), (0.7412, 0.7923), (5, 5), (0, 0), (-3, 8), (1e-6, 2e-6)],
)
def test_axes_cover_their_values_in_round_steps(low: float, high: float) -> None:
    found = axis(low, high, 0.0, 100.0)
    assert found.low <= low <= high <= found.high
    assert 2 <= len(found.ticks) <= 12
    labels = [found.label(tick) for tick in found.ticks]
    assert len(set(labels)) == len(labels)
    assert all(-1e-6 <= found.place(tick) <= 100.0 + 1e-6 for tick in found.ticks)


def test_large_numbers_are_in_thousands_and_millions() -> None:
    millions = axis(0, 20e6, 0, 1)
    assert millions.label(millions.ticks[-1]) == "20 M"
    thousands = axis(0, 40_000, 0, 1)
    assert thousands.label(thousands.ticks[1]) == "10 k"
