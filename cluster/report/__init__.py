"""Reports: one HTML file with figures and plots, and nothing to load from anywhere."""

from cluster.report.bars import BarChart, bar_chart
from cluster.report.lines import Band, Level, LineChart, Series, line_chart
from cluster.report.page import Page, Plot, Tile, render_page

__all__ = [
    "Band",
    "BarChart",
    "Level",
    "LineChart",
    "Page",
    "Plot",
    "Series",
    "Tile",
    "bar_chart",
    "line_chart",
    "render_page",
]
