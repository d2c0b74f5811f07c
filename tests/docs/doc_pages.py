"""The pages of the documentation, and what stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "CONTRIBUTING.md",
]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def blocks(page: Path, language: str) -> list[str]:
    """Text of each fenced block of a language."""
    found = FENCED.findall(page.read_text(encoding="utf-8"))
    return [text for name, text in found if name == language]


def files(page: Path) -> Iterator[tuple[str, str]]:
    """Path and text of each block that begins with the name of a file."""
    for text in [*blocks(page, "python"), *blocks(page, "yaml")]:
        name = re.match(r"# ([\w/]+\.(py|yaml))\n", text)
        if name:
            yield name[1], text


def snippets(page: Path) -> list[str]:
    """Blocks of Python that are no files."""
    written = {text for _, text in files(page)}
    return [text for text in blocks(page, "python") if text not in written]


def prose(page: Path) -> str:
    """Text of a page without its fenced blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def commands(page: Path) -> Iterator[str]:
    """Commands of a page's blocks, then those within its lines."""
    for text in blocks(page, "bash"):
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            yield from filter(None, map(str.strip, line.split(" && ")))
    for inline in re.findall(r"`(python [^`]+)`", prose(page)):
        yield " ".join(inline.split())


def anchors(page: Path) -> set[str]:
    """What a link may name behind #, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }
