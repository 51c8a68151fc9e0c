"""CKA of each block: with retrained models, before and after, and among retrained models."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from unlearn_ray.core.runs import RETRAIN
from unlearn_ray.evidence.cka import linear_cka
from unlearn_ray.report.drawing import inline, line_scales, row_header, short
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.observed import Arrays, left_out

if TYPE_CHECKING:
    from unlearn_ray.quantities.base import SetName
    from unlearn_ray.report.evidence import SweepEvidence

_SETS: tuple[SetName, ...] = ("forget", "retain", "test")
# Retrained models that the floor is taken from: their features are large.
_COMPARED = 2
_METRIC, _QUANTITY = "cka", "block_features"
Blocks = Float64[np.ndarray, " blocks"]


def block_cka(evidence: SweepEvidence) -> list[Figure]:
    """One row of panels for each study's winner, a panel for each set."""
    observed = evidence.observations
    found = {name: observed.measured_arrays(name, _METRIC) for name in observed.studies}
    studies = {name: [of for _, of in each.values] for name, each in found.items() if each.values}
    if not studies:
        return []
    retrained = observed.observed_arrays(RETRAIN, _QUANTITY, _COMPARED)
    missing = {name: each.missing for name, each in found.items()}
    floor = floor_of([of for _, of in retrained.values])
    said = (
        f"Dotted: of {len(retrained.values)} retrained models with each other. These begin from "
        "other weights, but the models of one replicate from the same."
        if floor
        else "How retrained models align with each other is not shown: it takes the stored "
        "features of two of them."
    )
    rows = [row for name, of in studies.items() for row in _rows(name, of, floor)]
    letters = ["o", *(["r"] if floor else []), "u"]
    return [
        Figure(
            name="block-cka",
            title="Alignment of each block with the retrained model's",
            caption=(
                "Linear CKA of a block's features with those of the retrained model's block, by "
                "depth: 1 if they are equal up to rotation and scale. Dashed: of the original; "
                f"solid: of the unlearned model. {said} Seed {observed.seed}, mean over replicates."
                + left_out({RETRAIN: retrained.missing, **missing}, observed.more)
            ),
            chart=_chart(rows, letters, list(studies)),
        )
    ]


def floor_of(features: Sequence[Arrays]) -> Mapping[SetName, Blocks]:
    """Mean CKA of each block over all pairs of models, by set; empty without a pair.

    Args:
        features: of each model, by set, depth and block, as in `forget/000/block`.
    """
    pairs = list(itertools.combinations(features, 2))
    if not pairs:
        return {}
    return {
        part: np.mean([_aligned(part, one, other) for one, other in pairs], axis=0)
        for part in _SETS
    }


def _aligned(part: SetName, one: Arrays, other: Arrays) -> list[float]:
    names = sorted(name for name in one if name.startswith(f"{part}/") and name in other)
    return [linear_cka(one[name], other[name]) for name in names]


def _rows(
    study: str, runs: Sequence[Arrays], floor: Mapping[SetName, Blocks]
) -> list[dict[str, Any]]:
    rows = []
    for part in _SETS:
        after, before = (
            np.mean([of[f"{part}_{kind}"] for of in runs], axis=0)
            for kind in ("retrained", "reference")
        )
        for depth, (own, of_original) in enumerate(zip(after, before, strict=True)):
            row = {"s": study, "p": part, "d": depth + 1}
            row |= {"o": short(of_original), "u": short(own)}
            if depth < len(floor.get(part, ())):
                row["r"] = short(floor[part][depth])
            rows.append(row)
    return rows


def _chart(rows: list[dict[str, Any]], letters: Sequence[str], studies: Sequence[str]) -> Any:
    import altair as alt

    return (
        alt.Chart(inline(rows))
        .transform_fold(list(letters), as_=["m", "y"])
        .transform_filter("isValid(datum.y)")
        .mark_line(point={"size": 16}, strokeWidth=1.5)
        .encode(
            x=alt.X("d:O", title="block", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("y:Q", title="CKA", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=3)),
            tooltip=[alt.Tooltip("d:O", title="block"), alt.Tooltip("y:Q", title="CKA")],
            **line_scales(letters),
        )
        .properties(width=200, height=80)
        .facet(
            row=alt.Row("s:N", sort=list(studies), header=row_header()),
            column=alt.Column("p:N", sort=list(_SETS), header=alt.Header(title=None)),
            spacing=8,
        )
    )
