"""Trade-offs: gap, test accuracy and time of all trials of all studies."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING, Any

from unlearn_ray.core.errors import listed
from unlearn_ray.report.drawing import inline
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.records import records
from unlearn_ray.report.theme import INK, legend_below, scale_of, study_colour, study_shape
from unlearn_ray.reporting.ranking import STUDY, VIOLATION
from unlearn_ray.studies.fronts import front
from unlearn_ray.studies.rows import FURTHER_SCORES, State

if TYPE_CHECKING:
    import altair
    import pandas as pd

    from unlearn_ray.report.evidence import SweepEvidence

# What a deployed model would be asked for, the first that was measured.
_ON_TEST = ("test_accuracy", "test_accuracy_remaining", "image_to_text_recall_at_1")
_NAMED = 8
# Of each study; a page with all marks of a large sweep takes a browser minutes.
_MOST_MARKS = 200
_SECONDS = "unlearning_compute_seconds"


def fronts(evidence: SweepEvidence) -> list[Figure]:
    """Complete trials over the tuning seeds, by gap, test accuracy and time, and by objectives."""
    trials = _complete(evidence)
    if trials is None:
        return []
    studies = evidence.studies
    found = []
    gap = "mean_average_gap" if trials["mean_average_gap"].notna().any() else "score"
    words = "Average gap (percentage points)" if gap == "mean_average_gap" else "Objective"
    axes = {gap: words}
    test = next((name for name in _ON_TEST if name in trials and trials[name].notna().any()), None)
    if test is not None:
        header = evidence.comparison.headers.get(test, test) if evidence.comparison else test
        axes[test] = f"Accuracy on test samples, {header} (%)"
    if trials[_SECONDS].notna().any():
        axes[_SECONDS] = "Time of unlearning (compute seconds)"
    said = _non_dominated(trials, [*axes], larger=test)
    drawn = _nearest(trials, gap)
    said += _left_out(trials, drawn)
    for name, column in (("accuracy", test), ("time", _SECONDS)):
        if column in axes and drawn[[gap, column]].notna().all(axis=1).any():
            found.append(
                Figure(
                    name=f"gap-and-{name}",
                    title=f"Gap against {'test accuracy' if name == 'accuracy' else 'time'}",
                    caption=f"Each mark is a complete trial, over its tuning seeds. {said}",
                    chart=_scatter(drawn, studies, (column, axes[column]), (gap, words)),
                )
            )
    return found + of_objectives(trials, studies, evidence)


def _complete(evidence: SweepEvidence) -> pd.DataFrame | None:
    """Complete trials with their accuracy on test samples; None if there is none."""
    rows = evidence.rows
    test = [name for name in _ON_TEST if name in rows]
    tuning = rows[[*STUDY, "trial", *test]][rows["purpose"] == "tuning"]
    if not len(tuning):
        return None
    trials = evidence.trials[evidence.trials["state"] == State.COMPLETE].copy()
    if test:
        measured = tuning.astype(dict.fromkeys(test, float))
        means = measured.groupby([*STUDY, "trial"], as_index=False).mean()
        trials = trials.merge(means, on=[*STUDY, "trial"], how="left")
    return trials if len(trials) else None


def _non_dominated(trials: pd.DataFrame, columns: list[str], larger: str | None) -> str:
    """Mark the trials that no other one beats in all columns, and say which they are."""
    marks = [
        (
            0.0,
            *(
                -value if name == larger else value
                for name, value in zip(columns, each, strict=True)
            ),
        )
        for each in trials[columns].astype(float).itertuples(index=False)
    ]
    members = front(marks)
    chosen = set(members)
    trials["on_front"] = [position in chosen for position in range(len(trials))]
    named = [f"{trials['study'].iloc[i]} #{trials['trial'].iloc[i]}" for i in members]
    several = ", ".join(["gap", *(["accuracy"] if larger else []), "time"][: len(columns)])
    return (
        f"Framed and solid are those that no other trial beats in {several} together, over all"
        f" studies: {listed(named, _NAMED) or 'none'}."
    )


def _nearest(trials: pd.DataFrame, by: str) -> pd.DataFrame:
    """The trials of each study that are drawn: those of smallest value, and those on a front."""
    place = trials.groupby("study")[by].rank(method="first")
    return trials[(place <= _MOST_MARKS) | trials["on_front"]]


def _left_out(trials: pd.DataFrame, drawn: pd.DataFrame) -> str:
    most = trials["study"].value_counts().max()
    if len(trials) == len(drawn) or most <= _MOST_MARKS:
        return ""
    return (
        f" Of {len(trials):,} trials {len(drawn):,} are drawn: the {_MOST_MARKS} best of each"
        " study, and those that are framed."
    )


def of_objectives(
    trials: pd.DataFrame, studies: tuple[str, ...], evidence: SweepEvidence
) -> list[Figure]:
    """The Pareto front of each study by its first two objectives, if it has several."""
    second = FURTHER_SCORES[0]
    if second not in trials or not trials[second].notna().any():
        return []
    trials = trials[trials[second].notna()].copy()
    trials["beyond"] = trials[VIOLATION].fillna(0.0) if VIOLATION in trials else 0.0
    objective = f"{evidence.rows['objective'].iloc[-1]}"
    numbers = ["beyond", "score", *(name for name in FURTHER_SCORES if name in trials)]
    members: set[Any] = set()
    for _, part in trials.groupby("study"):
        marks = [
            tuple(value for value in each if not isnan(value))
            for each in part[numbers].astype(float).itertuples(index=False)
        ]
        members.update(part.index[position] for position in front(marks))
    trials["on_front"] = trials.index.isin(members)
    drawn = _nearest(trials, "score")
    return [
        Figure(
            name="objectives",
            title="Objectives of the search",
            caption=f"Each mark is a complete trial, by the first two objectives of {objective}."
            " Framed and solid are the members of each study's own Pareto front."
            f"{_left_out(trials, drawn)}",
            chart=_scatter(
                drawn, studies, ("score", "First objective"), (second, "Second objective")
            ),
        )
    ]


def _scatter(
    trials: pd.DataFrame, studies: tuple[str, ...], x: tuple[str, str], y: tuple[str, str]
) -> altair.TopLevelMixin:
    import altair as alt

    numbers = trials.dropna(subset=[x[0], y[0]])
    read = ("study", "trial", x[0], y[0], "on_front")
    lines = [
        {
            "study": f"{row['study']}",
            "trial": int(row["trial"]),
            "x": float(f"{row[x[0]]:.5g}"),
            "y": float(f"{row[y[0]]:.5g}"),
            "front": "no other beats it" if row["on_front"] else "another beats it",
        }
        for row in records(numbers[[*dict.fromkeys(read)]])
    ]
    shown = [name for name in studies if any(line["study"] == name for line in lines)]
    x_scale, y_scale = (scale_of(list(numbers[of]), zero=False) for of in (x[0], y[0]))
    on_front = {"test": f"{alt.datum.front == 'no other beats it'}"}
    chart: altair.TopLevelMixin = (
        alt.Chart(inline(lines))
        .mark_point(filled=True)
        .encode(
            x=alt.X("x:Q", title=x[1], scale=x_scale, axis=alt.Axis(tickCount=6)),
            y=alt.Y("y:Q", title=y[1], scale=y_scale),
            color=study_colour(shown, legend=legend_below(shown)),
            shape=study_shape(shown),
            opacity=alt.OpacityValue(0.35, condition={**on_front, "value": 1}),
            size=alt.SizeValue(50, condition={**on_front, "value": 130}),
            stroke=alt.StrokeValue(None, condition={**on_front, "value": INK}),
            tooltip=[
                alt.Tooltip("study:N", title="study"),
                alt.Tooltip("trial:Q", title="trial"),
                alt.Tooltip("x:Q", title=x[1]),
                alt.Tooltip("y:Q", title=y[1]),
                alt.Tooltip("front:N", title="front"),
            ],
        )
        .properties(width="container", height=320)
    )
    return chart
