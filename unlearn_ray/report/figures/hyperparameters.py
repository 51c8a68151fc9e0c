"""What each search tried: parallel coordinates, and how much each field matters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unlearn_ray.core.keys import canonical
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.theme import BLUE, INK, VERMILION
from unlearn_ray.reporting.ranking import VIOLATION
from unlearn_ray.studies.history import hyperparameters_of
from unlearn_ray.studies.rows import State

if TYPE_CHECKING:
    import altair
    import numpy as np

    from unlearn_ray.report.evidence import SweepEvidence

# How to read the charts of a search.
READING = (
    "Each line is a complete trial: its values of the fields that were searched, and its mean"
    " score, the best at the bottom. The best trial is orange and thick, the best quarter of the"
    " others blue. Fields with numbers of several magnitudes have logarithmic axes."
)
_SCORE = "score"
_FEWEST_TRIALS, _FEWEST_TO_RANK = 3, 5
_MOST_LINES = 200
_RATIO_OF_A_LOG_AXIS = 30
_LONGEST_LABEL = 16
_MOST_LABELS = 9
_STEP = 26
_WORST, _BEST_QUARTER, _WINNER = "others", "best quarter", "best"


@dataclass(frozen=True)
class _Search:
    """The complete trials of one study, the best first.

    Attributes:
        fields: the values of each searched field, one per trial.
        scores: of the trials.
        numbers: of the trials.
    """

    study: str
    fields: Mapping[str, list[Any]]
    scores: list[float]
    numbers: list[int]


def parallel_coordinates(evidence: SweepEvidence) -> list[Figure]:
    """A chart for each study that searched: a line per trial through its values and its score."""
    return [
        Figure(
            name=f"search-{number}",
            title=f"What the search of {search.study} tried",
            caption=f"{len(search.scores)} complete trials; the best is {_named(search)}.",
            chart=_coordinates(search),
        )
        for number, search in enumerate(searches(evidence), 1)
    ]


def importances(evidence: SweepEvidence) -> list[Figure]:
    """How closely each searched field goes with the score, by rank."""
    cells = [
        {"study": search.study, "field": field, **ranked}
        for search in searches(evidence)
        for field, values in search.fields.items()
        if (ranked := _rank(values, search.scores))
    ]
    if not cells:
        return []
    strongest = max(cells, key=lambda cell: cell["strength"])
    return [
        Figure(
            name="importances",
            title="How much each field matters",
            caption="Spearman's rank correlation of each searched field with the score, over a"
            " study's complete trials: from -1 (larger values are better, since scores are"
            " minimised) over 0 to 1. Of choices the correlation ratio of the ranks, 0 to 1. It"
            " sees each field alone, without interactions, and a search that has settled on good"
            f" values leaves little to see. The strongest: {strongest['field']} of"
            f" {strongest['study']} ({strongest['label']}, {strongest['n']} trials).",
            chart=_heat(cells),
        )
    ]


def searches(evidence: SweepEvidence) -> list[_Search]:
    """The searches of a sweep that varied a field in several complete trials."""
    if not (evidence.rows["purpose"] == "tuning").any():
        return []
    trials = evidence.trials
    trials = trials[(trials["state"] == State.COMPLETE) & trials["score"].notna()]
    beyond = trials[VIOLATION].fillna(0.0) if VIOLATION in trials else 0.0
    trials = trials.assign(beyond=beyond)
    found = []
    for study in evidence.studies:
        own = trials[trials["study"] == study].sort_values(["beyond", "score", "trial"])
        rows = [{str(name): value for name, value in row.items()} for row in own.to_dict("records")]
        points = [hyperparameters_of(row) for row in rows]
        names = sorted({name for point in points for name in point})
        fields = {name: [_plain(point.get(name)) for point in points] for name in names}
        varied = {name: each for name, each in fields.items() if len(set(map(str, each))) > 1}
        if varied and len(rows) >= _FEWEST_TRIALS:
            scores = [float(row["score"]) for row in rows]
            found.append(_Search(study, varied, scores, [int(row["trial"]) for row in rows]))
    return found


def _plain(value: Any) -> Any:
    """Numbers as they are, all else as text."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and math.isfinite(value):
        return value
    return value if isinstance(value, str) else canonical(value)


def _is_numeric(values: Sequence[Any]) -> bool:
    return all(not isinstance(value, str) for value in values)


def _named(search: _Search) -> str:
    best = ", ".join(f"{name} = {_short(values[0])}" for name, values in search.fields.items())
    return f"trial {search.numbers[0]}, score {search.scores[0]:.3g}, {best}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else f"{value:.4g}"
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"


