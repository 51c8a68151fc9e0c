"""Pages as programs: their fenced blocks, in the order of the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,}|~{3,}) *(?P<kind>[\w+-]*)[^`]*$")
_MARK = re.compile(r"<!-- (?P<says>not run|run by): (?P<words>.*\S) -->$")
_COMMENT = re.compile(r"<!--.*-->")
_FILE = re.compile(r"`(?P<file>[^`\n]+)`:$")


class Mark(NamedTuple):
    """A comment on the line before a block, which a reader of the page does not see.

    Attributes:
        says: `not run` or `run by`.
        words: why not; the file of the test that runs it.
    """

    says: str
    words: str


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        page: the file that it is in, from the root of the repository.
        line: of its fence.
        kind: its language; empty if it has none.
        text: its lines.
        file: the name in the paragraph before it: "`request.yaml`:".
        marks: the comments before it.
    """

    page: str
    line: int
    kind: str
    text: str
    file: str | None
    marks: tuple[Mark, ...]

    @property
    def place(self) -> str:
        """`docs/page.md:12`."""
        return f"{self.page}:{self.line}"

    def mark(self, says: str) -> str | None:
        """The words of a mark; None without one."""
        return next((mark.words for mark in self.marks if mark.says == says), None)


def pages() -> list[Path]:
    """All pages that people read, links to others left out."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "cluster/README.md"]
    return [*found, *(path for path in sorted(DOCS.rglob("*.md")) if not path.is_symlink())]


def blocks(page: str) -> list[Block]:
    """The blocks of docs/PAGE.md, in order."""
    return blocks_of(DOCS / f"{page}.md")


def blocks_of(path: Path) -> list[Block]:
    """The blocks of a page, in order.

    Raises:
        ValueError: a block has no end.
    """
    page = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
    lines = path.read_text(encoding="utf-8").splitlines()
    found, number = [], 0
    while number < len(lines):
        opened = _FENCE.match(lines[number])
        if opened is not None:
            end = _end(lines, number, opened["fence"])
            if end is None:
                raise ValueError(f"{page}:{number + 1}: this block has no end")
            inside = [line.removeprefix(opened["indent"]) for line in lines[number + 1 : end]]
            text = "".join(f"{line}\n" for line in inside)
            file, marks = _before(lines[:number])
            found.append(Block(page, number + 1, opened["kind"], text, file, marks))
            number = end
        number += 1
    return found


def marked_lines(path: Path) -> dict[int, str]:
    """The comments of a page that stand alone on a line, by their line's number."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {
        number: line.strip()
        for number, line in enumerate(lines, 1)
        if _COMMENT.fullmatch(line.strip())
    }


def _end(lines: list[str], start: int, fence: str) -> int | None:
    """Where the block that starts there ends."""
    for number in range(start + 1, len(lines)):
        line = lines[number].strip()
        if line.startswith(fence) and not line.strip(fence[0]):
            return number
    return None


def _before(lines: list[str]) -> tuple[str | None, tuple[Mark, ...]]:
    """What the lines before a block say of it: its file, and its marks."""
    marks: list[Mark] = []
    while lines and (mark := _MARK.match(lines[-1].strip())):
        marks.insert(0, Mark(mark["says"], mark["words"]))
        lines = lines[:-1]
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    named = _FILE.match(lines[-1]) if lines else None
    return named["file"] if named else None, tuple(marks)


def commands(block: Block) -> list[str]:
    """The commands of a block; a backslash or an open quotation mark continues one.

    Comments and blank lines are left out.

    Raises:
        ValueError: a quotation mark is never closed.
    """
    found, pending = [], ""
    for line in block.text.replace("\\\n", " ").splitlines():
        pending = f"{pending}\n{line}" if pending else line
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # a quotation that goes on in the next line
            continue
        if words:
            found.append(pending)
        pending = ""
    if pending:
        raise ValueError(f"{block.place}: a quotation is not closed: {pending}")
    return found
