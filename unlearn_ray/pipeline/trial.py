"""One trial under one seed: unlearn, evaluate, and write its row."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from unlearn_ray.core.errors import TrialError
from unlearn_ray.engine.compute import Machine
from unlearn_ray.methods.base import Method
from unlearn_ray.metrics.base import Metric
from unlearn_ray.pipeline.once import Account, Uploaded, ensure, run_here, versions, work_of
from unlearn_ray.pipeline.rows import (
    ORIGINAL,
    RETRAIN,
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
from unlearn_ray.pipeline.runtime import Runtime
from unlearn_ray.pipeline.setting import Setting
from unlearn_ray.pipeline.steps import Evaluate, Pretrain, Retrain, Step, Unlearn
from unlearn_ray.pipeline.study import mean, point_key, reference_row_name, row_name, study_key
from unlearn_ray.pipeline.sweep_schema import Resources, Study, Sweep
from unlearn_ray.storage.store import Record, Store

# Groups of metrics that are one step each; the first is the objective's.
Measurements = tuple[tuple[Metric, ...], ...]

_OTHER = "key_evaluate_"
_OF_A_METRIC = ("", "_retrained", "_gap")


@dataclass(frozen=True)
class TrialSeed:
    """One trial under one seed.

    Attributes:
        sweep: its name.
        study: the study's key.
        name: the study's name.
        number: of the trial.
        point: the trial's searched fields.
        measurements: what its model is measured by.
        resources: that it runs on.
        earlier: average gaps of the seeds that the trial ran before.
        bar: a mean gap beyond which the trial ends here; None if it goes on in any case.
    """

    sweep: str
    study: str
    name: str
    number: int
    point: Mapping[str, Any]
    setting: Setting
    measurements: Measurements
    method: Method
    seed: int
    purpose: Purpose
    resources: Resources
    earlier: tuple[float, ...] = ()
    bar: float | None = None

    @classmethod
    def of(
        cls,
        sweep: Sweep,
        study: Study,
        number: int,
        point: Mapping[str, Any],
        seed: int,
        purpose: Purpose,
        *,
        earlier: Sequence[float] = (),
        bar: float | None = None,
    ) -> TrialSeed:
        """A trial of one of a sweep's studies; tuning measures the objective's metrics alone."""
        return cls(
            sweep=sweep.name,
            study=study_key(sweep, study),
            name=study.name,
            number=number,
            point=point,
            setting=sweep.setting,
            measurements=(sweep.objective,) if purpose == "tuning" else sweep.measurements,
            method=study.at(dict(point)),
            seed=seed,
            purpose=purpose,
            resources=sweep.resources.trial,
            earlier=tuple(earlier),
            bar=bar,
        )

    @property
    def row_name(self) -> str:
        """The name of its row."""
        return row_name(self.study, self.sweep, self.purpose, self.number, self.point, self.seed)

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
            point=point_key(self.point),
            seed=self.seed,
            hyperparameters=self.method,
        )

    @property
    def unlearn(self) -> Unlearn:
        """The step that makes its model."""
        return Unlearn(self.setting, self.seed, self.method)

    def state_after(self, gap: float) -> State:
        """Whether the trial goes on, or would have gone on, after this seed's average gap."""
        stops = self.bar is not None and mean((*self.earlier, gap)) > self.bar
        return "stopped" if stops else "complete"


@dataclass(frozen=True)
class Scored:
    """How a trial did under one seed.

    Attributes:
        average_gap: to the retrained model; None if the trial failed.
        stopped: whether the trial ends with this seed, clearly worse than its study's others.
        failure: why it failed.
        accelerator_hours: of the steps that were run for its row, now or earlier.
        row: as it stands in the store.
    """

    average_gap: float | None
    stopped: bool
    failure: str | None
    accelerator_hours: float
    row: dict[str, Scalar]