def _heights(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Each value's place on its axis, from 0 to 1, and the axis's labels with theirs."""
    if not _is_numeric(values):
        # A field that some trials lack has numbers, and then a word.
        choices = sorted(set(values), key=lambda one: (isinstance(one, str), one))
        places = {one: place / max(1, len(choices) - 1) for place, one in enumerate(choices)}
        shown = choices if len(choices) <= _MOST_LABELS else [choices[0], choices[-1]]
        return [places[one] for one in values], [(places[one], _short(one)) for one in shown]
    low, high = min(values), max(values)
    logarithmic = low > 0 and high / low >= _RATIO_OF_A_LOG_AXIS
    scaled = [math.log(value) if logarithmic else float(value) for value in values]
    begin, span = min(scaled), (max(scaled) - min(scaled)) or 1.0
    return [(each - begin) / span for each in scaled], [(0.0, _short(low)), (1.0, _short(high))]


def _coordinates(search: _Search) -> altair.TopLevelMixin:
    import altair as alt

    lines, ticks = [], []
    quarter = max(1, len(search.scores) // 4)
    kept = min(len(search.scores), _MOST_LINES)
    for field, values in {**search.fields, _SCORE: search.scores}.items():
        heights, labels = _heights(values)
        ticks += [
            {"field": field, "at": round(at, 4), "label": _short(text)} for at, text in labels
        ]
        for place in range(kept):
            group = _WINNER if not place else _BEST_QUARTER if place <= quarter else _WORST
            point = {"trial": search.numbers[place], "field": field, "group": group}
            lines.append({**point, "at": round(heights[place], 4), "value": _short(values[place])})
    groups = [_WORST, _BEST_QUARTER, _WINNER]
    x = alt.X(
        "field:N", title=None, sort=[*search.fields, _SCORE],
        axis=alt.Axis(labelAngle=0, orient="top", grid=True, gridOpacity=0.5, domain=False,
                      ticks=False, labelFontWeight="bold", labelOverlap=False, labelLimit=110),
        scale=alt.Scale(type="point", padding=0.4),
    )  # fmt: skip
    y = alt.Y("at:Q", axis=None, scale=alt.Scale(domain=[-0.08, 1.08]))
    colours = alt.Scale(domain=groups, range=[INK, BLUE, VERMILION])
    line = (
        alt.Chart(alt.InlineData(values=lines))
        .mark_line()
        .encode(
            x=x,
            y=y,
            detail="trial:N",
            color=alt.Color("group:O", scale=colours, legend=None, sort=groups),
            opacity=alt.condition(alt.datum.group == _WORST, alt.value(0.2), alt.value(0.9)),
            strokeWidth=alt.condition(alt.datum.group == _WINNER, alt.value(3.5), alt.value(1.3)),
        )
    )
    text = (
        alt.Chart(alt.InlineData(values=ticks))
        .mark_text(align="left", dx=5, color=INK, fontSize=11)
        .encode(x=x, y=y, text="label:N")
    )
    chart: altair.TopLevelMixin = alt.layer(line, text).properties(width="container", height=200)
    return chart


def _rank(values: Sequence[Any], scores: Sequence[float]) -> dict[str, Any] | None:
    """Strength (0 to 1), label and trials of a cell; None if there are too few for one."""
    from scipy import stats

    numeric = [not isinstance(value, str) for value in values]
    if any(numeric):  # of the trials that have the field
        values = [value for value, kept in zip(values, numeric, strict=True) if kept]
        scores = [score for score, kept in zip(scores, numeric, strict=True) if kept]
    count, choices = len(values), len(set(values))
    if count < _FEWEST_TO_RANK or choices < 2:
        return None
    ranks = stats.rankdata(scores)
    if any(numeric):
        varies = len(set(scores)) > 1
        found = float(stats.spearmanr(values, ranks).statistic) if varies else 0.0
        return {"strength": round(abs(found), 3), "label": f"{found:+.2f}", "n": count}
    if 2 * choices > count:
        return None  # nearly each trial its own choice: that would be 1 whatever the scores
    ratio = _correlation_ratio(values, ranks)
    return {"strength": round(ratio, 3), "label": f"{ratio:.2f}", "n": count}


def _correlation_ratio(values: Sequence[Any], ranks: np.ndarray) -> float:
    """Square root of the share of the ranks' variance that lies between the choices."""
    total = float(((ranks - ranks.mean()) ** 2).sum())
    between = 0.0
    for choice in set(values):
        own = ranks[[value == choice for value in values]]
        between += len(own) * float(own.mean() - ranks.mean()) ** 2
    return math.sqrt(between / total) if total > 0 else 0.0


def _heat(cells: list[dict[str, Any]]) -> altair.TopLevelMixin:
    import altair as alt

    base = alt.Chart(alt.InlineData(values=cells)).encode(
        x=alt.X("field:N", title=None, axis=alt.Axis(labelAngle=-35, orient="bottom")),
        y=alt.Y("study:N", title=None, sort=None),
        tooltip=[
            alt.Tooltip("study:N", title="study"),
            alt.Tooltip("field:N", title="field"),
            alt.Tooltip("label:N", title="rank correlation"),
            alt.Tooltip("n:Q", title="trials"),
        ],
    )
    tiles = base.mark_rect(color=BLUE, stroke=INK, strokeOpacity=0.2).encode(
        opacity=alt.Opacity(
            "strength:Q", scale=alt.Scale(domain=[0, 1], range=[0.02, 0.6]), legend=None
        )
    )
    labels = base.mark_text(color=INK, fontSize=12).encode(text="label:N")
    chart: altair.TopLevelMixin = alt.layer(tiles, labels).properties(
        width="container", height=_STEP * len({cell["study"] for cell in cells})
    )
    return chart
