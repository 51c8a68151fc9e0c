"""Unlearning methods, one a file; here by their classes' names in any case: `methods.Scrub`."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The class of a registered method; importing one imports all."""
    if name[:1].isupper():
        from unlearn_ray.core.errors import did_you_mean

        known = _classes()
        for own, method in known.items():
            if own.casefold() == name.casefold():
                return method
        raise AttributeError(f"no method has a class {name}; {did_you_mean(name, known)}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_classes()})


def _classes() -> dict[str, type]:
    from unlearn_ray.core.registry import parts
    from unlearn_ray.methods.base import Method

    return {method.__name__: method for method in parts(Method).values()}