def score(
    trial: TrialSeed,
    runtime: Runtime,
    execute_training: Callable[[Step], Uploaded] | None = None,
    *,
    give_up: Callable[[], bool] = lambda: False,
) -> Scored:
    """Run what is not in the store yet, and write the row.

    Args:
        trial: what to run; both reference models of its seed are in the store.
        runtime: of this process.
        execute_training: how unlearning is run; in this process if not given.
        give_up: asked while another process runs a step of it.

    Raises:
        HeldElsewhere: `give_up` said so.
    """

    def here(step: Step) -> Uploaded:
        return run_here(step, runtime, work_of(step, trial.account).name)

    unlearn = trial.unlearn
    references = References.of(trial, runtime.record)
    seen = {unlearn.original.key, unlearn.key}
    failure: str | None = None
    started = time.monotonic()
    try:
        unlearned = ensure(
            unlearn,
            runtime.store,
            execute_training or here,
            trial.account,
            seen=seen,
            give_up=give_up,
        ).record
        evaluated = [
            ensure(step, runtime.store, here, trial.account, seen=seen, give_up=give_up).record
            for step in evaluations(unlearn, trial.measurements)
        ]
    except TrialError as error:
        failure = str(error)
        # There is no record that could tell.
        hours = Hours(trial.resources.accelerator_hours(time.monotonic() - started), 0.0)
        written = _failed_row(trial, failure, hours, runtime.compute.machine)
    else:
        hours = Hours(
            _hours_for(trial.row_name, [unlearned]), _hours_for(trial.row_name, evaluated)
        )
        written = _complete_row(trial, hours, unlearned, evaluated, references)
    if trial.purpose == "tuning":
        if not runtime.store.write_row(trial.row_name, written):
            written = runtime.store.row(trial.row_name) or written
    else:
        written = write_grown(trial.row_name, written, _flat(trial.measurements), runtime.store)
    gap, told = written["average_gap"], written["failure"]
    assert gap is None or isinstance(gap, float | int)
    return Scored(
        average_gap=None if gap is None else float(gap),
        stopped=written["state"] == "stopped",
        failure=None if told is None else str(told),
        accelerator_hours=hours.total,
        row=written,
    )


def write_grown(
    name: str, written: dict[str, Scalar], metrics: Collection[Metric], store: Store
) -> dict[str, Scalar]:
    """Write a row of the result table; one that is there takes the metrics that came since.

    Or that have changed since: what a metric beside the objective says of a model is no more than
    it says now.

    Args:
        name: of the row.
        written: as it is now.
        metrics: that it holds.
        store: of the row.

    Returns:
        The row as it stands.
    """
    columns = {metric.name: metric.columns for metric in metrics}
    stands = store.row(name)
    if stands is None:
        if store.write_row(name, written):
            return written
        stands = store.row(name) or written
    if "failed" in (stands["state"], written["state"]):
        return stands
    changed = {
        column.removeprefix(_OTHER)
        for column, key in written.items()
        if column.startswith(_OTHER) and stands.get(column) != key
    }
    if changed:
        anew = [f"{_OTHER}{metric}" for metric in changed]
        anew += [f"{c}{of}" for m in changed for c in columns[m] for of in _OF_A_METRIC]
        # Of all metrics together.
        anew += ["tug_of_war", "evaluation_seconds", "accelerator_hours_evaluate", "made_on"]
        store.extend_row(name, written, anew)
    return store.row(name) or written


def measured_keys(model: Pretrain | Unlearn, measurements: Measurements) -> dict[str, str]:
    """What a model's row says of its evaluations, by column."""
    first, *others = evaluations(model, measurements)
    return {
        "key_evaluate": first.key,
        **{f"{_OTHER}{step.metrics[0].name}": step.key for step in others},
    }


def evaluations(model: Pretrain | Unlearn, measurements: Measurements) -> list[Evaluate]:
    """The steps that measure a model."""
    return [Evaluate(model.setting, model.seed, model, metrics) for metrics in measurements]


@dataclass(frozen=True)
class References:
    """Records of what a trial under one seed starts from, and is compared with.

    Attributes:
        evaluated: the measurements of the retrained model.
    """

    original: Record
    retrained: Record
    evaluated: tuple[Record, ...]

    @classmethod
    def of(cls, trial: TrialSeed, record: Callable[[Step], Record]) -> References:
        """As the store holds them."""
        retrained = Retrain(trial.setting, trial.seed)
        measured = evaluations(retrained, trial.measurements)
        original = record(trial.unlearn.original)
        return cls(original, record(retrained), tuple(record(step) for step in measured))


def _values(evaluated: Iterable[Record]) -> dict[str, float]:
    values: dict[str, float] = {}
    for record in evaluated:
        values |= record.told("values", dict[str, float])
    return values


def _hours_for(row: str, records: Collection[Record]) -> float:
    """Accelerator hours of a row's own steps: another row's step costs it nothing."""
    return sum(record.accelerator_hours for record in records if record.row == row)


