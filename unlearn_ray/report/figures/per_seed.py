"""Every run of every winner against the noise floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.evidence.verdicts import mean_gap
from unlearn_ray.report.drawing import inline
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.records import records
from unlearn_ray.report.theme import INK, PALETTE, VERMILION, scale_of
from unlearn_ray.reporting.evidence import models
from unlearn_ray.reporting.table import Comparison

if TYPE_CHECKING:
    import altair
    import pandas as pd

    from unlearn_ray.report.evidence import SweepEvidence

_RUN = ("seed", "replicate")
_STEP = 20
_COLUMNS, _WIDTH = 3, 255
_MOST_METRICS = 10
_LEAST_SHOWN = 0.05


def per_seed(evidence: SweepEvidence) -> list[Figure]:
    """A dot for each run: its gap in noise floors, then each metric's."""
    comparison = evidence.comparison
    if comparison is None:
        return []
    found = evidence.models
    shown = {name: part for name, part in found.items() if name != RETRAIN and len(part)}
    if not shown:
        return []
    figures = []
    if comparison.evidence is not None:
        figures.append(_in_floors(shown, found[RETRAIN], comparison))
    elif comparison.compares and any(part["average_gap"].notna().any() for part in shown.values()):
        figures.append(_average_gaps(shown))
    return [*figures, *_metrics(shown, comparison)]


def _in_floors(
    shown: Mapping[str, pd.DataFrame], retrained: pd.DataFrame, comparison: Comparison
) -> Figure:
    counted = comparison.counted
    references = models(retrained, counted)
    lines = [
        _line(name, seed, replicate, max(_LEAST_SHOWN, gap))
        for name, part in shown.items()
        for seed, values in models(part, counted).items()
        for replicate in range(len(values))
        if (gap := mean_gap({seed: values[replicate : replicate + 1]}, references)) == gap
    ]
    nearest = min(lines, key=lambda line: line["value"])["study"] if lines else "none"
    return Figure(
        name="gap-over-floor",
        title="How far each model is from retraining, in noise floors",
        caption="Each dot is one model of a reporting seed: its mean distance from the retrained"
        " models of its split, each metric's over its noise floor. The dashed line, 1, is where"
        " one more retrained model would lie on average; models left of it may differ from"
        " retrained ones all the same, which the verdict's test decides. Bars are means. The"
        f" nearest model is by {nearest}.",
        chart=_dots(lines, "Mean gap / noise floor", rule=1.0),
    )


def _average_gaps(shown: Mapping[str, pd.DataFrame]) -> Figure:
    lines = [
        _line(name, row["seed"], row["replicate"], float(row["average_gap"]))
        for name, part in shown.items()
        for row in records(part[[*_RUN, "average_gap"]])
        if row["average_gap"] == row["average_gap"] and row["average_gap"] is not None
    ]
    return Figure(
        name="average-gap",
        title="Average gap of each run",
        caption="Each dot is one run of a reporting seed: the mean over metrics of its distance"
        " from the model retrained with the same seed. Bars are means. There is no noise floor to"
        " hold them against, since no split has two retrained models: set seeds.replicates.",
        chart=_dots(lines, "Average gap (percentage points)"),
    )


def _metrics(shown: Mapping[str, pd.DataFrame], comparison: Comparison) -> list[Figure]:
    """Of each metric its gap, or without retrained models its value."""
    columns = [name for name in comparison.headers if name not in comparison.stored_only]
    columns = columns[:_MOST_METRICS]
    known = comparison.evidence
    floors = {} if known is None else {name: known.floors[name].mean for name in columns}
    ending = "_gap" if comparison.compares else ""
    read = [*_RUN, *(f"{name}{ending}" for name in columns)]
    rows = {study: records(part.reindex(columns=read)) for study, part in shown.items()}
    lines = [
        {**_line(study, row["seed"], row["replicate"], float(value)), "metric": name}
        for name in columns
        for study, of_study in rows.items()
        for row in of_study
        if (value := row[f"{name}{ending}"]) is not None and value == value
    ]
    if not lines:
        return []
    what = "distance from the retrained model of the same run" if ending else "value"
    floor = " The dashed line is the metric's noise floor, the mean distance of two retrained"
    return [
        Figure(
            name="metrics-of-each-run",
            title="Each metric of each run",
            caption=f"Each dot is one run of a reporting seed: the metric's {what}, in the"
            " metric's own unit (percentage points for accuracies and attacks)."
            + (f"{floor} models." if floors else ""),
            chart=_grid(lines, columns, comparison, floors),
        )
    ]


