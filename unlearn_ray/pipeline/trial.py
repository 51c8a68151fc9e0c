"""One trial under one seed: unlearn, evaluate, and write its row."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from unlearn_ray.core.errors import TrialError
from unlearn_ray.core.keys import content_key
from unlearn_ray.methods.base import Method
from unlearn_ray.pipeline.once import Account, Uploaded, ensure, run_here, versions
from unlearn_ray.pipeline.rows import (
    ORIGINAL,
    RETRAIN,
    Hours,
    Keys,
    Origin,
    Purpose,
    Scalar,
    Seconds,
    Subject,
    row,
)
from unlearn_ray.pipeline.runtime import Runtime
from unlearn_ray.pipeline.setting import Setting
from unlearn_ray.pipeline.steps import Evaluate, Pretrain, Retrain, Step, Unlearn
from unlearn_ray.pipeline.study import reference_row_name, row_name, study_key
from unlearn_ray.pipeline.sweep_schema import Resources, Study, Sweep
from unlearn_ray.storage.store import Record


@dataclass(frozen=True)
class TrialSeed:
    """One trial under one seed.

    Attributes:
        sweep: its name.
        study: the study's key.
        name: the study's name.
        number: of the trial.
        resources: that it runs on.
    """

    sweep: str
    study: str
    name: str
    number: int
    setting: Setting
    method: Method
    seed: int
    purpose: Purpose
    resources: Resources

    @classmethod
    def of(
        cls,
        sweep: Sweep,
        study: Study,
        number: int,
        point: dict[str, Any],
        seed: int,
        purpose: Purpose,
    ) -> TrialSeed:
        """A trial of one of a sweep's studies, whose searched fields are `point`."""
        return cls(
            sweep=sweep.name,
            study=study_key(sweep, study),
            name=study.name,
            number=number,
            setting=sweep.setting,
            method=study.at(point),
            seed=seed,
            purpose=purpose,
            resources=sweep.resources.trial,
        )

    @property
    def row_name(self) -> str:
        """The name of its row."""
        return row_name(self.study, self.sweep, self.purpose, self.number, self.seed)

    @property
    def account(self) -> Account:
        """What its steps' time is counted for."""
        of_study = "" if self.name == self.method.name else f" of {self.name}"
        trial = f"trial {self.number}{of_study}"
        return Account(self.sweep, self.resources.accelerators, self.row_name, trial)

    @property
    def subject(self) -> Subject:
        """What its row is about."""
        return Subject(
            sweep=self.sweep,
            study=self.study,
            purpose=self.purpose,
            method=self.name,
            trial=self.number,
            seed=self.seed,
            hyperparameters=self.method,
        )


@dataclass(frozen=True)
class Scored:
    """How a trial did under one seed.

    Attributes:
        average_gap: to the retrained model; None if the trial failed.
        failure: why it failed.
        accelerator_hours: of the steps that were run for its row, now or earlier.
        row: as written.
    """

    average_gap: float | None
    failure: str | None
    accelerator_hours: float
    row: dict[str, Scalar]


def score(
    trial: TrialSeed, runtime: Runtime, execute_training: Callable[[Step], Uploaded] | None = None
) -> Scored:
    """Run what is not in the store yet, and write the row.

    Args:
        trial: what to run; both reference models of its seed are in the store.
        runtime: of this process.
        execute_training: how unlearning is run; in this process if not given.
    """

    def here(step: Step) -> Uploaded:
        return run_here(step, runtime)

    unlearn = Unlearn(trial.setting, trial.seed, trial.method)
    evaluate = Evaluate(trial.setting, trial.seed, unlearn)
    references = _References.of(trial.setting, trial.seed)
    reference = runtime.record(references.evaluated)
    retrained = runtime.record(references.retrained)
    runtime.record(unlearn.original)
    seen = {unlearn.original.key, unlearn.key}
    failure: str | None = None
    started = time.monotonic()
    try:
        unlearned = ensure(
            unlearn, runtime.store, execute_training or here, trial.account, seen=seen
        ).record
        evaluated = ensure(evaluate, runtime.store, here, trial.account, seen=seen).record
    except TrialError as error:
        failure = str(error)
        # There is no record that could tell.
        hours = Hours(trial.resources.accelerator_hours(time.monotonic() - started), 0.0)
        written = _failed_row(trial, failure, hours, runtime.compute.name)
    else:
        hours = Hours(*(_hours_for(trial.row_name, one) for one in (unlearned, evaluated)))
        written = _complete_row(trial, hours, unlearned, evaluated, reference, retrained)
    runtime.store.write_row(trial.row_name, written)
    gap = written["average_gap"]
    assert gap is None or isinstance(gap, float | int)
    return Scored(None if gap is None else float(gap), failure, hours.total, written)


