"""Rows as a sweep writes them, of numbers that a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from unlearn_ray.core.registry import find
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.families.base import Family
from unlearn_ray.methods.base import Method
from unlearn_ray.metrics.base import Metric
from unlearn_ray.models.base import Model
from unlearn_ray.objectives.average_gap import AverageGap
from unlearn_ray.steps.setting import Setting
from unlearn_ray.studies.rows import (
    Hours,
    Keys,
    Origin,
    Purpose,
    Scalar,
    Seconds,
    State,
    Subject,
    row,
)
from unlearn_ray.studies.study import point_key
from unlearn_ray.train.compute import Machine

SETTING = Setting(
    dataset=find(Dataset, "digits")(),
    forget_set=find(ForgetSet, "random")(fraction=0.1),
    model=find(Model, "resnet8")(width=8),
    family=find(Family, "simclr")(),
)
METRICS = (
    find(Metric, "retain_accuracy")(),
    find(Metric, "test_accuracy")(),
    find(Metric, "forgetting_score")(),
)
MACHINE = Machine("cpu: a model", 1, "AVX2")
SPREAD = {"forgetting_score_std": 0.1}
# Of the retrained model, by seed.
RETRAINED = {
    0: {"retain_accuracy": 90.0, "test_accuracy": 80.0, "forgetting_score": 0.25, **SPREAD},
    1: {"retain_accuracy": 92.0, "test_accuracy": 82.0, "forgetting_score": 0.35, **SPREAD},
    2: {"retain_accuracy": 90.0, "test_accuracy": 80.0, "forgetting_score": 0.25, **SPREAD},
    3: {"retain_accuracy": 92.0, "test_accuracy": 84.0, "forgetting_score": 0.35, **SPREAD},
}


def one_row(
    study: str,
    seed: int,
    retain: float | None,
    test: float | None = None,
    *,
    purpose: Purpose = "reporting",
    trial: int = 0,
    state: State = State.COMPLETE,
    failure: str | None = None,
    key: str = "s1",
    sweep: str = "small",
    created: str = "2026-01-01T00:00:00Z",
    seconds: float = 1.5,
    hours: float = 0.25,
    forget: float | None = None,
    machine: Machine = MACHINE,
    replicate: int = 0,
    accuracies: tuple[float, float] | None = None,
    **hyperparameters: Any,
) -> dict[str, Scalar]:
    """One row; the forgetting score is 0.3, and without `retain` nothing was measured.

    With `forget` the forget accuracy was measured, too; the retrained model's is 80. `accuracies`
    are the retrained model's retain and test accuracy, in place of the seed's.
    """
    values: Mapping[str, float] | None = None
    if retain is not None:
        assert test is not None
        values = {
            "retain_accuracy": retain,
            "test_accuracy": test,
            "forgetting_score": 0.3,
            **SPREAD,
        }
    retrained: Mapping[str, float] = RETRAINED[seed]
    if accuracies is not None:
        of_retain, of_test = accuracies
        retrained = {**retrained, "retain_accuracy": of_retain, "test_accuracy": of_test}
    metrics: tuple[Metric, ...] = METRICS
    if values is not None and forget is not None:
        metrics = (*METRICS, find(Metric, "forget_accuracy")())
        values = {**values, "forget_accuracy": forget}
        retrained = {**retrained, "forget_accuracy": 80.0}
    reference = study in ("retrain", "original")
    of_replicate = f"-{replicate}" if replicate else ""
    subject = Subject(
        sweep=sweep,
        study_key="" if reference else f"{study}-{key}",
        purpose="reference" if reference else purpose,
        study=study,
        trial=-1 if reference else trial,
        point="" if reference else point_key(hyperparameters),
        seed=seed,
        replicate=replicate,
        hyperparameters=None if reference else find(Method, study)(**hyperparameters),
    )
    return row(
        subject,
        SETTING,
        metrics,
        AverageGap(),
        state=state,
        failure=failure,
        values=values,
        reference=retrained,
        seconds=Seconds(unlearning=None if reference else seconds, retraining=30.0),
        hours=Hours() if reference else Hours(hours, hours / 2),
        keys=Keys(
            original=f"original{seed}{of_replicate}", retrained=f"retrained{seed}{of_replicate}"
        ),
        origin=Origin(machine, frozenset({machine}), "here", {"torch": "2.9"}, created),
    )


def small_sweep() -> list[dict[str, Scalar]]:
    """Two methods, two tuning and two reporting seeds, three trials each."""
    rows = []
    for seed in (0, 1):
        kept = RETRAINED[seed]["retain_accuracy"], RETRAINED[seed]["test_accuracy"]
        for trial, away in enumerate((4.0, 1.0, 2.0)):
            for method in ("finetune", "neggrad"):
                point: dict[str, Any] = {"trial": trial, "learning_rate": 0.01 * (trial + 1)}
                if trial == 2 and seed == 1:
                    continue  # stopped after its first seed
                state: State = State.STOPPED if trial == 2 else State.COMPLETE
                shifted = kept[0] - away, kept[1] + away
                rows.append(one_row(method, seed, *shifted, purpose="tuning", state=state, **point))
    best: dict[str, Any] = {"trial": 1, "learning_rate": 0.02}
    rows += [
        one_row("finetune", 2, 91.0, 79.0, **best),
        one_row("finetune", 3, 91.0, 81.0, seconds=2.5, **best),
        one_row("neggrad", 2, 90.5, 80.0, **best),
        one_row("neggrad", 3, 92.0, 83.5, **best),
        one_row("original", 2, 94.0, 84.0),
        one_row("original", 3, 94.0, 84.0),
        one_row("retrain", 2, 90.0, 80.0),
    ]
    return rows


def replicated_sweep(
    replicates: int, away: Mapping[str, float], seeds: Sequence[int] = (2, 3)
) -> list[dict[str, Scalar]]:
    """Reporting rows of several replicates, whose accuracies have a standard deviation of 1.

    Args:
        replicates: of each seed.
        away: how far the mean accuracies of each method, and of `original`, are from those of the
            retrained models.
        seeds: of the splits, whose accuracies differ by 5.
    """
    generator = np.random.default_rng(0)
    rows = []
    for seed in seeds:
        for replicate in range(replicates):

            def drawn(shift: float, level: float = 5.0 * seed) -> tuple[float, float]:
                retain, test = generator.normal((80 + level - shift, 60 + level - shift), 1)
                return float(retain), float(test)

            retrained = drawn(0)
            of_run: dict[str, Any] = {"replicate": replicate, "accuracies": retrained}
            rows.append(one_row("retrain", seed, *retrained, **of_run))
            rows += [one_row(name, seed, *drawn(shift), **of_run) for name, shift in away.items()]
    return rows


def frame(rows: list[dict[str, Scalar]]) -> pd.DataFrame:
    return pd.DataFrame(rows)
