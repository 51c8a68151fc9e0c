"""What a GPU would have been asked to do, with the line of the package that asked."""

from __future__ import annotations

import linecache
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal

import unlearn_ray

# launch: a kernel. pinned: a copy, from or to pinned memory, that the host does not wait for.
# staged: one to the device from pageable memory, during which the driver may wait for the stream.
# waited: one to the device that the host waits for. read: one from it, and sync: another operation,
# that waits until everything before is done.
Kind = Literal["launch", "pinned", "staged", "waited", "read", "sync"]
# What keeps the host from running ahead of the device.
WAITS: tuple[Kind, ...] = ("staged", "waited", "read", "sync")

_PACKAGE = str(Path(unlearn_ray.__file__).parent) + "/"
# A line that copies by this function is the one that causes the copy.
_HELPERS = (_PACKAGE + "core/transfer.py",)

Line = tuple[str, int]


@dataclass
class Ledger:
    """Counts since the last `clear`.

    Attributes:
        counts: of each kind, by line.
        bytes: that copies of each kind moved.
        operations: launches by the name of the operation.
    """

    counts: Counter[tuple[Kind, Line]] = field(default_factory=Counter)
    bytes: Counter[Kind] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)

    def add(self, kind: Kind, times: int = 1, size: int = 0, operation: str = "") -> None:
        """Count what the innermost line of the package has caused."""
        self.counts[kind, line()] += times
        if size:
            self.bytes[kind] += size
        if kind == "launch":
            self.operations[operation] += times

    def clear(self) -> None:
        """Forget everything."""
        for counter in (self.counts, self.bytes, self.operations):
            counter.clear()

    def take(self, other: Ledger) -> None:
        """Count as another does now."""
        self.counts, self.bytes = Counter(other.counts), Counter(other.bytes)
        self.operations = Counter(other.operations)

    def total(self, *kinds: Kind) -> int:
        """How often anything of these kinds was counted."""
        return sum(times for (kind, _), times in self.counts.items() if kind in kinds)


def line() -> Line:
    """The innermost line of the package.

    Backward runs on a thread of its own, whose launches belong to the line that called it.
    """
    found = _innermost(sys._getframe(1))
    if found is None and threading.current_thread() is not threading.main_thread():
        main = threading.main_thread().ident
        assert main is not None
        found = _innermost(sys._current_frames()[main])
    return found or ("outside", 0)


def _innermost(frame: FrameType | None) -> Line | None:
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_PACKAGE) and name not in _HELPERS:
            return name.removeprefix(_PACKAGE), frame.f_lineno
        frame = frame.f_back
    return None


def shown(where: Line) -> str:
    """A line with its text."""
    name, number = where
    return f"{name}:{number}: {linecache.getline(_PACKAGE + name, number).strip()}"
