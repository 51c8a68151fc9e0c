"""SIGTERM in a worker: its machine is going away, so the running step saves a checkpoint first.

Spot preemption, pod eviction and `kill` all send SIGTERM, and SIGKILL some time later. By default
Ray ends the process at once, and the work since the last checkpoint is lost.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_given = threading.Event()
_at_work = threading.Event()


def install_handler() -> None:
    """Install a handler that lets the running step save and end; call it in the main thread.

    A second SIGTERM, or one while this process is idle, is handled as before.
    """
    former = signal.getsignal(signal.SIGTERM)
    if getattr(former, "heeds", False):
        return

    def note(number: int, frame: FrameType | None) -> None:
        if _at_work.is_set() and not _given.is_set():
            _given.set()
        elif callable(former):
            former(number, frame)
        else:
            signal.signal(number, former)
            signal.raise_signal(number)

    note.heeds = True  # type: ignore[attr-defined]
    signal.signal(signal.SIGTERM, note)


@contextmanager
def at_work() -> Iterator[None]:
    """Mark that the block has something to save."""
    _at_work.set()
    try:
        yield
    finally:
        _at_work.clear()


def wait() -> None:
    """Block until this process gets SIGTERM."""
    _given.wait()


def given() -> bool:
    """Whether this process got SIGTERM."""
    return _given.is_set()
