"""Numbers with their noun, for messages: `1 trial`, `2 trials`."""

from __future__ import annotations


def counted(count: float, thing: str, things: str = "") -> str:
    """`1 trial`, `2 trials`, `1,000 trials`, `0.5 CPUs`.

    Args:
        count: the number.
        thing: the noun in the singular.
        things: its plural, if that is not formed by adding s.
    """
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {thing if count == 1 else things or f'{thing}s'}"
