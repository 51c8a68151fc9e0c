"""Loss curves: of training the original and the retrained model, and of unlearning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.report.drawing import by_study, inline, short
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.observed import left_out
from unlearn_ray.report.theme import DASHES, PALETTE, cycled

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_ray.report.evidence import SweepEvidence

# Points of a line, at most.
POINTS = 60
_READING = (
    "Each point is the mean loss over a range of iterations, of the first replicate of the first "
    "reporting seed; a method's loss is its own, so curves of two methods do not compare."
)


def loss_curves(evidence: SweepEvidence) -> list[Figure]:
    """A figure of training, and one of unlearning with a panel for each study's winner."""
    observed = evidence.observations
    keys = {ORIGINAL: "key_original", RETRAIN: "key_retrained"}
    keys |= dict.fromkeys(observed.studies, "key_unlearn")
    found = {name: observed.curves(name, column) for name, column in keys.items()}
    curves = {name: each.values[0] for name, each in found.items() if each.values}
    rest = left_out({name: each.missing for name, each in found.items()}, observed.more)
    kinds = {
        "training": ("Training the references", (ORIGINAL, RETRAIN)),
        "unlearning": ("Unlearning", observed.studies),
    }
    return [
        Figure(
            name=f"loss-{name}",
            title=f"{title}: loss by iteration",
            caption=f"{_READING}{rest}",
            chart=_chart(shown),
        )
        for name, (title, models) in kinds.items()
        if (shown := {model: curves[model] for model in models if model in curves})
    ]


def thinned(curves: pd.DataFrame) -> list[dict[str, Any]]:
    """The points of each line: means over as many neighbours as leave at most `POINTS`.

    Args:
        curves: as of `storage.curves`.
    """
    points: list[dict[str, Any]] = []
    for _, line in curves.groupby(["phase", "player"]):
        phase, player = (int(line[name].iloc[0]) for name in ("phase", "player"))
        group = -(-len(line) // POINTS)
        for start in range(0, len(line), group):
            part = line[start : start + group]
            name = f"phase {phase + 1}, player {player + 1}"
            loss = short(float(part["loss"].mean()))
            points.append({"g": name, "x": int(part["iteration"].iloc[-1]), "y": loss})
    return points


def _chart(curves: Mapping[str, pd.DataFrame]) -> Any:
    import altair as alt

    rows = [{"s": name, **point} for name, of in curves.items() for point in thinned(of)]
    lines = list(dict.fromkeys(row["g"] for row in rows))
    legend = alt.Legend(title=None, orient="top") if len(lines) > 1 else None
    colours, dashes = cycled(PALETTE, len(lines)), cycled(DASHES, len(lines))
    chart = (
        alt.Chart(inline(rows))
        .mark_line(strokeWidth=1.5, point={"size": 10})
        .encode(
            x=alt.X("x:Q", title="iteration", axis=alt.Axis(tickCount=3)),
            y=alt.Y("y:Q", title="loss", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=3)),
            color=alt.Color("g:N", scale=alt.Scale(domain=lines, range=colours), legend=legend),
            strokeDash=alt.StrokeDash(
                "g:N",
                scale=alt.Scale(domain=lines, range=[list(of) for of in dashes]),
                legend=legend,
            ),
            tooltip=[alt.Tooltip("x:Q", title="iteration"), alt.Tooltip("y:Q", title="loss")],
        )
    )
    return (
        chart.properties(width=140, height=90)
        .facet(**by_study(curves))
        .resolve_scale(x="independent", y="independent")
    )
