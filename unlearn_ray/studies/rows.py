"""The rows of a result table: one per trial and seed, and one per reference model and seed.

`core.columns` declares their columns.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from unlearn_ray.core.columns import MOST_CONSTRAINTS, MOST_OBJECTIVES
from unlearn_ray.core.gaps import (
    average_gap,
    average_gap_percentage,
    counted_columns,
    gaps,
    tug_of_war,
)
from unlearn_ray.core.keys import canonical, plain
from unlearn_ray.core.schema import field_values
from unlearn_ray.evidence.floors import gap_over_floor

if TYPE_CHECKING:  # they need PyTorch, which reading rows does not
    from unlearn_ray.methods.base import Method
    from unlearn_ray.metrics.base import Metric
    from unlearn_ray.objectives.base import Objective
    from unlearn_ray.steps.setting import Setting
    from unlearn_ray.train.compute import Machine

Scalar = str | int | float | bool | None
Purpose = Literal["tuning", "reporting", "reference", "score"]


class State(StrEnum):
    """The state of a trial; a row holds the state after its seed."""

    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"
    UNFINISHED = "unfinished"


# Where the names of reference models' rows begin.
REFERENCES = "references"
# Columns of accelerator hours.
HOURS = ("accelerator_hours_unlearn", "accelerator_hours_measure")
# Scores by the second objective and further ones.
FURTHER_SCORES = tuple(f"score_{number}" for number in range(2, MOST_OBJECTIVES + 1))
# What a row is beyond each constraint.
EXCESSES = tuple(f"constraint_{number}" for number in range(1, MOST_CONSTRAINTS + 1))
# Separates the machines in `made_on`.
MADE_ON_SEPARATOR = "; "


@dataclass(frozen=True)
class Keys:
    """Keys of the steps behind a row; None where there was no such step.

    Attributes:
        measured: keys of the `measure` steps, by column.
    """

    unlearn: str | None = None
    original: str | None = None
    retrained: str | None = None
    measured: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Seconds:
    """The time that a row's steps took.

    Attributes:
        unlearning: MUC's RTE, without measuring and I/O, in compute seconds: CPU time on CPUs,
            device time on GPUs, summed over workers. Wall time would depend on what else ran.
        retraining: compute seconds, likewise.
        evaluation: wall time.
    """

    unlearning: float | None = None
    retraining: float | None = None
    evaluation: float | None = None


@dataclass(frozen=True)
class Hours:
    """Accelerator hours of the steps that were run for a row; 0 for steps reused from other rows.

    Their sum over the rows of a sweep is the cost of its trials; None in reference rows, whose
    cost is in the steps' records.
    """

    unlearn: float | None = None
    measure: float | None = None

    @property
    def total(self) -> float:
        """The sum of both."""
        return (self.unlearn or 0.0) + (self.measure or 0.0)


@dataclass(frozen=True)
class Replicates:
    """What several retrained models of each tuning seed say.

    Attributes:
        of_seed: the values of those of the row's seed, by column.
        floor: the noise floor of each column over all tuning seeds.
    """

    of_seed: Sequence[Mapping[str, float]]
    floor: Mapping[str, float]


@dataclass(frozen=True)
class Origin:
    """Where and when a row was made.

    Attributes:
        machine: what the model was unlearned on; None if the worker was lost.
        made_on: the machines of every step behind the row.
        versions: those of the libraries that its numbers depend on, by name.
        created: ISO 8601, UTC.
    """

    machine: Machine | None
    made_on: frozenset[Machine]
    host: str
    versions: Mapping[str, str]
    created: str


@dataclass(frozen=True)
class Subject:
    """What a row is about.

    Attributes:
        sweep: its name.
        study_key: the study's key; "" in a reference row.
        study: its name; `RETRAIN` or `ORIGINAL` in a reference row.
        trial: its number; -1 in a reference row.
        point: the hash of its searched fields; "" in a reference row.
        hyperparameters: the method with the trial's values; None for a reference.
    """

    sweep: str
    study_key: str
    purpose: Purpose
    study: str
    trial: int
    seed: int
    replicate: int = 0
    point: str = ""
    hyperparameters: Method | None = None


def row(
    subject: Subject,
    setting: Setting,
    metrics: Collection[Metric],
    objective: Objective,
    *,
    state: State,
    failure: str | None = None,
    values: Mapping[str, float] | None = None,
    reference: Mapping[str, float] | None = None,
    original: Mapping[str, float] | None = None,
    replicates: Replicates | None = None,
    seconds: Seconds,
    hours: Hours,
    keys: Keys,
    origin: Origin,
) -> dict[str, Scalar]:
    """One row.

    Args:
        subject: what it is about.
        setting: the sweep's.
        metrics: those that the row holds.
        objective: the sweep's.
        state: how the trial ended.
        failure: why it failed; None otherwise.
        values: the measured values, by column; None if there are none.
        reference: those of the retrained model of this run; None if it failed, or there is none.
        original: those of the original, if the objective compares with it.
        replicates: what further retrained models say; None without any.
        seconds: the time that the steps took.
        hours: their accelerator hours.
        keys: the steps' keys.
        origin: where and when they ran.

    Raises:
        UnlearnRayError: the reference lacks one of the values.
    """
    from unlearn_ray.config.fields import label

    method, machine = subject.hyperparameters, origin.machine
    result: dict[str, Scalar] = {
        "sweep": subject.sweep,
        "study_key": subject.study_key,
        "purpose": subject.purpose,
        "study": subject.study,
        "method": None if method is None else method.name,
        "trial": subject.trial,
        "point": subject.point,
        "state": str(state),
        "failure": failure,
        "seed": subject.seed,
        "replicate": subject.replicate,
        "dataset": label(setting.dataset),
        "forget_set": label(setting.forget_set),
        "family": label(setting.family),
        "model": _model(setting),
        **_hyperparameters(method),
        "objective": objective.title,
        **_scores(objective, {}),
        **_measured(metrics, values, reference, original, replicates),
        "unlearning_compute_seconds": seconds.unlearning,
        "retraining_compute_seconds": seconds.retraining,
        "evaluation_seconds": seconds.evaluation,
        **dict(zip(HOURS, (hours.unlearn, hours.measure), strict=True)),
        "device": machine.device if machine else "unknown",
        "threads": machine.threads if machine else None,
        "kernels": machine.kernels if machine else None,
        "made_on": MADE_ON_SEPARATOR.join(sorted(map(str, origin.made_on))) or None,
        "host": origin.host,
    }
    result |= {f"version_{name}": version for name, version in origin.versions.items()}
    result |= {
        "key_unlearn": keys.unlearn,
        "key_original": keys.original,
        "key_retrained": keys.retrained,
        **keys.measured,
    }
    result["created"] = origin.created
    return {**result, **_scores(objective, {} if state == State.FAILED else result)}


def _scores(objective: Objective, result: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The score by each objective, and what is beyond each constraint; null without a result."""
    names = ("score", *FURTHER_SCORES)[: len(objective.each())]
    beyond = EXCESSES[: len(objective.constraints_of())]
    if not result:
        return dict.fromkeys((*names, *beyond))
    excesses = objective.excesses(result)
    # What is no number keeps no bound.
    known = [math.inf if each is not None and math.isnan(each) else each for each in excesses]
    return {
        **dict(zip(names, objective.scores(result), strict=True)),
        **dict(zip(beyond, known, strict=True)),
    }


