"""When a run saves and tells: by the clock, but after the same update on every worker."""

from __future__ import annotations

import time

from unlearn_ray.core.collective import on_first, world_size


class CheckpointClock:
    """Several workers follow worker 0's clock, at updates agreed on ahead.

    Asking each other after every update would make a GPU wait each time; so each look at the
    clock also settles, from the pace so far, when the next one is: about `tell_seconds` later.

    Args:
        done: updates before this run.
        save_seconds, tell_seconds: between two saves, and between two reports.
    """

    def __init__(self, done: int, save_seconds: float, tell_seconds: float) -> None:
        self.begun = self.next_look = done
        self.save_seconds = save_seconds
        self.tell_seconds = tell_seconds
        self.begun_at = self.saved_at = self.told_at = time.monotonic()

    def after(self, done: int) -> tuple[bool, bool]:
        """Whether to save and whether to tell, now that `done` updates are made."""
        if world_size() == 1:
            return self._by_clock()
        if done < self.next_look:
            return False, False
        save, tell, self.next_look = on_first(lambda: (*self._by_clock(), done + self._ahead(done)))
        return save, tell

    def saved(self) -> None:
        """Count from now to the next save."""
        self.saved_at = time.monotonic()

    def _by_clock(self) -> tuple[bool, bool]:
        now = time.monotonic()
        tell = now - self.told_at >= self.tell_seconds
        if tell:
            self.told_at = now
        return now - self.saved_at >= self.save_seconds, tell

    def _ahead(self, done: int) -> int:
        pace = (done - self.begun) / max(time.monotonic() - self.begun_at, 1e-9)
        return max(1, int(pace * self.tell_seconds))
