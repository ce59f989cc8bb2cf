"""Reads the snippets of a page.

A block in TOML or Python is a file of the reader's, and its first line names it: `# latent.toml`. What
comes later in a page is written over what came before, as the reader does. Other blocks are commands.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
NAME = re.compile(r"# ((?:latent\.toml|master\.cfg|(?:amis|policies)/[\w.-]+))\n")
FILES = ("toml", "python")
COMMANDS = ("sh", "console")


class NoName(Exception):
    """A block that should be a file does not say which."""


@dataclass
class Page:
    """A page's files and commands."""

    files: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Makes the files, and with them what they refer to in `amis/` of this repository and in `secrets/`."""
        for name, text in self.files.items():
            _put(folder / name, text)
        every = "\n".join(self.files.values())
        for script in re.findall(r'user_data = "([^"]+)"', every):
            _put(folder / "amis" / script, (ROOT / "amis" / script).read_text())
        for secret in re.findall(r'file = "([^"]+)"', every):
            _put(folder / secret, "a password\n")


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def pages(text: str, start: str = "") -> Iterator[tuple[str, Page]]:
    """The sections of a page with their snippets. A page is one reader's work, or each section is."""
    for section in re.split(r"^(?=## )", text, flags=re.M):
        title = section.splitlines()[0].lstrip("# ") if section else ""
        if title.startswith(start):
            yield title, read(section)


def read(text: str) -> Page:
    """The snippets of a text."""
    page = Page()
    for _, language, body in FENCE.findall(text):
        body = textwrap.dedent(body)
        name = NAME.match(body)
        if language in FILES:
            if name is None:
                raise NoName(f"this block does not begin with the name of its file:\n{body}")
            page.files[name[1]] = body
        elif language in COMMANDS:
            joined = body.replace("\\\n", " ")
            page.commands += [line.removeprefix("$ ").strip() for line in joined.splitlines() if line.strip()]
    return page
