"""Every `latent` command that a text names exists, with every option that it is named with."""

from __future__ import annotations

import functools
import re
import subprocess

import pytest
from snippets import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [path for path in sorted((ROOT / "src").rglob("*.rs")) if "sim" not in path.parts]
# What a shell takes as the end of a command.
ENDS = re.compile(r"[|;&<>`\"#]|\$\(|\n")
# In code and on pages a command stands in a code span or at the begin of a line of a block; in a message of the
# program it is one only with an option behind it, for `latent worker` is also a noun.
ON_PAGE = re.compile(r"(?:^|`|\$ |sudo |exec |ExecStart=(?:/\S+/)?)latent ((?:[a-z]|--)[^`\n]*)", re.MULTILINE)
IN_SOURCE = re.compile(r"\blatent ((?:[a-z]+ ){1,3}--[^\"\n`]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def named() -> list[tuple[str, str]]:
    """Each command that is named, with where."""
    found = {}
    for pattern, files in ((ON_PAGE, PAGES), (IN_SOURCE, SOURCES)):
        for path in files:
            for match in pattern.finditer(path.read_text()):
                command = ENDS.split(match.group(1))[0].strip()
                found.setdefault(command, str(path.relative_to(ROOT)))
    return [(command, where) for command, where in sorted(found.items()) if re.match(r"[a-z-]+( |$)", command)]


@functools.cache
def help_of(binary: str, verbs: tuple[str, ...]) -> str | None:
    """What the program says of a command; nothing if it has none of that name."""
    told = subprocess.run([binary, *verbs, "--help"], capture_output=True, text=True, timeout=30)
    return told.stdout if told.returncode == 0 else None


def verbs_of(binary: str, words: list[str]) -> tuple[str, ...]:
    """The subcommands at the begin of a command: what its help still knows."""
    verbs: tuple[str, ...] = ()
    for word in words:
        if not re.fullmatch(r"[a-z][a-z-]*", word) or help_of(binary, (*verbs, word)) is None:
            break
        if f"\n  {word} " not in f"{help_of(binary, verbs) or ''} ":
            break
        verbs = (*verbs, word)
    return verbs


def test_there_are_such_commands() -> None:
    assert len(named()) > 50


@pytest.mark.parametrize(("command", "where"), named(), ids=[command[:60] for command, _ in named()])
def test_it_exists(command: str, where: str, binary: str) -> None:
    words = command.split()
    verbs = verbs_of(binary, words)
    options = set(OPTION.findall(command))
    assert verbs or not re.match(r"[a-z]", words[0]), f"{where} names `latent {command}`, which is no command"
    told = help_of(binary, verbs) or ""
    unknown = {option for option in options if option not in told}
    assert not unknown, f"{where} names {unknown} of `latent {' '.join(verbs)}`, which it has not"
