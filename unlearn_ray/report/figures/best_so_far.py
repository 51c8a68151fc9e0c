"""What each study had found after so many trials, and after so many accelerator hours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unlearn_ray.report.drawing import inline
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.records import records
from unlearn_ray.report.theme import INK, legend_below, scale_of, study_colour, study_dash
from unlearn_ray.reporting.ranking import TRIAL, VIOLATION
from unlearn_ray.studies.rows import FURTHER_SCORES, HOURS, State

if TYPE_CHECKING:
    import altair
    import pandas as pd

    from unlearn_ray.report.evidence import SweepEvidence


_READ = ("study", "trial", "state", "score", "hours", VIOLATION)


def best_so_far(evidence: SweepEvidence) -> list[Figure]:
    """The best score so far of each study, against trials and against accelerator hours."""
    if not (evidence.rows["purpose"] == "tuning").any():
        return []
    trials = _ended(evidence)
    ended = set(trials["study"])
    studies = [name for name in evidence.studies if name in ended]
    lines = {name: _improvements(trials[trials["study"] == name]) for name in studies}
    lines = {name: each for name, each in lines.items() if each}
    if all(len(each) < 2 for each in lines.values()):
        return []  # nothing was searched
    objective = f"{evidence.rows['objective'].iloc[-1]}"
    about = (
        f"Each line is a study: the lowest mean score ({objective}) of its complete trials so far."
    )
    if any(name in trials and trials[name].notna().any() for name in FURTHER_SCORES):
        about += " Of several objectives it is the first."
    return [
        Figure(
            name="best-by-trials",
            title="Best so far against trials",
            caption=f"{about} {_at_equal(lines, 'trials')}",
            chart=_lines(lines, "trials", "Trials that have ended"),
        ),
        Figure(
            name="best-by-hours",
            title="Best so far against accelerator hours",
            caption="The same against what the trials cost, since a study of slow trials spends"
            f" more on as many of them. {_at_equal(lines, 'hours')}",
            chart=_lines(lines, "hours", "Accelerator hours of the study's trials"),
        ),
    ]


def _ended(evidence: SweepEvidence) -> pd.DataFrame:
    """Trials that have ended, in the order of their numbers, with their accelerator hours."""
    hours = [name for name in HOURS if name in evidence.rows]
    rows = evidence.rows[[*TRIAL, *hours]][evidence.rows["purpose"] == "tuning"]
    spent = rows[TRIAL].assign(hours=rows[hours].astype(float).sum(axis=1))
    spent = spent.groupby(TRIAL, as_index=False).sum()
    trials = evidence.trials
    trials = trials[trials["state"] != State.UNFINISHED].merge(spent, on=TRIAL)
    return trials.sort_values(["study", "trial"])


def _improvements(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """The points at which a study's best changed, and the last one."""
    best, hours, found = None, 0.0, []
    read = trials[[name for name in _READ if name in trials]]
    for number, row in enumerate(records(read), 1):
        hours += row["hours"]
        kept = row["state"] == State.COMPLETE and not row.get(VIOLATION, 0.0) > 0
        better = kept and row["score"] == row["score"] and (best is None or row["score"] < best)
        best = row["score"] if better else best
        if better or (number == len(trials) and best is not None):
            point = {"trials": number, "hours": float(f"{hours:.5g}"), "trial": int(row["trial"])}
            found.append({"study": f"{row['study']}", **point, "best": float(f"{best:.5g}")})
    return found


def _at_equal(lines: dict[str, list[dict[str, Any]]], unit: str) -> str:
    """Which study was best at a budget that all have spent."""
    budget = min(each[-1][unit] for each in lines.values())
    reached = {
        name: min((one["best"] for one in each if one[unit] <= budget), default=None)
        for name, each in lines.items()
    }
    known = {name: best for name, best in reached.items() if best is not None}
    if not known:
        return ""
    name = min(known, key=lambda study: known[study])
    what = (
        f"{budget:g} trial{'' if budget == 1 else 's'}" if unit == "trials" else f"{budget:.3g} h"
    )
    return (
        f"At {what}, which all of them have spent (dotted line), {name} is lowest with"
        f" {known[name]:.3g}."
    )


def _lines(lines: dict[str, list[dict[str, Any]]], unit: str, title: str) -> altair.TopLevelMixin:
    import altair as alt

    values = [point for each in lines.values() for point in each]
    studies = list(lines)
    budget = min(each[-1][unit] for each in lines.values())
    scale = scale_of([point["best"] for point in values], zero=False)
    base = alt.Chart(inline(values)).encode(
        x=alt.X(f"{unit}:Q", title=title, axis=alt.Axis(tickMinStep=_step(unit))),
        y=alt.Y("best:Q", title="Best mean score so far", scale=scale),
        color=study_colour(studies, legend=legend_below(studies, symbolType="stroke")),
    )
    line = base.mark_line(interpolate="step-after", strokeWidth=2).encode(
        strokeDash=study_dash(studies)
    )
    points = base.mark_point(filled=True, size=40).encode(
        tooltip=[
            alt.Tooltip("study:N", title="study"),
            alt.Tooltip("trial:Q", title="trial"),
            alt.Tooltip("trials:Q", title="trials so far"),
            alt.Tooltip("hours:Q", title="hours so far"),
            alt.Tooltip("best:Q", title="best score"),
        ]
    )
    rule = (
        alt.Chart(inline([{unit: budget}]))
        .mark_rule(color=INK, strokeDash=[1, 4])
        .encode(x=alt.X(f"{unit}:Q"))
    )
    chart: altair.TopLevelMixin = alt.layer(line, points, rule).properties(
        width="container", height=300
    )
    return chart


def _step(unit: str) -> float:
    return 1.0 if unit == "trials" else 0.0
