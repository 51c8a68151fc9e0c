"""Durations and ranges of them in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearn_ray.monitor.time_left import Span

_MINUTE, _HOUR, _DAY = 60, 3600, 24 * 3600
_SECONDS = {"s": 1, "min": _MINUTE, "h": _HOUR, "days": _DAY}


def duration(seconds: float) -> str:
    """Seconds in words: `42 s`, `3 min 10 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def time_left(span: Span) -> str:
    """A range of seconds in words: `about 4-7 min left`; each end is rounded outwards."""
    low, high = _rounded(span.low, up=False), _rounded(span.high, up=True)
    if high[0] * _SECONDS[high[1]] <= _MINUTE:
        return "less than a minute left"
    if low[0] == 0:
        return f"less than {high[0]} {high[1]} left"
    if low == high:
        return f"about {high[0]} {high[1]} left"
    unit = "" if low[1] == high[1] else f" {low[1]}"
    return f"about {low[0]}{unit} to {high[0]} {high[1]} left"


def _rounded(seconds: float, *, up: bool) -> tuple[int, str]:
    """A number and its unit; monotonic in the time."""
    below = {"s": _MINUTE, "min": 2 * _HOUR, "h": 2 * _DAY}
    unit = next((unit for unit, end in below.items() if seconds < end), "days")
    step = 10 if unit == "s" else 1
    steps = seconds / (_SECONDS[unit] * step)
    return (int(-(-steps // 1)) if up else int(steps)) * step, unit
