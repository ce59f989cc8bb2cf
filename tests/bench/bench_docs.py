"""docs/PERFORMANCE.md: what stands between its markers is written by the bench, the rest by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bench_plot
import bench_table

PLOT = "performance-growth.svg"


class NoMarkers(ValueError):
    """The page has not both markers of a part, in their order."""


def marker(part: str, end: bool) -> str:
    """A line that begins or ends what is generated."""
    return f"<!-- {'end' if end else 'begin'} {part}: written by tests/bench/bench.py --write-docs -->"


def replaced(page: str, part: str, text: str) -> str:
    """The page with this between the part's markers; raises NoMarkers."""
    begin, end = marker(part, False), marker(part, True)
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise NoMarkers(f"{begin} and {end} must stand in the page, in this order")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def write(docs: Path, data: dict[str, Any]) -> None:
    """The table, and the plot if the run has one."""
    path = docs / "PERFORMANCE.md"
    page = replaced(path.read_text(), "table", bench_table.markdown(data))
    growth = data.get("growth")
    if growth:
        conditions = data["growth conditions"]
        where = f"commit {conditions['commit']}, {conditions['program']}, {conditions['date']}"
        (docs / PLOT).write_text(bench_plot.svg(growth, where))
        page = replaced(page, "growth", f"![{PLOT}]({PLOT})\n\n{bench_plot.words(growth)}\n\n{where}.")
    path.write_text(page)
