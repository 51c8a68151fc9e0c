"""When a run saves checkpoints and reports: by time, but at the same update on every worker."""

from __future__ import annotations

import time

from unlearn_ray.core.collective import on_first, world_size


class CheckpointClock:
    """All workers follow worker 0's clock, at updates that are agreed on in advance.

    Synchronising after every update would stall a GPU; so each look at the clock also sets the
    update of the next one, from the pace so far: about `tell_seconds` later.

    Args:
        done: updates before this run.
        save_seconds, tell_seconds: between two checkpoints, and between two reports.
    """

    def __init__(self, done: int, save_seconds: float, tell_seconds: float) -> None:
        self.begun = self.next_look = done
        self.save_seconds = save_seconds
        self.tell_seconds = tell_seconds
        self.begun_at = self.saved_at = self.told_at = time.monotonic()

    def after(self, done: int) -> tuple[bool, bool]:
        """Whether to save a checkpoint and whether to report, after `done` updates."""
        if world_size() == 1:
            return self._by_clock()
        if done < self.next_look:
            return False, False
        save, tell, self.next_look = on_first(lambda: (*self._by_clock(), done + self._ahead(done)))
        return save, tell

    def saved(self) -> None:
        """Restart the time until the next checkpoint."""
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
