"""Which classes models predict for the samples of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64, Int64

from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.report.drawing import SEQUENCE, by_study, inline, short
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.observed import Outputs, left_out

if TYPE_CHECKING:
    from unlearn_ray.quantities.base import SetName
    from unlearn_ray.report.evidence import SweepEvidence

# Classes with a row and a column of their own; more could not be read.
MOST_CLASSES = 10
_CELL = 13
# Of the longest label of a class.
_PIXELS = 70
_SETS: Mapping[SetName, str] = {"forget": "the forget set", "test": "the test set"}


@dataclass(frozen=True)
class Classes:
    """The classes of a figure.

    Attributes:
        shown: their labels, in ascending order.
        names: of these.
        others: how many are not shown.
    """

    shown: Int64[np.ndarray, " classes"]
    names: tuple[str, ...]
    others: int


def class_predictions(evidence: SweepEvidence) -> list[Figure]:
    """One figure for the forget set, one for the test set, each with a panel for each model."""
    observed = evidence.observations
    found = {name: observed.outputs(name) for name in (ORIGINAL, RETRAIN, *observed.studies)}
    models = {name: each.values for name, each in found.items() if each.values}
    if not any(name in models for name in observed.studies):
        return []
    rest = left_out({name: each.missing for name, each in found.items()}, observed.more)
    classes = chosen_classes([one for of in models.values() for one in of], observed.class_names)
    return [
        _figure(part, models, classes, f"Seed {observed.seed}.{rest}")
        for part in _SETS
        if any(len(one.labels[part]) for of in models.values() for one in of)
    ]


def chosen_classes(models: Sequence[Outputs], names: Sequence[str]) -> Classes:
    """The classes to show: all if they are few.

    Else those of most forgotten samples, and then those that are predicted for these most often.

    Args:
        models: all models of the figure.
        names: of all classes; their labels if empty.
    """
    count = models[0].probabilities.shape[1]
    labels, predicted = (
        np.bincount(np.concatenate(each), minlength=count)
        for each in (
            [one.labels["forget"] for one in models],
            [one.predicted["forget"] for one in models],
        )
    )
    order = sorted(range(count), key=lambda of: (-labels[of], -predicted[of], of))
    shown = np.array(sorted(order[:MOST_CLASSES]))
    called = tuple(names[of] if of < len(names) else str(of) for of in shown)
    return Classes(shown, called, count - len(shown))


def shares(
    models: Sequence[Outputs], part: SetName, shown: Int64[np.ndarray, " classes"]
) -> Float64[np.ndarray, "classes classes_and_rest"]:
    """Percent of each shown class's samples that are predicted as each, and as any other one.

    A class without samples has NaN.
    """
    counts = np.zeros((len(shown), len(shown) + 1))
    for one in models:
        rows, columns = (_places(of[part], shown) for of in (one.labels, one.predicted))
        kept = rows < len(shown)
        np.add.at(counts, (rows[kept], columns[kept]), 1)
    samples = counts.sum(axis=1, keepdims=True)
    none = np.full_like(counts, np.nan)
    return np.asarray(np.divide(100 * counts, samples, out=none, where=samples > 0))


def _places(
    labels: Int64[np.ndarray, " n"], shown: Int64[np.ndarray, " classes"]
) -> Int64[np.ndarray, " n"]:
    """The place of each label among the shown ones; their number for any other one."""
    places = np.searchsorted(shown, labels)
    known = places < len(shown)
    known[known] = shown[places[known]] == labels[known]
    return np.asarray(np.where(known, places, len(shown)))


def _figure(
    part: SetName, models: Mapping[str, Sequence[Outputs]], classes: Classes, rest: str
) -> Figure:
    others = (
        f" Of {classes.others + len(classes.shown)} classes, those with most forgotten samples or "
        "most predictions for these are shown."
        if classes.others
        else ""
    )
    found = {name: shares(of, part, classes.shown) for name, of in models.items()}
    right = ", ".join(f"{name} {_right(models[name], part):.1f} %" for name in models)
    return Figure(
        name=f"class-predictions-{part}",
        title=f"Predictions by class on {_SETS[part]}",
        caption=(
            f"A row is a true class, a column a predicted one; a cell is the share of the row's "
            f"samples, all replicates together. An unlearned model should err as a retrained one "
            f"does. Right: {right}.{others} {rest}"
        ),
        chart=_chart(found, classes),
    )


def _right(models: Sequence[Outputs], part: SetName) -> float:
    right = np.concatenate([one.predicted[part] == one.labels[part] for one in models])
    return 100 * float(right.mean())


def _chart(found: Mapping[str, np.ndarray], classes: Classes) -> Any:
    import altair as alt

    columns = [*classes.names, "other"] if classes.others else [*classes.names]
    # Labels may repeat among classes, so cells are numbered.
    rows = [
        {"s": name, "t": true, "p": predicted, "v": value}
        for name, matrix in found.items()
        for true, predicted in np.argwhere(matrix[:, : len(columns)] >= 0.5).tolist()
        if (value := short(matrix[true, predicted])) is not None
    ]
    known = [place for place, row in enumerate(next(iter(found.values()))) if not np.isnan(row[0])]
    named = f"{_literal(columns)}[datum.value]"
    labels: dict[str, Any] = {
        "labelExpr": named,
        "labelLimit": _PIXELS,
        "ticks": False,
        "domain": False,
    }
    size = alt.Step(_CELL)
    cells = (
        alt.Chart(inline(rows))
        .mark_rect()
        .encode(
            x=alt.X(
                "p:O",
                title="predicted",
                scale=alt.Scale(domain=[*range(len(columns))]),
                axis=alt.Axis(**labels, labelAngle=-90, grid=False),
            ),
            y=alt.Y(
                "t:O",
                title="true",
                scale=alt.Scale(domain=known),
                axis=alt.Axis(**labels, grid=False),
            ),
            color=alt.Color(
                "v:Q", title="%", scale=alt.Scale(domain=[0, 100], range=list(SEQUENCE))
            ),
            tooltip=[alt.Tooltip("v:Q", title="samples, %")],
        )
        .properties(width=size, height=size, view=alt.ViewBackground(fill=SEQUENCE[0]))
    )
    return cells.facet(**by_study(found))


def _literal(names: Sequence[str]) -> str:
    """Names as an array in Vega's expression language, which they cannot break out of."""
    import json

    return json.dumps(list(names))
