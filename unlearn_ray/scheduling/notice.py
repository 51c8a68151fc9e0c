"""SIGTERM in a worker: its machine is going away, so what runs saves a checkpoint first.

A spot machine that is taken back, a pod that is evicted and `kill` all say SIGTERM, and SIGKILL
some time later. Ray's own answer is to end the process at once, with what it computed since the
last checkpoint.
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
    """From now on, a first SIGTERM lets what runs save and end; call it in the main thread.

    A second one, or one that meets this process idle, is answered as before.
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
    """The block has something to save."""
    _at_work.set()
    try:
        yield
    finally:
        _at_work.clear()


def wait() -> None:
    """Until this process is told to end."""
    _given.wait()


def given() -> bool:
    """Whether this process was told to end."""
    return _given.is_set()
