"""`Check`: one requirement of a part, or of a pair of parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unlearn_ray.core.registry import Part


class Check:
    """A call that fails an assertion if the part does not conform.

    Attributes:
        name: of the requirement.
        case: what the part is tried with: other parts, further arguments.
        id: both, with the part's name, as pytest shows them.

    Args:
        function: to call.
        parts: its first arguments.
        more: further arguments, one word each.
    """

    def __init__(
        self, function: Callable[..., None], *parts: type[Part], more: tuple[str, ...] = ()
    ) -> None:
        self._function, self._arguments = function, (*parts, *more)
        self.name = function.__name__
        self.case = " ".join([*(part.name for part in parts[1:]), *more])
        names = [f"{parts[0].kind}-{parts[0].name}", *(part.name for part in parts[1:]), *more]
        self.id = "-".join([self.name, *names])

    def __call__(self) -> Any:
        """Run it."""
        self._function(*self._arguments)
