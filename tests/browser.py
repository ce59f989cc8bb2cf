"""A browser for the tests of pages: Chromium without a window, what a page asks for, and axe.

A test that needs what is not installed is skipped and says what is missing; with LATENT_SKIP_NOTHING=1 it fails.
"""

from __future__ import annotations

import functools
import importlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Optional

import pytest

AXE = Path(__file__).parent / "audit" / "node_modules" / "axe-core" / "axe.min.js"
DESKTOP, PHONE = 1280, 390
# What axe calls its findings that keep somebody from reading a page.
GRAVE = ("serious", "critical")


def missing(what: str, cure: str) -> NoReturn:
    """Skips the test, or fails it where nothing may be skipped."""
    text = f"{what} is not installed: {cure}"
    if os.environ.get("LATENT_SKIP_NOTHING") == "1":
        pytest.fail(text)
    pytest.skip(text)


def needed(module: str) -> Any:
    """A package of the tests."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return missing(module, "pip install -r tests/audit/requirements.txt")


def chromium() -> str:
    """The program."""
    given = os.environ.get("CHROMIUM", "")
    names = ([given] if given else []) + ["chromium", "chromium-browser", "google-chrome"]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        missing("Chromium", "install the package chromium, or name the program in CHROMIUM")
    return found


@dataclass
class Opened:
    """A page that is open in the browser."""

    page: Any
    # Every address that was asked for, the page's own first.
    asked: list[str]
    # What went wrong in it: refusals by its policy, errors of its scripts.
    complaints: list[str]

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(
            self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )

    def grave(self) -> list[str]:
        """axe's serious and critical findings, one a line."""
        if not AXE.exists():
            missing("axe-core", "python tests/iam/node.py --install tests/audit")
        self.page.evaluate(AXE.read_text(encoding="utf-8") + "; void 0")
        found = self.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        return [
            f"{finding['impact']}: {finding['id']}: {finding['help']}: "
            + "; ".join(node["html"][:160] for node in finding["nodes"][:3])
            for finding in found["violations"]
            if finding["impact"] in GRAVE
        ]

    def cells_narrower_than(self, pixels: int) -> list[str]:
        """The first words of table cells in which words of letters have less room than that."""
        script = """least => [...document.querySelectorAll('table .name, table .words')]
            .filter(cell => cell.offsetParent && cell.clientWidth < least)
            .map(cell => cell.textContent.slice(0, 40))"""
        return list(self.page.evaluate(script, pixels))


@functools.cache
def _driver() -> Any:
    """Playwright, which speaks to the browser; started once and kept until the tests end."""
    return needed("playwright.sync_api").sync_playwright().start()


@functools.cache
def _browser(program: str) -> Any:
    # Tests run as root in containers, where Chromium's own sandbox does not.
    return _driver().chromium.launch(executable_path=program, args=["--no-sandbox"])


@contextmanager
def opened(
    address: str, width: int = DESKTOP, dark: bool = False, scripts: bool = True, headers: Optional[dict] = None
) -> Iterator[Opened]:
    """The page at an address, in a window of its own."""
    context = _browser(chromium()).new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        java_script_enabled=scripts,
        extra_http_headers=headers or {},
    )
    try:
        page = context.new_page()
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        yield Opened(page, asked, complaints)
    finally:
        context.close()