def _hours_for(row: str, record: Record) -> float:
    """Accelerator hours that a step took for this row: another row's step costs it nothing."""
    return record.accelerator_hours if record.row == row else 0.0


def _complete_row(
    trial: TrialSeed,
    hours: Hours,
    unlearned: Record,
    evaluated: Record,
    reference: Record,
    retrained: Record,
) -> dict[str, Scalar]:
    return row(
        trial.subject,
        trial.setting,
        state="complete",
        values=evaluated.result["values"],
        reference=reference.result["values"],
        seconds=Seconds(
            unlearning=unlearned.result["seconds"],
            retraining=retrained.result["seconds"],
            evaluation=evaluated.result["seconds"],
        ),
        hours=hours,
        keys=Keys(
            unlearn=unlearned.key,
            original=unlearned.inputs["original"],
            retrained=retrained.key,
            evaluate=evaluated.key,
        ),
        origin=_origin(unlearned),
    )


def lost_row(trial: TrialSeed, failure: str) -> dict[str, Scalar]:
    """The row of a trial whose workers were lost; what they cost, nobody is left to say."""
    return _failed_row(trial, failure, Hours(), "unknown")


def _failed_row(trial: TrialSeed, failure: str, hours: Hours, device: str) -> dict[str, Scalar]:
    """The row of a trial that has no values."""
    return row(
        trial.subject,
        trial.setting,
        state="failed",
        failure=failure,
        seconds=Seconds(),
        hours=hours,
        keys=Keys(
            unlearn=Unlearn(trial.setting, trial.seed, trial.method).key,
            original=Pretrain(trial.setting, trial.seed).key,
            retrained=Retrain(trial.setting, trial.seed).key,
        ),
        origin=Origin(device, socket.gethostname(), versions(), _now()),
    )


@dataclass(frozen=True)
class _References:
    retrained: Retrain
    evaluated: Evaluate

    @classmethod
    def of(cls, setting: Setting, seed: int) -> _References:
        retrained = Retrain(setting, seed)
        return cls(retrained, Evaluate(setting, seed, retrained))


def reference_row(
    sweep: str, setting: Setting, seed: int, method: str, record: Callable[[Step], Record]
) -> tuple[str, dict[str, Scalar]]:
    """The name and the row of a reference model (`RETRAIN` or `ORIGINAL`) that was evaluated."""
    model = Retrain(setting, seed) if method == RETRAIN else Pretrain(setting, seed)
    evaluate = Evaluate(setting, seed, model)
    trained, evaluated = record(model), record(evaluate)
    references = _References.of(setting, seed)
    reference = record(references.evaluated)
    written = row(
        Subject(sweep=sweep, study="", purpose="reference", method=method, trial=-1, seed=seed),
        setting,
        state="complete",
        values=evaluated.result["values"],
        reference=reference.result["values"],
        seconds=Seconds(
            retraining=record(references.retrained).result["seconds"],
            evaluation=evaluated.result["seconds"],
        ),
        hours=Hours(),
        keys=Keys(
            original=Pretrain(setting, seed).key if method == ORIGINAL else None,
            retrained=references.retrained.key,
            evaluate=evaluate.key,
        ),
        origin=_origin(trained),
    )
    return reference_row_name(content_key(setting), sweep, method, seed), written


def _origin(trained: Record) -> Origin:
    """Where and when the record's step ran: the same in every row that tells of it."""
    device: Any = trained.result["device"]
    return Origin(str(device), trained.host, trained.versions, trained.created)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
