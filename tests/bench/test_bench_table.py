"""What the bench makes of its numbers: medians, the table, the file, the page, the plot. Nothing is timed here."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "bench")]

import bench_docs  # noqa: E402
import bench_plot  # noqa: E402
import bench_table  # noqa: E402
from bench_rows import ROWS, Found, Quantity, percentile, row_of  # noqa: E402

WORDS = {
    "workers": "200",
    "fifty": "50",
    "cells": "100",
    "few": "1,000",
    "many": "10,000",
    "record": "1,000",
    "days": "365",
}
WHERE = {"commit": "abc", "machine": "two processors"}
GROWTH = {
    "over workers": [
        {"cells": 10, "workers": 100, "calls": 10.0, "cpu": 0.5, "rss": 20.0},
        {"cells": 10, "workers": 1000, "calls": 10.4, "cpu": 0.8, "rss": 30.0},
    ],
    "over cells": [
        {"cells": 10, "workers": 1000, "calls": 10.4, "cpu": 0.8, "rss": 30.0},
        {"cells": 100, "workers": 1000, "calls": 101.0, "cpu": 4.0, "rss": 35.0},
    ],
}


def launches() -> Found:
    """Three rounds of which the second has a slow neighbour."""
    ours = [{"p50": 4.0, "p99": 60.0}, {"p50": 40.0, "p99": 600.0}, {"p50": 5.0, "p99": 40.0}]
    old = [{"p50": 400.0, "p99": 9000.0}, {"p50": 800.0, "p99": 9000.0}, {"p50": 100.0, "p99": 8000.0}]
    return Found(ours=ours, old=old, n={"latent": 200, "Buildbot's own": 50})


def data(**rows: Found) -> dict[str, Any]:
    """The record of a run."""
    return bench_table.record(rows, WORDS, WHERE)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([float(n) for n in range(200, 0, -1)], 50) == 100
    assert percentile([float(n) for n in range(1, 201)], 99) == 198
    assert (percentile([3.0], 99), percentile([1.0, 2.0], 50)) == (3.0, 1.0)
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_medians_are_of_rounds_and_the_ratio_is_of_pairs() -> None:
    found = launches()
    assert (found.median("ours", "p50"), found.median("old", "p50")) == (5.0, 400.0)
    # 100, 20 and 20: not the 80 of the medians.
    assert found.ratio("p50") == 20.0
    assert found.median("ours", "nothing of this name") is None
    assert Found(ours=[{"p50": 0.0}], old=[{"p50": 1.0}]).ratio("p50") is None


def test_each_quantity_says_whether_its_target_is_met() -> None:
    (row,) = data(launch=launches())["rows"]
    assert [(one["key"], one["latent"], one["met"]) for one in row["quantities"]] == [
        ("p50", 5.0, True),
        ("p99", 60.0, False),
    ]
    lines = bench_table.lines(data(launch=launches()))
    assert lines[0][0] == "request → RunInstances on the wire, 200 workers at once, no throttle"
    assert lines[0][-1] == "200 / 50, 3 + 3"
    assert lines[1][1:6] == ("5.0 ms", "400.0 ms", "20 ×", "≤ 5 ms", "yes")
    assert lines[2][1:6] == ("60.0 ms", "9,000.0 ms", "150 ×", "≤ 50 ms", "**no**")


def test_a_row_that_failed_says_why_and_breaks_no_table() -> None:
    failed = Found(why={"latent": "RuntimeError: a | b\nsecond line " + "x" * 500})
    lines = bench_table.lines(data(ledger=failed, launch=launches()))
    (said,) = [line for line in lines if line[0].startswith("not measured")]
    assert said[0].startswith("not measured, latent: RuntimeError: a / b second line x")
    assert len(said[0]) < 300
    text = bench_table.markdown(data(ledger=failed, launch=launches()))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {len(bench_table.HEAD) + 1}
    start = next(line for line in table if line.startswith("| – start |"))
    assert "| – | – (it has no record) |" in start


def test_rows_that_are_measured_again_take_the_place_of_the_old_ones() -> None:
    before = {**data(launch=launches(), ledger=Found(why={"latent": "no generator"})), "growth": GROWTH}
    now = data(ledger=Found(ours=[{"start": 1.0}], n={"latent": 5}), admit=Found(ours=[{"p99": 3.0}]))
    both = bench_table.merged(before, now)
    assert [row["key"] for row in both["rows"]] == ["launch", "admit", "ledger"]
    assert both["rows"][2]["why"] == {}
    assert both["growth"] == GROWTH
    assert bench_table.merged({}, now)["rows"] == [now["rows"][1], now["rows"][0]]


def test_runs_on_different_days_are_told_apart() -> None:
    before = data(launch=launches())
    now = bench_table.record({"admit": Found(ours=[{"p99": 3.0}])}, WORDS, {**WHERE, "commit": "def"})
    said = bench_table.measured(bench_table.merged(before, now))
    assert "no throttle: commit: abc; machine: two processors." in said
    assert "(our share): commit: def;" in said
    assert bench_table.measured(before) == "Measured with commit: abc; machine: two processors."


def test_numbers_of_a_program_that_is_not_optimised_are_provisional() -> None:
    slow = {**WHERE, "program": f"latent 1, {bench_table.UNOPTIMISED}"}
    record = bench_table.record({"launch": launches()}, WORDS, slow)
    assert bench_table.markdown(record).startswith("**Provisional**")
    assert bench_table.markdown(data(launch=launches())).startswith("| ")


def test_every_row_of_the_issue_is_there_once_and_can_be_shown_without_numbers() -> None:
    keys = [row.key for row in ROWS]
    assert len(keys) == len(set(keys))
    everything = data(**{key: Found() for key in keys})
    assert [row["key"] for row in everything["rows"]] == keys
    assert "{" not in bench_table.plain(everything)
    assert row_of("live10000").title.startswith("controller with {many}")


def test_numbers_have_their_units() -> None:
    quantity = Quantity("size", "file", "GB", 2, 2)
    assert (bench_table.number(1.234, quantity), bench_table.number(None, quantity)) == ("1.23 GB", "–")
    assert (bench_table.target(quantity), bench_table.met(2.0, quantity)) == ("≤ 2 GB", True)
    assert (bench_table.ratio(1.26), bench_table.ratio(1234.0), bench_table.ratio(None)) == (
        "1.3 ×",
        "1,234 ×",
        "",
    )


def test_the_plot_is_a_picture_with_a_description_and_no_hostile_text() -> None:
    text = bench_plot.svg(GROWTH, "commit <script>")
    root = ElementTree.fromstring(text)
    name = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{name}svg"
    assert "1,000 workers: 10 calls a minute" in str(root.findtext(f"{name}desc"))
    # Two lines in each of two panels, a mark at each point.
    assert len(root.findall(f"{name}circle")) == 8
    assert "<script>" not in text
    assert "prefers-color-scheme: dark" in text
    for circle in root.findall(f"{name}circle"):
        assert 0 <= float(circle.get("cx", "")) <= bench_plot.WIDTH
        assert bench_plot.TOP <= float(circle.get("cy", "")) <= bench_plot.TOP + bench_plot.UP


@pytest.mark.parametrize(
    ("value", "top"), [(0, 1), (0.8, 1), (1.0, 1), (1.2, 2), (10.4, 20), (101, 200), (500, 500)]
)
def test_axes_end_at_round_numbers(value: float, top: float) -> None:
    assert bench_plot.nice(value) == pytest.approx(top)


def test_the_page_keeps_what_is_written_by_hand(tmp_path: Path) -> None:
    page = "before\n{}\nold\n{}\nbetween\n{}\n{}\nafter\n"
    parts = [bench_docs.marker(part, end) for part in ("table", "growth") for end in (False, True)]
    (tmp_path / "PERFORMANCE.md").write_text(page.format(*parts))
    record = {
        **data(launch=launches()),
        "growth": GROWTH,
        "growth conditions": {"commit": "abc", "date": "today", "program": "latent 1"},
    }
    for _ in range(2):
        bench_docs.write(tmp_path, record)
    text = (tmp_path / "PERFORMANCE.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert ("\nbetween\n" in text, "\nold\n" in text, text.count("| – p50 |")) == (True, False, 1)
    assert "| 100 | 1,000 | 101 | 4.00 | 35.0 |" in text
    assert (tmp_path / bench_docs.PLOT).exists()


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "PERFORMANCE.md"
    path.write_text("nothing here\n")
    with pytest.raises(bench_docs.NoMarkers, match="begin table"):
        bench_docs.write(tmp_path, data(launch=launches()))
    assert path.read_text() == "nothing here\n"


def test_the_page_of_this_project_has_its_markers() -> None:
    page = (ROOT / "docs" / "PERFORMANCE.md").read_text()
    for part in ("table", "growth"):
        assert "new" in bench_docs.replaced(page, part, "new")
