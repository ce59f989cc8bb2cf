"""The table of a run: as text, as Markdown, as JSON."""

from __future__ import annotations

from typing import Any, Optional

from bench_rows import OLD, OURS, ROWS, Found, Quantity, row_of

# What the conditions of a run say of a program that Cargo has built for debugging.
UNOPTIMISED = "NOT optimised"
PROVISIONAL = (
    "**Provisional**: rows whose conditions say so are of a program that was not optimised, which takes several "
    "times the memory and the time on our side. Smaller numbers of workers than 200 stand in the row's title.\n\n"
)
MET = {True: "yes", False: "**no**", None: ""}


def number(value: Optional[float], quantity: Quantity) -> str:
    """With its unit; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:,.{quantity.digits}f}"
    return f"{text} {quantity.unit}".strip()


def ratio(value: Optional[float]) -> str:
    """How often ours goes into the old one's."""
    if value is None:
        return ""
    return f"{value:,.0f} ×" if value >= 10 else f"{value:.1f} ×"


def met(value: Optional[float], quantity: Quantity) -> Optional[bool]:
    """Whether the target is; None without a target or a value."""
    return None if value is None or quantity.target is None else value <= quantity.target


def target(quantity: Quantity) -> str:
    """In words."""
    return "" if quantity.target is None else f"≤ {quantity.target:g} {quantity.unit}".strip()


def record(found: dict[str, Found], words: dict[str, str], conditions: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, for a machine."""
    return {"rows": [_record_of(key, one, words, conditions) for key, one in found.items()]}


def merged(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What was measured before, with what was measured now in its place, in the table's order."""
    rows = {row["key"]: row for row in [*before.get("rows", []), *now["rows"]]}
    return {**before, "rows": [rows[row.key] for row in ROWS if row.key in rows]}


def _record_of(key: str, found: Found, words: dict[str, str], conditions: dict[str, Any]) -> dict[str, Any]:
    row = row_of(key)
    quantities = []
    for quantity in row.quantities:
        ours = found.median("ours", quantity.key)
        quantities.append(
            {
                "key": quantity.key,
                "name": quantity.name.format(**words),
                "unit": quantity.unit,
                "target": quantity.target,
                "digits": quantity.digits,
                "latent": ours,
                "buildbot": found.median("old", quantity.key),
                "ratio": found.ratio(quantity.key),
                "met": met(ours, quantity),
            }
        )
    return {
        "key": key,
        "title": row.title.format(**words),
        "note": row.note,
        "alone": row.alone,
        "conditions": conditions,
        "began": found.began,
        "ended": found.ended,
        "n": found.n,
        "why": found.why,
        "rounds": {"latent": found.ours, "buildbot": found.old},
        "quantities": quantities,
    }


HEAD = ("", OURS, OLD, "ratio", "target", "met", "n, rounds")


def lines(data: dict[str, Any]) -> list[tuple[str, ...]]:
    """The table's cells, from its record: a line for each quantity, and one for what could not be measured."""
    found: list[tuple[str, ...]] = []
    for row in data["rows"]:
        many = len(row["quantities"]) > 1
        if many:
            found.append((row["title"], "", "", "", "", "", _rounds(row)))
        for one in row["quantities"]:
            quantity = Quantity(one["key"], one["name"], one["unit"], one["target"], one["digits"])
            name = f"– {quantity.name}" if many else f"{row['title']}, {quantity.name}"
            old = number(one["buildbot"], quantity)
            if one["buildbot"] is None and row["alone"]:
                old = f"– ({row['alone']})"
            end = "" if many else _rounds(row)
            cells = (number(one["latent"], quantity), old, ratio(one["ratio"]), target(quantity))
            found.append((name, *cells, MET[one["met"]], end))
        for side, why in row["why"].items():
            found.append((f"not measured, {side}: {_one_line(why)}", "", "", "", "", "", ""))
    return found


def _rounds(row: dict[str, Any]) -> str:
    """Of how many things each round was, and how many rounds each side had."""
    counts = list(dict.fromkeys(f"{row['n'][side]:,}" for side in (OURS, OLD) if side in row["n"]))
    ours, old = len(row["rounds"]["latent"]), len(row["rounds"]["buildbot"])
    return f"{' / '.join(counts) or '0'}, {ours} + {old}" if old else f"{' / '.join(counts) or '0'}, {ours}"


def _one_line(text: str) -> str:
    """What an error says, without what would break the table."""
    return " ".join(text.replace("|", "/").split())[:240]


def plain(data: dict[str, Any]) -> str:
    """For a terminal."""
    rows = [HEAD, *lines(data)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEAD))]
    widths[0] = min(widths[0], 72)
    shown = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        shown.append("  ".join(cells).rstrip().replace("**", ""))
    return "\n".join(shown)


def markdown(data: dict[str, Any]) -> str:
    """For docs/PERFORMANCE.md."""
    rows = [HEAD, ("---", "---:", "---:", "---:", "---:", "---", "---"), *lines(data)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    notes = "\n".join(f"- **{row['title']}**: {row['note']}" for row in data["rows"])
    provisional = any(UNOPTIMISED in row["conditions"].get("program", "") for row in data["rows"])
    return f"{PROVISIONAL if provisional else ''}{table}\n\n{measured(data)}\n\n{notes}"


def measured(data: dict[str, Any]) -> str:
    """On what each row was measured: all of one run together."""
    runs: dict[str, list[str]] = {}
    for row in data["rows"]:
        runs.setdefault(where(row["conditions"]), []).append(row["title"])
    if len(runs) == 1:
        return f"Measured with {next(iter(runs))}"
    return "\n".join(f"- {', '.join(titles)}: {run}" for run, titles in runs.items())


def where(conditions: dict[str, Any]) -> str:
    """On what it was measured, in one line."""
    return "; ".join(f"{name}: {value}" for name, value in conditions.items()) + "."
