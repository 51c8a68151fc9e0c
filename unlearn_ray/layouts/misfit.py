"""The error that a checkpoint does not fit a model, with a table of names and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearn_ray.core.errors import ConfigError, shown
from unlearn_ray.core.printable import printable

# Rows that are printed.
_MOST = 20
_REMEDY = (
    "set model, family and the dataset's classes and image size to those of the checkpoint, or "
    "name its layout"
)

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Misfit:
    """One tensor that does not fit.

    Attributes:
        name: in the checkpoint's layout.
        found: its shape there; None: it is missing.
        wanted: the model's; None: the model has no such weight.
    """

    name: str
    found: Shape | None
    wanted: Shape | None


class WeightsMisfit(ConfigError):
    """Tensors of a checkpoint that do not fit; its text is followed by a table."""

    def __init__(self, subject: str, misfits: Sequence[Misfit], remedy: str = _REMEDY) -> None:
        missing = sum(each.found is None for each in misfits)
        unknown = sum(each.wanted is None for each in misfits)
        counts = {
            "missing": missing, "unknown": unknown, "of another shape or type":
            len(misfits) - missing - unknown,
        }  # fmt: skip
        reason = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        super().__init__(subject, f"tensors do not fit the model: {reason}", remedy)
        self.args = (subject, tuple(misfits), remedy)
        self.misfits = tuple(misfits)

    def at(self, subject: str) -> WeightsMisfit:
        """The same error, about something that is named."""
        return WeightsMisfit(f"{subject}: {self.subject}", self.misfits, self.remedy)

    def __str__(self) -> str:
        rows = [
            (printable(shown(each.name)), _shape(each.found), _shape(each.wanted))
            for each in self.misfits[:_MOST]
        ]
        rows.insert(0, ("tensor", "checkpoint", "model"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        more = len(self.misfits) - _MOST
        if more > 0:
            lines.append(f"  and {more:,} more")
        return "\n".join([super().__str__(), *(line.rstrip() for line in lines)])


def _shape(shape: Shape | None) -> str:
    if shape is None:
        return "-"
    return "x".join(map(str, shape)) or "scalar"
