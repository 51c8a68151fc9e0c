"""How figures look: on white, on black and on paper, to all eyes.

Text and rules have the page's own colour (`INK`), which a page in the dark turns white and a saved
SVG leaves black. Marks have colours that people with any colour vision tell apart (after Okabe and
Ito, 2008, but none that vanishes on white or on black), and never colour alone: studies differ in
shape and dash, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair

INK = "currentColor"
BLUE, VERMILION, GREEN, PINK, MUSTARD, GREY = PALETTE = (
    "#2a7fc1", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#7a7a7a",
)  # fmt: skip
# Cycles of lengths without a common divisor with the palette's, so that no two of 42 studies that
# are drawn as points, or of 30 drawn as lines, look alike.
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
DASHES = ((1, 0), (6, 3), (2, 2), (9, 3, 2, 3), (1, 4))
_LONGEST_BESIDE_ANOTHER = 26
_RATIO_OF_A_LOG_AXIS = 20

# Of every chart on a page, unless the chart says otherwise.
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": INK, "strokeOpacity": 0.2},
    "title": {"color": INK, "subtitleColor": INK, "fontSize": 13},
    "style": {"guide-label": {"fill": INK}, "guide-title": {"fill": INK}},
    "axis": {
        "domainColor": INK,
        "domainOpacity": 0.4,
        "gridColor": INK,
        "gridOpacity": 0.12,
        "labelFontSize": 12,
        "labelLimit": 190,
        "tickColor": INK,
        "tickOpacity": 0.4,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 12},
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "labelLimit": 260, "symbolOpacity": 1},
    "range": {"category": list(PALETTE)},
}


def cycled(pattern: Sequence[Any], count: int) -> list[Any]:
    """The first `count` of a pattern repeated for ever."""
    return [pattern[number % len(pattern)] for number in range(count)]


def study_colour(studies: Sequence[str], **options: Any) -> altair.Color:
    """The colour of each study, the same in all figures of a page."""
    import altair as alt

    scale = alt.Scale(domain=list(studies), range=cycled(PALETTE, len(studies)))
    return alt.Color("study:N", scale=scale, title=None, **options)


def study_shape(studies: Sequence[str]) -> altair.Shape:
    """The shape of each study's points."""
    import altair as alt

    scale = alt.Scale(domain=list(studies), range=cycled(SHAPES, len(studies)))
    return alt.Shape("study:N", scale=scale, title=None)


def study_dash(studies: Sequence[str]) -> altair.StrokeDash:
    """The dash of each study's line."""
    import altair as alt

    scale = alt.Scale(domain=list(studies), range=cycled(DASHES, len(studies)))
    return alt.StrokeDash("study:N", scale=scale, title=None)


def legend_below(studies: Sequence[str], **options: Any) -> altair.Legend:
    """A legend of studies under the chart, in columns that fit a narrow screen."""
    import altair as alt

    widest = max(map(len, studies), default=0)
    columns = 2 if widest < _LONGEST_BESIDE_ANOTHER else 1
    return alt.Legend(orient="bottom", columns=columns, title=None, **options)


def scale_of(values: Sequence[float], *, zero: bool = True) -> altair.Scale:
    """A scale that shows all values apart: logarithmic if they are of several magnitudes.

    Args:
        values: at least one.
        zero: whether a linear scale begins at 0.
    """
    import altair as alt

    low, high = min(values), max(values)
    if low > 0 and high / low > _RATIO_OF_A_LOG_AXIS:
        return alt.Scale(type="log", nice=False, padding=10)
    return alt.Scale(zero=zero)
