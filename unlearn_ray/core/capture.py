"""Whether the iteration that is computed now is captured as a CUDA graph, and by whom.

Such a graph replays what was once launched, on the memory that it was launched on: no line of
Python runs again. So what the host draws or computes anew for each iteration is declared
(`transfer.given`, and by it `Batch.drawn` and `Batch.scheduled`): whoever captures an iteration
(`train.step_graph`) makes it again for later ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Host(Generic[T]):
    """What the host gives an iteration.

    Attributes:
        tensors: on the CPU.
        made: what becomes of them, once they are on the device.
    """

    tensors: Sequence[Tensor]
    made: Callable[[Sequence[Tensor]], T]


Make = Callable[[Any], Host[Any]]


class Capturer(Protocol):
    """Whoever captures the iteration that is computed now."""

    def given(self, make: Make) -> Any:
        """What `make` gives this iteration, on the device."""
        ...

    def refuse(self, reason: str) -> None:
        """Note why the iteration cannot be captured."""
        ...


_capturers: list[Capturer] = []


@contextmanager
def captured_by(capturer: Capturer) -> Iterator[None]:
    """Compute an iteration that is captured."""
    _capturers.append(capturer)
    try:
        yield
    finally:
        _capturers.pop()


def capturer() -> Capturer | None:
    """Whoever captures the iteration that is computed now."""
    return _capturers[-1] if _capturers else None


def refuse(reason: str) -> None:
    """Say why what follows cannot be captured; does nothing unless it would be.

    Args:
        reason: what the iteration does, with the verb first.
    """
    if _capturers:
        _capturers[-1].refuse(reason)