def _complete_row(
    trial: TrialSeed,
    hours: Hours,
    unlearned: Record,
    evaluated: Sequence[Record],
    references: References,
) -> dict[str, Scalar]:
    retrained = references.retrained
    written = row(
        trial.subject,
        trial.setting,
        _flat(trial.measurements),
        state="complete",
        values=_values(evaluated),
        reference=_values(references.evaluated),
        seconds=Seconds(
            unlearning=unlearned.told("compute_seconds", float),
            retraining=retrained.told("compute_seconds", float),
            evaluation=sum(record.told("seconds", float) for record in evaluated),
        ),
        hours=hours,
        keys=Keys(
            unlearn=unlearned.key,
            original=unlearned.inputs["original"],
            retrained=retrained.key,
            evaluate=evaluated[0].key,
            others=_other_keys(trial.measurements, evaluated),
        ),
        origin=_origin(
            unlearned, (*evaluated, references.original, retrained, *references.evaluated)
        ),
    )
    return {**written, "state": trial.state_after(float(written["average_gap"] or 0.0))}


def _flat(measurements: Measurements) -> tuple[Metric, ...]:
    return tuple(metric for group in measurements for metric in group)


def _other_keys(measurements: Measurements, evaluated: Sequence[Record]) -> dict[str, str]:
    """Keys of what measured each metric beside the objective's, by the metric's name."""
    beside = zip(measurements[1:], evaluated[1:], strict=True)
    return {metric.name: record.key for (metric,), record in beside}


def lost_row(trial: TrialSeed, failure: str) -> dict[str, Scalar]:
    """The row of a trial whose workers were lost; what they cost, nobody is left to say."""
    return _failed_row(trial, failure, Hours(), None)


def _failed_row(
    trial: TrialSeed, failure: str, hours: Hours, machine: Machine | None
) -> dict[str, Scalar]:
    """The row of a trial that has no values."""
    return row(
        trial.subject,
        trial.setting,
        _flat(trial.measurements),
        state="failed",
        failure=failure,
        seconds=Seconds(),
        hours=hours,
        keys=Keys(
            unlearn=trial.unlearn.key,
            original=Pretrain(trial.setting, trial.seed).key,
            retrained=Retrain(trial.setting, trial.seed).key,
        ),
        origin=Origin(machine, frozenset(), socket.gethostname(), versions(), _now()),
    )


def reference_row(
    sweep: Sweep, seed: int, method: str, record: Callable[[Step], Record]
) -> tuple[str, dict[str, Scalar]]:
    """The name and the row of a reference model (`RETRAIN` or `ORIGINAL`) that was evaluated."""
    setting = sweep.setting
    original, retrained = Pretrain(setting, seed), Retrain(setting, seed)
    model = retrained if method == RETRAIN else original
    trained = record(model)
    evaluated = [record(step) for step in evaluations(model, sweep.measurements)]
    reference = [record(step) for step in evaluations(retrained, sweep.measurements)]
    written = row(
        Subject(
            sweep=sweep.name, study="", purpose="reference", method=method, trial=-1, seed=seed
        ),
        setting,
        sweep.metrics,
        state="complete",
        values=_values(evaluated),
        reference=_values(reference),
        seconds=Seconds(
            retraining=record(retrained).told("compute_seconds", float),
            evaluation=sum(each.told("seconds", float) for each in evaluated),
        ),
        hours=Hours(),
        keys=Keys(
            original=original.key if method == ORIGINAL else None,
            retrained=retrained.key,
            evaluate=evaluated[0].key,
            others=_other_keys(sweep.measurements, evaluated),
        ),
        origin=_origin(trained, (record(original), record(retrained), *evaluated, *reference)),
    )
    return reference_row_name(sweep, method, seed), written


def failed_reference_row(sweep: Sweep, step: Step, failure: str) -> tuple[str, dict[str, Scalar]]:
    """The name and the row of a reference model that could not be trained or evaluated.

    A name of its own: should the step be run again and succeed, that row stands beside it.
    """
    model = step.model if isinstance(step, Evaluate) else step
    method = RETRAIN if isinstance(model, Retrain) else ORIGINAL
    written = row(
        Subject(
            sweep=sweep.name, study="", purpose="reference", method=method, trial=-1, seed=step.seed
        ),
        sweep.setting,
        sweep.metrics,
        state="failed",
        failure=failure,
        seconds=Seconds(),
        hours=Hours(),
        keys=Keys(),
        origin=Origin(None, frozenset(), socket.gethostname(), versions(), _now()),
    )
    return f"{reference_row_name(sweep, method, step.seed)}-failed", written


def _origin(trained: Record, others: Iterable[Record]) -> Origin:
    """Where and when the record's step ran, the same in every row that tells of it.

    And on what machines all steps ran that the row's numbers stand on.
    """
    made_on = frozenset(_machine(record) for record in (trained, *others))
    return Origin(_machine(trained), made_on, trained.host, trained.versions, trained.created)


def _machine(record: Record) -> Machine:
    return Machine(
        record.told("device", str), record.told("threads", int), record.told("kernels", str)
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
