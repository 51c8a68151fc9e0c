"""What figures of models share: their lines, numbers and panels."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Self

from unlearn_ray.report.theme import BLUE, GREEN, VERMILION

if TYPE_CHECKING:
    import altair

# Models, in the order of legends: letter in a chart's data, name, colour, dashes.
MODELS: Mapping[str, tuple[str, str, Sequence[int]]] = {
    "o": ("original", BLUE, (6, 2)),
    "r": ("retrained", GREEN, (1, 2)),
    "u": ("unlearned", VERMILION, (1, 0)),
}
# From few to many, also in black and white (ColorBrewer's YlGnBu).
SEQUENCE = ("#ffffd9", "#c7e9b4", "#7fcdbb", "#1d91c0", "#253494", "#081d58")
# Vega's names of scales from one colour over white to another.
DIVERGING: Final = "blueorange"
OTHER_DIVERGING: Final = "purplegreen"
MOST_PANELS_IN_A_ROW = 6
_DIGITS = 3


def inline(rows: list[dict[str, Any]]) -> altair.InlineData:
    """A chart's data, inside it. Altair copies charts many times: these rows are not copied."""
    return _by_reference()(values=rows)


@cache
def _by_reference() -> type[altair.InlineData]:
    import altair as alt

    class ByReference(alt.InlineData):
        """Data that nobody changes: its copy is itself."""

        def __deepcopy__(self, _: object = None) -> Self:
            return self

    return ByReference


def short(value: float, digits: int = _DIGITS) -> float | None:
    """A number with a few significant digits, for a chart's data; None where there is none.

    >>> short(0.123456), short(1234.5), short(float("nan"))
    (0.123, 1230, None)
    """
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() else rounded


def percent(share: float) -> str:
    """A share in words.

    >>> percent(0.0123), percent(0.5)
    ('1.2 %', '50 %')
    """
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.3g} %"


def line_scales(letters: Sequence[str]) -> dict[str, Any]:
    """The encodings of lines of models, in a field `m` that holds their letters.

    Args:
        letters: those that are drawn.
    """
    import altair as alt

    names, colours, dashes = zip(*(MODELS[letter] for letter in letters), strict=True)
    label = f"{json.dumps(dict(zip(letters, names, strict=True)))}[datum.value]"
    legend = alt.Legend(
        title=None, orient="top", labelExpr=label, symbolType="stroke", symbolSize=300
    )
    domain, dashed = list(letters), [list(each) for each in dashes]
    return {
        "color": alt.Color(
            "m:N", scale=alt.Scale(domain=domain, range=list(colours)), legend=legend
        ),
        "strokeDash": alt.StrokeDash(
            "m:N", scale=alt.Scale(domain=domain, range=dashed), legend=legend
        ),
    }


def by_study(names: Iterable[str]) -> dict[str, Any]:
    """The facets of a chart with a panel for each study, its field `s`, in this order."""
    import altair as alt

    return {
        "facet": alt.Facet("s:N", sort=list(names), header=panel_header()),
        "columns": min(MOST_PANELS_IN_A_ROW, 5),
        "spacing": 12,
    }


def panel_header() -> Any:
    """The header of a panel that is named after a study: names may be long."""
    import altair as alt

    return alt.Header(title=None, labelLimit=180, labelFontWeight="bold")


def row_header() -> Any:
    """The same of a row of panels."""
    import altair as alt

    return alt.Header(title=None, labelLimit=170, labelAngle=0, labelAlign="left")
