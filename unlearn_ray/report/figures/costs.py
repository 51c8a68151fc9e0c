"""What the sweep cost: accelerator hours by kind of step, and of each study's trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearn_ray.report.drawing import inline
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.theme import BLUE, VERMILION
from unlearn_ray.studies.rows import HOURS

if TYPE_CHECKING:
    import altair

    from unlearn_ray.report.evidence import SweepEvidence

_UNLEARN, _MEASURE = "unlearn", "observe and measure"
_DIGITS = 5
_STEP = 22


def costs(evidence: SweepEvidence) -> list[Figure]:
    """Hours of reference steps by kind and of trials; then the trials' by study."""
    hours = evidence.hours
    found = []
    if any(hours.values()):
        lines = [{"kind": kind, "hours": _rounded(each)} for kind, each in hours.items() if each]
        most = max(hours, key=lambda kind: hours[kind])
        found.append(
            Figure(
                name="cost-by-kind",
                title="Accelerator hours by kind of step",
                caption=f"This sweep has spent {sum(hours.values()):.3g} accelerator hours, most of"
                f" them ({hours[most]:.3g}) on {most}. What another sweep had already computed"
                " cost nothing here. The hours of unlearn and measure are those of trials; all"
                " other kinds are steps of the reference models.",
                chart=_bars(lines, "kind", None),
            )
        )
    of_studies = _by_study(evidence)
    if any(line["hours"] for line in of_studies):
        found.append(
            Figure(
                name="cost-by-study",
                title="Accelerator hours of each study",
                caption="What the trials and reporting runs of each study have spent on unlearning,"
                " and on observing and measuring what they made.",
                chart=_bars(of_studies, "study", "what"),
            )
        )
    return found


def _by_study(evidence: SweepEvidence) -> list[dict[str, Any]]:
    rows = evidence.rows
    read = ["study", *(name for name in HOURS if name in rows)]
    trials = rows[read][rows["purpose"].isin(("tuning", "reporting"))]
    return [
        {"study": study, "what": what, "hours": _rounded(float(own[column].astype(float).sum()))}
        for study in evidence.studies
        if len(own := trials[trials["study"] == study])
        for what, column in zip((_UNLEARN, _MEASURE), HOURS, strict=True)
        if column in own
    ]


def _rounded(hours: float) -> float:
    return float(f"{hours:.{_DIGITS}g}")


def _bars(lines: list[dict[str, Any]], by: str, colour: str | None) -> altair.TopLevelMixin:
    import altair as alt

    chart = alt.Chart(inline(lines)).mark_bar(color=BLUE).encode(
        x=alt.X("hours:Q", title="Accelerator hours", axis=alt.Axis(tickCount=6)),
        y=alt.Y(f"{by}:N", title=None, sort="-x"),
        tooltip=[
            alt.Tooltip(f"{by}:N", title=by),
            *([alt.Tooltip(f"{colour}:N", title="for")] if colour else []),
            alt.Tooltip("hours:Q", title="hours"),
        ],
    )  # fmt: skip
    if colour:
        scale = alt.Scale(domain=[_UNLEARN, _MEASURE], range=[BLUE, VERMILION])
        legend = alt.Legend(orient="bottom", title=None)
        chart = chart.encode(color=alt.Color(f"{colour}:N", scale=scale, legend=legend))
    finished: altair.TopLevelMixin = chart.properties(
        width="container", height=_STEP * len({line[by] for line in lines})
    )
    return finished
