"""`Shown`: what `results show` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Shown:
    """Facts, tables below them, and a text.

    Attributes:
        facts: by name, in the order to print.
        below: tables, by what a line of each is.
        text: a traceback; empty if there is none.
    """

    facts: Mapping[str, Any]
    below: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    text: str = ""

    @property
    def tables(self) -> tuple[pd.DataFrame, ...]:
        """The facts as a table, and the tables below them."""
        return (_of_facts(self.facts), *self.below.values())

    def whole(self) -> pd.DataFrame:
        """All facts as one table of names and values, for programs."""
        facts = dict(self.facts)
        for what, frame in self.below.items():
            for number, row in enumerate(frame.to_dict("records")):
                facts |= {f"{what} {number}.{name}": value for name, value in row.items()}
        return _of_facts({**facts, **({"traceback": self.text} if self.text else {})})


def _of_facts(facts: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    texts = [
        [name, value if isinstance(value, str) else _text(value)] for name, value in facts.items()
    ]
    return pd.DataFrame(texts, columns=["field", "value"])


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value}"
