"""The pages that people read, as Markdown: which there are, what they link to, and their blocks of code."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tests.running import ROOT

_spec = importlib.util.spec_from_file_location("docs_site_conf", ROOT / "docs/site/conf.py")
assert _spec is not None and _spec.loader is not None
SITE = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(SITE)

NAVIGATION = [f"{page}.md" for part in SITE.NAVIGATION.values() for page in part]
"""The pages in the order of the site's left column, as paths from the project's folder."""

BELOW = [str(path.relative_to(ROOT)) for pattern in SITE.BELOW.values() for path in sorted(ROOT.glob(f"{pattern}.md"))]

_FENCE = re.compile(r"^( *)(`{3,}|~{3,})([^`\n]*)\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"`([\w./-]+\.\w+)`:\s*$")
_LINK = re.compile(r"\]\(([^()\s]+)\)|<(?:a|img)\b[^>]*?\b(?:href|src)=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6} +(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Path of its page from the project's folder.
        line: Line of its first line of text, from 1.
        language: What stands behind the fence; empty where nothing does.
        text: What is in it, without the indent of the whole.
        file: The file that it is to be written into, where the line above it ends with that name and a colon.
    """

    page: str
    line: int
    language: str
    text: str
    file: str

    @property
    def first(self) -> str:
        """Its first line: what names it in lists, since it moves less than a number."""
        return self.text.strip().splitlines()[0].strip()

    def __str__(self) -> str:
        return f"{self.page}:{self.line} ({self.first})"


def read(page: str) -> str:
    """A page's Markdown."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, from its top to its bottom."""
    text = read(page)
    found = []
    for match in _FENCE.finditer(text):
        named = _FILE.search(text[: match.start()])
        line = text.count("\n", 0, match.start(4)) + 1
        found.append(Block(page, line, match[3].strip(), textwrap.dedent(match[4]), named[1] if named else ""))
    return found


def prose(page: str) -> str:
    """A page without its blocks."""
    return _FENCE.sub("", read(page))


def links(page: str) -> list[str]:
    """What a page links to or shows, programs and texts in backticks left out."""
    text = re.sub(r"(`+)[^`].*?\1", "", prose(page))
    return [match[1] or match[2] for match in _LINK.finditer(text)]


def anchors(page: str) -> set[str]:
    """The places within a page that links may name, as GitHub makes them of headings."""
    found: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        number = sum(1 for other in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
        found.add(f"{slug}-{number}" if number else slug)
    return found


def resolved(page: str, link: str) -> tuple[Path, str]:
    """The file that a relative link leads to, and the place in it (empty: the whole of it)."""
    path, _, place = link.partition("#")
    return ((ROOT / page).parent / path).resolve() if path else ROOT / page, place
