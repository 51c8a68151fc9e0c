"""Alignment matrices of a few forgotten samples: before, after, and the gap between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from unlearn_ray.report.drawing import DIVERGING, OTHER_DIVERGING, inline, row_header, short
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.observed import Arrays, left_out

if TYPE_CHECKING:
    from unlearn_ray.report.evidence import SweepEvidence

# Samples that are shown, the first: more cells could not be told apart.
SHOWN = 8
_CELL = 12


@dataclass(frozen=True)
class _Kind:
    """Where a metric leaves its matrices, and what they are of.

    Attributes:
        metric: its name.
        prefix: of its arrays' names.
        name, title: of the figure.
        cosine: what a cell is, of sample i and sample j.
    """

    metric: str
    prefix: str
    name: str
    title: str
    cosine: str


_VIEWS = "of one view of sample i (down) and another view of sample j (across)"
_PAIRS = "of image i (down) and the caption of image j (across)"
_KINDS = (
    _Kind("alignment_matrices", "", "alignment-matrices", "forgotten images", _VIEWS),
    *(
        _Kind(
            "pair_alignment_matrices",
            f"{part}_",
            f"pair-alignment-matrices-{part}",
            f"pairs of the {part} set",
            _PAIRS,
        )
        for part in ("forget", "retain", "validation", "test")
    ),
)


def alignment_matrices(evidence: SweepEvidence) -> list[Figure]:
    """One row of three matrices for each study's winner, of each metric that left some."""
    return [figure for kind in _KINDS if (figure := _figure(kind, evidence)) is not None]


def _figure(kind: _Kind, evidence: SweepEvidence) -> Figure | None:
    observed = evidence.observations
    found = {name: observed.measured_arrays(name, kind.metric) for name in observed.studies}
    names = {each: f"{kind.prefix}{each}" for each in ("am_before", "am_after", "agm")}
    matrices = {
        name: {each: np.asarray(each_run[1][of]) for each, of in names.items()}
        for name, each in found.items()
        for each_run in each.values[:1]
        if set(names.values()) <= each_run[1].keys()
    }
    if not matrices:
        return None
    gaps = ", ".join(f"{name} {np.diag(of['agm']).mean():.2f}" for name, of in matrices.items())
    return Figure(
        name=kind.name,
        title=f"Alignment before and after unlearning: {kind.title}",
        caption=(
            f"A cell is the cosine {kind.cosine}: what belongs together is on the diagonal. The "
            "gap is before less after; where it is positive, unlearning has undone alignment. Its "
            f"mean on the diagonal: {gaps}. Seed {observed.seed}, "
            f"the first {_size(matrices)} samples."
            + left_out({name: each.missing for name, each in found.items()}, observed.more)
        ),
        chart=_chart(matrices),
    )


def _size(matrices: Mapping[str, Arrays]) -> int:
    return min(SHOWN, max(len(of["agm"]) for of in matrices.values()))


def _rows(study: str, of: Arrays) -> list[dict[str, Any]]:
    first: dict[str, Float64[np.ndarray, "n n"]] = {k: v[:SHOWN, :SHOWN] for k, v in of.items()}
    return [
        {
            "s": study,
            "i": row + 1,
            "j": column + 1,
            "b": short(float(first["am_before"][row, column]), 2),
            "a": short(float(first["am_after"][row, column]), 2),
            "g": short(float(first["agm"][row, column]), 2),
        }
        for row, column in np.ndindex(first["agm"].shape)
    ]


def _chart(matrices: Mapping[str, Arrays]) -> Any:
    import altair as alt

    rows = [row for name, of in matrices.items() for row in _rows(name, of)]
    values = [abs(row["g"]) for row in rows if row["g"] is not None]
    widest = max([*values, 0.01])
    cosine = alt.Scale(scheme=DIVERGING, domain=[-1, 1], domainMid=0)
    gap = alt.Scale(scheme=OTHER_DIVERGING, domain=[-widest, widest], domainMid=0)
    base = alt.Chart(inline(rows))
    which = alt.Header(title=None, labelExpr="datum.value == 'b' ? 'before' : 'after'")
    both = _cells(base.transform_fold(["b", "a"], as_=["w", "v"]), "v:Q", "cosine", cosine).facet(
        row=_studies(matrices, shown=True),
        column=alt.Column("w:N", sort=["b", "a"], header=which),
        spacing=10,
    )
    gaps = _cells(base.transform_calculate(w="'gap'"), "g:Q", "gap", gap).facet(
        row=_studies(matrices, shown=False),
        column=alt.Column("w:N", header=alt.Header(title=None)),
        spacing=10,
    )
    return alt.hconcat(both, gaps, spacing=10).resolve_scale(color="independent")


def _cells(chart: Any, value: str, title: str, scale: Any) -> Any:
    import altair as alt

    axis = alt.Axis(title=None, labels=False, ticks=False, domain=False, grid=False)
    return (
        chart.mark_rect()
        .encode(
            x=alt.X("j:O", axis=axis),
            y=alt.Y("i:O", axis=axis),
            color=alt.Color(value, title=title, scale=scale),
            tooltip=[
                alt.Tooltip("i:O", title="sample i"),
                alt.Tooltip("j:O", title="sample j"),
                alt.Tooltip(value, title=title),
            ],
        )
        .properties(width=alt.Step(_CELL), height=alt.Step(_CELL))
    )


def _studies(matrices: Mapping[str, Arrays], *, shown: bool) -> Any:
    import altair as alt

    header = row_header() if shown else alt.Header(title=None, labels=False)
    names: Sequence[str] = list(matrices)
    return alt.Row("s:N", sort=names, header=header)
