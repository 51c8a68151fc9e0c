"""Pages of docs/ as programs: their files and commands, in the order of the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(
    r"(?:^`(?P<file>[^`\n]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)


class Block(NamedTuple):
    """A fenced block with a language; those without show output or files and are left out.

    Attributes:
        kind: its language: `sh` is run, another one is a file.
        text: its lines.
        file: the name in the line before it: "`request.yaml`:".
    """

    kind: str
    text: str
    file: str | None


def blocks(page: str) -> list[Block]:
    """The blocks of docs/PAGE.md, in order."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    found = _BLOCK.finditer(text)
    return [Block(each["kind"], each["text"], each["file"]) for each in found]


def commands(block: Block) -> list[str]:
    """The commands of a block, one a line; a backslash continues one."""
    return block.text.replace("\\\n", " ").splitlines()
