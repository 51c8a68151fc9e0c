"""Runs that are stopped and go on: where, and what they leave meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from unlearn_ray.core.errors import StopRequested
from unlearn_ray.train.loop import Progress


@dataclass
class Kept:
    """Checkpoints in memory.

    Attributes:
        last: of all that were saved.
        iterations: of each.
    """

    seconds_between: float = 0.0
    at_end: bool = False
    last: tuple[dict[str, Tensor], dict[str, str]] | None = None
    iterations: list[int] = field(default_factory=list)

    def load(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        return self.last

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        self.iterations.append(iteration)
        self.last = ({name: value.clone() for name, value in tensors.items()}, dict(metadata))


def stop_at_iteration(number: int) -> Callable[[Progress], bool]:
    """Stop the run when it tells of this iteration."""

    def stop(progress: Progress) -> bool:
        if progress.iteration == number:
            raise StopRequested("run", "stopped", "go on")
        return False

    return stop


def stop_at_report(number: int) -> Callable[[Progress], bool]:
    """Stop the run at this report of how far it is, counted from 1."""
    seen = 0

    def stop(_: Progress) -> bool:
        nonlocal seen
        seen += 1
        if seen == number:
            raise StopRequested("run", "stopped", "go on")
        return False

    return stop
