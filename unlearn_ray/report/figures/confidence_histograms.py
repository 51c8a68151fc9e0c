"""Histograms of the confidence in the true class: before, after, and of retrained models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.report.drawing import inline, line_scales, row_header, short
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.observed import Found, Outputs, left_out

if TYPE_CHECKING:
    from unlearn_ray.quantities.base import SetName
    from unlearn_ray.report.evidence import SweepEvidence

BINS = 24
_SETS: tuple[SetName, ...] = ("forget", "test", "retain")
# Of what the reference models say: outliers of a single sample would squeeze all else.
_SHOWN = (0.5, 99.5)
_CAPTION = (
    "Confidence is log p - log(1 - p) of the true class, in nats; 0 is as likely as not. Each "
    "curve is a histogram of one set's samples in percent; the first and the last bin also hold "
    "what lies beyond. An unlearned model should lie on the retrained one, on every set: on the "
    "forget set, left of it means that it knows less than one that never saw the samples."
)


def confidence_histograms(evidence: SweepEvidence) -> list[Figure]:
    """One row of panels for each study's winner, a panel for each set."""
    observed = evidence.observations
    found = {name: observed.outputs(name) for name in (ORIGINAL, RETRAIN, *observed.studies)}
    missing = {name: each.missing for name, each in found.items()}
    studies = [name for name in observed.studies if found[name].values]
    if not studies:
        return []
    references = {"o": found[ORIGINAL], "r": found[RETRAIN]}
    kept = {letter: each for letter, each in references.items() if each.values}
    edges = bin_edges([*kept.values()] or [found[name] for name in studies])
    rows = [
        row
        for name in studies
        for part in _SETS
        for row in _rows(name, part, {**kept, "u": found[name]}, edges)
    ]
    runs = max(len(found[name].values) for name in studies)
    of_runs = f" Samples of {runs} replicates are counted together." if runs > 1 else ""
    return [
        Figure(
            name="confidence-histograms",
            title="Confidence before, after, and of retrained models",
            caption=f"{_CAPTION} Seed {observed.seed}.{of_runs}{left_out(missing, observed.more)}",
            chart=_chart(rows, [*kept, "u"], studies),
        )
    ]


def bin_edges(models: Sequence[Found[Outputs]]) -> Float64[np.ndarray, " bins_and_one"]:
    """Edges of equal bins that hold nearly all samples of some models, and a quarter more."""
    ranges = [
        np.percentile(np.concatenate([one.confidence[part] for one in model.values]), _SHOWN)
        for model in models
        for part in _SETS
        if sum(len(one.confidence[part]) for one in model.values)
    ]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    margin = max(high - low, 1.0) / 8
    return np.linspace(low - margin, high + margin, BINS + 1)


def shares(
    values: Float64[np.ndarray, " n"], edges: Float64[np.ndarray, " bins_and_one"]
) -> Float64[np.ndarray, " bins"]:
    """Percent of the values in each bin; those beyond the edges are in the outermost ones."""
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return np.asarray(100 * np.bincount(places, minlength=len(edges) - 1) / max(len(values), 1))


def _rows(
    study: str, part: SetName, models: Mapping[str, Found[Outputs]], edges: np.ndarray
) -> list[dict[str, Any]]:
    counted = {
        letter: shares(np.concatenate([one.confidence[part] for one in each.values]), edges)
        for letter, each in models.items()
    }
    return [
        {
            "s": study,
            "p": part,
            "x": short((edges[bin_] + edges[bin_ + 1]) / 2),
            **{letter: short(values[bin_]) for letter, values in counted.items()},
        }
        for bin_ in range(len(edges) - 1)
    ]


def _chart(rows: list[dict[str, Any]], letters: Sequence[str], studies: Sequence[str]) -> Any:
    import altair as alt

    return (
        alt.Chart(inline(rows))
        .transform_fold(list(letters), as_=["m", "y"])
        .mark_line(interpolate="step", strokeWidth=1.5)
        .encode(
            x=alt.X("x:Q", title="confidence, nats", axis=alt.Axis(tickCount=5)),
            y=alt.Y("y:Q", title="%", axis=alt.Axis(tickCount=2)),
            tooltip=[
                alt.Tooltip("x:Q", title="confidence"),
                alt.Tooltip("y:Q", title="samples, %"),
            ],
            **line_scales(letters),
        )
        .properties(width=210, height=55)
        .facet(
            row=alt.Row("s:N", sort=list(studies), header=row_header()),
            column=alt.Column("p:N", sort=list(_SETS), header=alt.Header(title=None)),
            spacing=8,
        )
        .resolve_scale(y="independent")
    )