def _model(setting: Setting) -> str:
    from unlearn_ray.config.fields import label

    name = label(setting.model)
    if setting.original is not None:
        name += ", brought"
    return name if setting.sparsity is None else f"{name}, {setting.sparsity}"


def _hyperparameters(method: Method | None) -> dict[str, Scalar]:
    if method is None:
        return {"hyperparameters": None}
    fields: dict[str, Scalar] = {"hyperparameters": canonical(field_values(method))}
    for name, value in field_values(method).items():
        simple = value is None or isinstance(value, str | int | float | bool)
        fields[f"hp_{name}"] = value if simple else canonical(plain(value))
    return fields


def _measured(
    metrics: Collection[Metric],
    values: Mapping[str, float] | None,
    reference: Mapping[str, float] | None,
    original: Mapping[str, float] | None,
    replicates: Replicates | None,
) -> dict[str, Scalar]:
    columns = [column for metric in metrics for column in metric.columns]
    counted = counted_columns(metrics)
    gap = gaps(values, reference) if values is not None and reference is not None else None
    result: dict[str, Scalar] = {}
    for column in columns:
        result[column] = None if values is None else values[column]
        result[f"{column}_retrained"] = None if reference is None else reference[column]
        result[f"{column}_gap"] = None if gap is None else gap[column]
        if original is not None:
            result[f"{column}_original"] = original[column]
        if replicates is not None and values is not None:
            floor, retrained = replicates.floor[column], [v[column] for v in replicates.of_seed]
            result[f"{column}_floor"] = floor
            result[f"{column}_excess"] = gap_over_floor(values[column], retrained, floor)
    result["average_gap"] = None if gap is None or not counted else average_gap(gap, counted)
    result["average_gap_percentage"] = (
        None
        if gap is None or reference is None or not counted
        else average_gap_percentage(gap, reference, counted)
    )
    excesses = [value for name in counted if (value := result.get(f"{name}_excess")) is not None]
    result["average_excess"] = fmean(map(float, excesses)) if excesses else None
    result["tug_of_war"] = None if gap is None else tug_of_war(gap)
    return result
