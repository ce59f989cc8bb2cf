"""The plot of what a controller costs over its cells and over its workers: SVG, readable on light and on dark."""

from __future__ import annotations

import math
from html import escape
from typing import Any

WIDTH, HEIGHT = 860, 360
# Of one panel: its left edge, and the lengths of its axes.
PANELS = (70, 500)
ACROSS, UP, TOP = 300, 220, 60
SERIES = (("calls", "calls to EC2 per minute", "a"), ("cpu", "CPU, % of a core", "b"))
STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.axis { stroke: #59636e; fill: none; }
.grid { stroke: #d1d9e0; fill: none; }
.a { stroke: #0550ae; fill: none; stroke-width: 2; } circle.a { fill: #0550ae; } text.a { fill: #0550ae; }
.b { stroke: #953800; fill: none; stroke-width: 2; stroke-dasharray: 7 4; }
circle.b { fill: #953800; } text.b { fill: #953800; }
text.a, text.b { stroke: none; font-weight: 600; }
.paper { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .paper { fill: #0d1117; } .axis { stroke: #9198a1; } .grid { stroke: #3d444d; }
  .a { stroke: #79c0ff; } circle.a, text.a { fill: #79c0ff; }
  .b { stroke: #ffa657; } circle.b, text.b { fill: #ffa657; }
}"""


def svg(growth: dict[str, list[dict[str, float]]], where: str) -> str:
    """Two panels with the same scales; `where` says on what it was measured."""
    over_workers, over_cells = growth["over workers"], growth["over cells"]
    points = over_workers + over_cells
    tops = {key: nice(max(point[key] for point in points)) for key, _, _ in SERIES}
    cells, workers = over_workers[0]["cells"], over_cells[0]["workers"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-labelledby="t d">',
        '<title id="t">What a controller costs</title>',
        f'<desc id="d">{escape(_words(over_workers, over_cells))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>',
        *_legend(),
        *_panel(PANELS[0], "workers", over_workers, tops, f"workers, in {cells:,.0f} cells"),
        *_panel(PANELS[1], "cells", over_cells, tops, f"cells, {workers:,.0f} workers"),
        f'<text x="{PANELS[0]}" y="{HEIGHT - 10}">{escape(where)}</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def nice(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, … that is not smaller."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def _legend() -> list[str]:
    return [
        f'<text class="{style}" x="{PANELS[0] + 260 * number}" y="24">● {escape(name)}</text>'
        for number, (_, name, style) in enumerate(SERIES)
    ]


def _panel(left: int, axis: str, points: list[dict[str, float]], tops: dict[str, float], title: str) -> list[str]:
    most = nice(max(point[axis] for point in points))
    parts = [f'<text x="{left}" y="{TOP - 12}">{escape(title)}</text>']
    for part in range(5):
        y = TOP + UP - UP * part / 4
        kind = "axis" if part == 0 else "grid"
        parts.append(f'<path class="{kind}" d="M{left} {y:.1f}h{ACROSS}"/>')
        for (key, _, style), x, anchor in zip(SERIES, (left - 6, left + ACROSS + 6), ("end", "start")):
            value = f"{tops[key] * part / 4:g}"
            parts.append(f'<text class="{style}" x="{x}" y="{y + 4:.1f}" text-anchor="{anchor}">{value}</text>')
    for point in points:
        x = left + ACROSS * point[axis] / most
        parts.append(f'<text x="{x:.1f}" y="{TOP + UP + 18}" text-anchor="middle">{point[axis]:,.0f}</text>')
    for key, _, style in SERIES:
        at = [(left + ACROSS * p[axis] / most, TOP + UP - UP * p[key] / tops[key]) for p in points]
        parts.append(f'<path class="{style}" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in at)}"/>')
        parts += [f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in at]
    return parts


def _words(over_workers: list[dict[str, float]], over_cells: list[dict[str, float]]) -> str:
    def one(points: list[dict[str, float]], axis: str) -> str:
        said = (f"{p[axis]:,.0f} {axis}: {p['calls']:.0f} calls a minute, {p['cpu']:.1f} % CPU" for p in points)
        return "; ".join(said)

    return f"{one(over_workers, 'workers')}. {one(over_cells, 'cells')}."


def words(growth: dict[str, list[dict[str, Any]]]) -> str:
    """The same as a Markdown table."""
    head = (
        "| cells | workers | calls to EC2 per minute | CPU, % of a core | RSS, MB |\n|---:|---:|---:|---:|---:|\n"
    )
    points = growth["over workers"] + growth["over cells"][1:]
    return head + "\n".join(
        f"| {p['cells']:,.0f} | {p['workers']:,.0f} | {p['calls']:.0f} | {p['cpu']:.2f} | {p['rss']:.1f} |"
        for p in points
    )
