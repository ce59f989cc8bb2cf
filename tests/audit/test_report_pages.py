"""The owner's report in a browser and in a mail: valid, readable by everybody, and nobody's tool."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests/iam", "localstack")]

import browser  # noqa: E402
import node  # noqa: E402
from master_process import wait_for  # noqa: E402

NAMES = ["full", "empty", "hostile"]
LOOKS = [(width, dark) for width in (browser.DESKTOP, browser.PHONE) for dark in (False, True)]
# What a report is made of; anything else came out of a tag.
ELEMENTS = """
    html head meta title style body a svg defs pattern path desc text header p h1 nav ul li main dl div dt dd
    section h2 span strong figure figcaption details summary table caption thead tbody tr th td code ol footer
"""
ATTRIBUTES = """
    lang charset http-equiv content name href id class aria-hidden aria-label aria-labelledby focusable width
    height patternunits patternUnits d role viewbox viewBox preserveaspectratio preserveAspectRatio x y scope
    tabindex
"""
NO_MARKUP = {"link_open", "image", "html_block", "html_inline", "fence", "code_block", "em_open", "s_open"}


def elements(page: str):
    """Every element as a standard browser reads the page; any mistake in its syntax is an error."""
    html5lib = browser.needed("html5lib")
    tree = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)
    for element in tree.iter():
        if isinstance(element.tag, str):
            yield element.tag.rpartition("}")[2], element


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_valid_html(reports: Path, name: str):
    program, validator = node.node(), Path(__file__).parent / "node_modules" / "html-validate"
    if program is None or not validator.exists():
        browser.missing("html-validate", "python tests/iam/node.py --install tests/audit")
    config = Path(__file__).parent / "html-validate.json"
    command = [
        program,
        str(validator / "bin" / "html-validate.mjs"),
        "--config",
        str(config),
        "--formatter",
        "text",
    ]
    done = subprocess.run([*command, str(reports / f"{name}.html")], capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[:4000]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_only_our_own_elements_and_goes_nowhere(reports: Path, name: str):
    page = (reports / f"{name}.html").read_text(encoding="utf-8")
    ids, targets, headings = [], [], []
    for tag, element in elements(page):
        assert tag in ELEMENTS.split(), tag
        for key, value in element.attrib.items():
            key = key.rpartition("}")[2] if isinstance(key, str) else key
            assert key in ATTRIBUTES.split(), (tag, key, value)
            ids += [value] if key == "id" else []
            targets += [value] if key == "href" else []
        if re.fullmatch("h[1-6]", tag):
            headings.append(int(tag[1]))
    assert len(ids) == len(set(ids)), "an id twice"
    assert all(target.startswith("#") and target[1:] in ids for target in targets), targets
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(headings, headings[1:])), headings


@pytest.mark.parametrize("width, dark", LOOKS)
@pytest.mark.parametrize("name", NAMES)
def test_a_page_can_be_read_by_everybody(reports: Path, name: str, width: int, dark: bool):
    with browser.opened((reports / f"{name}.html").as_uri(), width=width, dark=dark) as opened:
        assert opened.overflow() <= 0, "the page is wider than its window"
        assert opened.cells_narrower_than(100) == []
        # What is folded is read too.
        opened.page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert opened.overflow() <= 0, "the page is wider than its window with all its parts open"
        assert opened.grave() == []


@pytest.mark.parametrize("name", NAMES)
def test_a_page_asks_for_nothing_and_needs_no_script(reports: Path, name: str):
    address = (reports / f"{name}.html").as_uri()
    with browser.opened(address, scripts=False) as opened:
        assert opened.asked == [address]
        assert opened.complaints == []
        tiles = opened.page.locator(".tile .value")
        assert tiles.count() == 5 and all(tile.is_visible() for tile in tiles.all())
        # Its own style is let in by its own policy.
        assert opened.page.locator("body").evaluate("body => getComputedStyle(body).maxWidth") != "none"


def test_a_wide_table_is_moved_by_the_keyboard(reports: Path):
    with browser.opened((reports / "full.html").as_uri(), width=browser.PHONE) as opened:
        region = opened.page.locator(".scroll.table", has=opened.page.locator("#instances-caption"))
        region.focus()
        opened.page.keyboard.press("End")
        opened.page.keyboard.press("ArrowRight")
        # The page forbids what Playwright would wait with.
        wait_for("the table to move", lambda: opened.page.evaluate("document.activeElement.scrollLeft > 0"))


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_printed(reports: Path, name: str):
    with browser.opened((reports / f"{name}.html").as_uri(), dark=True) as opened:
        printed = opened.page.pdf(format="A4")
        opened.page.emulate_media(media="print", color_scheme="dark")
        paper = opened.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert printed.startswith(b"%PDF-") and len(printed) > 10_000
    assert paper == "rgb(255, 255, 255)", "paper is white, whatever the screen is"


@pytest.mark.parametrize("name", NAMES)
def test_foreign_text_is_no_markdown(reports: Path, name: str):
    markdown = browser.needed("markdown_it")
    parser = markdown.MarkdownIt("gfm-like")
    tokens = parser.parse((reports / f"{name}.md").read_text(encoding="utf-8"))
    flat = [inner for token in tokens for inner in [token, *(token.children or [])]]
    kinds = {token.type for token in flat}
    assert not kinds & NO_MARKUP
    texts = [token.content for token in flat if token.type == "text"]
    assert not [text for text in texts if re.search(r"[@#<`]|://", text)], "foreign text outside code"
    headings = [token.tag for token in tokens if token.type == "heading_open"]
    assert headings.count("h1") == 1 and headings.count("h2") == 11


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_a_markdown_table_has_the_cells_of_its_head(reports: Path, name: str):
    expected = None
    for line in (reports / f"{name}.md").read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            expected = None
            continue
        bars = len(re.findall(r"(?<!\\)\|", line))
        expected = expected or bars
        assert bars == expected, line


def test_a_sheet_has_every_instance_and_no_formula(reports: Path):
    for name in NAMES:
        text = (reports / f"{name}.csv").read_bytes().decode()
        lines = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        report = json.loads((reports / f"{name}.json").read_text(encoding="utf-8"))
        assert len(lines) == len(report["instances"])
        for line, instance in zip(lines, report["instances"]):
            assert None not in line and None not in line.values(), "as many cells as the header has"
            assert not [cell for cell in line.values() if cell[:1] in tuple("=+-@\t\r")]
            seconds = sum(int(line[key]) for key in line if key in USE_COLUMNS)
            assert seconds == sum(instance["uses"].values())


USE_COLUMNS = {
    f"{use}_seconds"
    for use in ("boot", "build", "idle", "drain", "stopped", "held", "rebake", "zombie", "unknown")
}
