"""Ranges: what a search may choose a field's value from.

Sweep files write them as `{kind: ...}`, methods declare theirs with the functions below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, get_args

RangeKind = Literal["uniform", "log_uniform", "int", "log_int", "choice", "grid"]
RANGE_KINDS: tuple[RangeKind, ...] = get_args(RangeKind)
# Keys of a range in a sweep file, in addition to its kind.
STEP, WHEN, OTHERWISE = "step", "when", "otherwise"


@dataclass(frozen=True)
class Range:
    """The range that a field is searched over.

    Attributes:
        kind: how values are drawn. `int` and `log_int` include both ends; `choice` has no order;
            `grid` is a few numbers in order, which a grid search exhausts.
        low, high: the ends, for all kinds but `choice` and `grid`.
        choices: the values, for `choice` and `grid`.
        step: the distance of two values of `uniform` or `int`; None: 1 for `int`, any number for
            `uniform`.
        when: the values that other fields must have for this one to be searched; always, if empty.
        otherwise: the field's value where it is not searched; the field's default, if empty.
    """

    kind: RangeKind
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Any, ...] = ()
    step: float | None = None
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    otherwise: tuple[Any, ...] = ()

    @property
    def ends(self) -> tuple[Any, ...]:
        """Both ends, or every choice."""
        if self.kind in ("choice", "grid"):
            return self.choices
        number = int if self.kind in ("int", "log_int") else float
        return number(self.low), number(self.high)

    @property
    def indexed(self) -> bool:
        """Whether its values are numbered, from 0 on: those of a grid, and steps of real ones."""
        return self.kind == "grid" or (self.kind == "uniform" and self.step is not None)

    @property
    def count(self) -> int | None:
        """How many values it has; None if there are as many as floating-point numbers."""
        if self.kind in ("choice", "grid"):
            return len(self.choices)
        if self.kind in ("uniform", "log_uniform") and self.step is None:
            return None
        return int((_exact(self.high) - _exact(self.low)) // _exact(self.step or 1)) + 1

    def value(self, index: int) -> Any:
        """The value of a number, of an `indexed` range."""
        if self.kind == "grid":
            return self.choices[index]
        # In decimals, so that the third step of 0.1 is 0.3.
        return float(_exact(self.low) + index * _exact(self.step or 1))

    def index(self, value: Any) -> int:
        """The number of a value, of an `indexed` range."""
        if self.kind == "grid":
            return self.choices.index(value)
        return round((_exact(value) - _exact(self.low)) / _exact(self.step or 1))

    def holds(self, value: Any) -> bool:
        """Whether a search could choose this value."""
        if self.kind in ("choice", "grid"):
            return is_one_of(value, self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if not self.low <= value <= self.high:
            return False
        if self.kind in ("int", "log_int") and value != int(value):
            return False
        return self.step is None or (_exact(value) - _exact(self.low)) % _exact(self.step) == 0

    def is_searched(self, values: Mapping[str, Any]) -> bool:
        """Whether the field is searched where the method's other fields have these values."""
        return all(is_one_of(values.get(name), allowed) for name, allowed in self.when.items())

    def identity(self) -> dict[str, Any]:
        """What enters a study's key; parts that are not used do not."""
        used = {STEP: self.step, WHEN: dict(self.when), OTHERWISE: self.otherwise}
        return {
            "kind": self.kind,
            "low": self.low,
            "high": self.high,
            "choices": self.choices,
            **{name: value for name, value in used.items() if value not in (None, {}, ())},
        }

    @classmethod
    def of_identity(cls, said: Mapping[str, Any]) -> Range:
        """The range of an `identity` that was stored as JSON.

        Raises:
            KeyError, TypeError: it is none.
        """
        return cls(
            said["kind"],
            said["low"],
            said["high"],
            tuple(said["choices"]),
            said.get(STEP),
            {name: tuple(allowed) for name, allowed in said.get(WHEN, {}).items()},
            tuple(said.get(OTHERWISE, ())),
        )

    def as_mapping(self) -> dict[str, Any]:
        """As a sweep file writes it."""
        written: dict[str, Any] = {self.kind: [_short(end) for end in self.ends]}
        if self.step is not None:
            written[STEP] = _short(self.step)
        if self.when:
            written[WHEN] = {
                name: list(values) if len(values) > 1 else values[0]
                for name, values in self.when.items()
            }
        if self.otherwise:
            written[OTHERWISE] = self.otherwise[0]
        return written


# Of the fields of one method: a range, or the one value that a paper fixes.
Ranges = Mapping[str, Range]
Grid = Mapping[str, Range | float | str | None]


def uniform(low: float, high: float) -> Range:
    """Any number between both ends."""
    return Range("uniform", float(low), float(high))


def log_uniform(low: float, high: float) -> Range:
    """Any number between both ends, each order of magnitude as likely."""
    return Range("log_uniform", float(low), float(high))


def integer(low: int, high: int) -> Range:
    """A whole number, both ends included."""
    return Range("int", low, high)


def choice(*values: Any) -> Range:
    """One of several values, in no order."""
    return Range("choice", choices=values)


def grid(*values: float) -> Range:
    """One of several numbers, in order."""
    return Range("grid", choices=values)


def is_one_of(value: Any, values: Iterable[Any]) -> bool:
    """Membership that tells true from 1."""
    return any(isinstance(one, bool) == isinstance(value, bool) and one == value for one in values)


def _exact(number: float) -> Decimal:
    return Decimal(repr(number))


def _short(value: Any) -> Any:
    """A whole number without a decimal point."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value
