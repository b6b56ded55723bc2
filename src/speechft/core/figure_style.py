"""Colours and style of the figures, and how an SVG takes on the page's theme."""

from __future__ import annotations

import re
from typing import Any

INK, MUTED, GRID = "#22252a", "#6c727c", "#dfe2e7"
PRETRAINED, FINETUNED, MERGED, OTHER = "#8a919e", "#d07a1e", "#0f7b6c", "#7a5aa8"
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    PRETRAINED: "--pretrained",
    FINETUNED: "--finetuned",
    MERGED: "--merged",
    OTHER: "--other",
}
COLOURS = {
    "pretrained": PRETRAINED,
    "finetuned": FINETUNED,
    "merged": MERGED,
    "other": OTHER,
}
# Of lines and dots that have no role, in the order in which they are used up.
SERIES = (MERGED, FINETUNED, OTHER, PRETRAINED, INK)
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name with dollars is a name
    "figure.dpi": 100,
}
GROUPS = "figure|axes|patch|text|line2d|matplotlib|xtick|ytick|legend"


def legend_text(name: str) -> str:
    """Give a name as a legend shows it: matplotlib leaves out what begins with `_`."""
    return f"\u200a{name}" if name.startswith("_") else name


def themed(svg: str, name: str) -> str:
    """Cut the SVG down to its element, put CSS variables for colours and the page's font in."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", svg, count=1)
    svg = re.sub(r"(['\"])DejaVu Sans\1[^;\"]*", "inherit", svg)
    svg = re.sub(rf'\bid="({GROUPS})_[^"]*"', "", svg)
    for colour, variable in VARIABLES.items():
        svg = re.sub(colour, f"var({variable})", svg, flags=re.IGNORECASE)
    return svg.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)