def _grid(
    lines: list[dict[str, Any]],
    columns: list[str],
    comparison: Comparison,
    floors: Mapping[str, float],
) -> altair.TopLevelMixin:
    import altair as alt

    # In the order of the table, doing nothing last.
    known = {line["study"] for line in lines}
    names = sorted(
        (line.study for line in comparison.lines if line.study in known), key=ORIGINAL.__eq__
    )
    parts: list[altair.LayerChart | altair.FacetChart] = []
    for name in columns:
        own = [line for line in lines if line["metric"] == name]
        if own:
            drawn = _dots(
                own, "", rule=floors.get(name), zero=bool(floors), logarithmic=False,
                names=names, named=len(parts) % _COLUMNS == 0,
            )  # fmt: skip
            parts.append(drawn.properties(title=comparison.headers[name], width=_WIDTH))
    chart: altair.TopLevelMixin = alt.concat(*parts, columns=_COLUMNS)
    return chart


def _line(study: str, seed: Any, replicate: Any, value: float) -> dict[str, Any]:
    run = {"seed": f"{int(seed)}", "replicate": int(replicate)}
    return {"study": study, **run, "value": float(f"{value:.5g}")}


def _dots(
    lines: list[dict[str, Any]],
    title: str,
    *,
    rule: float | None = None,
    zero: bool = True,
    logarithmic: bool = True,
    names: Sequence[str] = (),
    named: bool = True,
) -> altair.LayerChart | altair.FacetChart:
    """Dots by study, in the order of `names`: else nearest to 0 first, doing nothing last."""
    import altair as alt

    values = [line["value"] for line in lines] + ([rule] if rule else [])
    scale = scale_of(values) if logarithmic else alt.Scale(zero=zero)
    axis = alt.Axis(labelOverlap="greedy", tickCount=6)
    x = alt.X("value:Q", title=title, scale=scale, axis=axis)
    names = names or _by_mean(lines)
    axis_of_names = alt.Axis() if named else None
    y = alt.Y("study:N", title=None, scale=alt.Scale(domain=names), axis=axis_of_names)
    base = alt.Chart(inline(lines))
    seeds = sorted({line["seed"] for line in lines}, key=int)
    colour: Any = alt.ColorValue(PALETTE[0])
    if 1 < len(seeds) <= len(PALETTE):
        of_seeds = alt.Scale(domain=seeds, range=list(PALETTE[: len(seeds)]))
        legend = alt.Legend(orient="bottom", title="Seed of the split")
        colour = alt.Color("seed:N", scale=of_seeds, legend=legend)
    tooltip = [
        alt.Tooltip("study:N", title="study"),
        alt.Tooltip("seed:N", title="seed"),
        alt.Tooltip("replicate:Q", title="replicate"),
        alt.Tooltip("value:Q", title="value", format=".4~g"),
    ]
    dots = base.mark_circle(size=45, opacity=0.65).encode(x=x, y=y, color=colour, tooltip=tooltip)
    means = base.mark_tick(color=INK, thickness=2, size=14).encode(x=alt.X("mean(value):Q"), y=y)
    layers = [dots, means]
    if rule is not None:
        floor = alt.Chart(inline([{"value": rule}]))
        layers.append(
            floor.mark_rule(color=VERMILION, strokeDash=[5, 3], strokeWidth=2).encode(
                x=alt.X("value:Q")
            )
        )
    chart: altair.LayerChart | altair.FacetChart = alt.layer(*layers).properties(
        width="container", height=_STEP * len(names)
    )
    return chart


def _by_mean(lines: list[dict[str, Any]]) -> list[str]:
    by_study: dict[str, list[float]] = {}
    for line in lines:
        by_study.setdefault(line["study"], []).append(line["value"])
    means = {name: sum(each) / len(each) for name, each in by_study.items()}
    return sorted(means, key=lambda name: (name == ORIGINAL, means[name], name))
