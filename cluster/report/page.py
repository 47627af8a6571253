"""The page around plots: title, tiles with the figures that matter, tables, light and dark."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from cluster.report.style import STYLE

# Name and color of each line, in the order of the plot.
Legend = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure. note: what to compare it with. good: None where there is nothing to pass."""

    name: str
    value: str
    note: str = ""
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Plot:
    """A chart with its title, a sentence that says what to see in it, and its legend."""

    title: str
    caption: str
    svg: str
    legend: Legend = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A report. table: (name, value) of every figure. sources: texts to fold away, by title."""

    title: str
    subtitle: str
    tiles: tuple[Tile, ...]
    plots: tuple[Plot, ...]
    table: tuple[tuple[str, str], ...]
    sources: tuple[tuple[str, str], ...] = ()


def render_page(page: Page) -> str:
    """The page as one HTML text that loads nothing."""
    tiles = "".join(map(_tile, page.tiles))
    plots = "".join(map(_plot, page.plots))
    rows = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in page.table
    )
    sources = "".join(
        f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
        for title, text in page.sources
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(page.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header><h1>{escape(page.title)}</h1><p>{escape(page.subtitle)}</p></header>
<section class="tiles">{tiles}</section>
<section class="plots">{plots}</section>
<section class="figures"><h2>All figures</h2><table>{rows}</table></section>
<section>{sources}</section>
</main>
</body>
</html>
"""


def _tile(tile: Tile) -> str:
    state = "" if tile.good is None else (" good" if tile.good else " bad")
    sign = "" if tile.good is None else ("✓ " if tile.good else "✗ ")
    note = f"<small>{sign}{escape(tile.note)}</small>" if tile.note else ""
    return (
        f'<div class="tile{state}"><span>{escape(tile.name)}</span>'
        f"<strong>{escape(tile.value)}</strong>{note}</div>"
    )


def _plot(plot: Plot) -> str:
    legend = "".join(
        f'<li><i class="c{color}"></i>{escape(name)}</li>' for name, color in plot.legend
    )
    return (
        f"<figure><figcaption><h2>{escape(plot.title)}</h2><p>{escape(plot.caption)}</p>"
        f"<ul class=legend>{legend}</ul></figcaption>{plot.svg}</figure>"
    )
