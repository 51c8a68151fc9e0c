"""Process many files in threads, within a memory limit."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_PROGRESS_SECONDS = 5.0


class Memory:
    """A memory budget shared by threads; a request for more than is left waits."""

    def __init__(self, bytes_in_all: int) -> None:
        self._all = bytes_in_all
        self._left = bytes_in_all
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, wanted: int) -> Iterator[None]:
        """Reserve bytes, at most the whole budget, within the context."""
        wanted = min(wanted, self._all)
        with self._changed:
            self._changed.wait_for(lambda: wanted <= self._left)
            self._left -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._left += wanted
                self._changed.notify_all()


def in_threads(work: Callable[[Any], T], items: list[Any], done: str) -> Iterator[T]:
    """Apply `work` to every item, in order; reports progress of long work on standard error."""
    reported = time.monotonic()
    with ThreadPoolExecutor() as pool:
        try:
            for number, result in enumerate(pool.map(work, items), 1):
                if time.monotonic() - reported > _PROGRESS_SECONDS:
                    reported = time.monotonic()
                    sys.stderr.write(f"images: {done} {number:,} of {len(items):,} files\n")
                yield result
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
