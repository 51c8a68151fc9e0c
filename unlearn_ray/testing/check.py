"""`Check`: one thing that is asked of one part, or of two that meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unlearn_ray.core.registry import Part


class Check:
    """A call that fails an assertion where the part does not conform.

    Args:
        function: what is called.
        parts: what it is called with first.
        more: what it is called with then; a word each.
    """

    def __init__(
        self, function: Callable[..., None], *parts: type[Part], more: tuple[str, ...] = ()
    ) -> None:
        self._function, self._arguments = function, (*parts, *more)
        names = [f"{parts[0].kind}-{parts[0].name}", *(part.name for part in parts[1:]), *more]
        self.id = "-".join([function.__name__, *names])

    def __call__(self) -> Any:
        """Run it."""
        self._function(*self._arguments)
