"""One trial under one seed: unlearn, observe, measure, and write its row."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from unlearn_ray.config.sweep_schema import Resources, Study, Sweep
from unlearn_ray.core.errors import TrialError
from unlearn_ray.core.runs import ORIGINAL, RETRAIN, Run
from unlearn_ray.evidence.floors import noise_floor
from unlearn_ray.methods.base import Method
from unlearn_ray.metrics.base import Metric
from unlearn_ray.objectives.base import Objective
from unlearn_ray.steps.base import Step, with_inputs
from unlearn_ray.steps.graph import Beside, Graph
from unlearn_ray.steps.kinds.expect import Expect
from unlearn_ray.steps.kinds.measure import Measure, measures
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.once import Account, Uploaded, run_along, run_here, versions, work_of
from unlearn_ray.steps.references import reference, role_of
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.steps.setting import Setting
from unlearn_ray.storage.store import Along, Record, Store
from unlearn_ray.studies.fronts import Score, Vector
from unlearn_ray.studies.history import Bar, excesses_of, score_of, stops
from unlearn_ray.studies.rows import (
    Hours,
    Keys,
    Origin,
    Purpose,
    Replicates,
    Scalar,
    Seconds,
    State,
    Subject,
    row,
)
from unlearn_ray.studies.study import point_key, reference_row_name, row_name, study_key
from unlearn_ray.train.compute import Machine

_MEASURED = "key_measure_"
_OF_A_METRIC = ("", "_retrained", "_gap", "_original")


@dataclass(frozen=True)
class TrialSeed:
    """One trial under one seed.

    Attributes:
        sweep: the sweep's name.
        study: the study's key.
        name: the study's name.
        number: the trial's number.
        point: the values of the searched fields.
        metrics: the metrics to measure.
        objective: computes its score.
        keep: names of large quantities to store all the same; None keeps all.
        other_seeds: the other reporting seeds, of a reporting run.
        replicate: that of its models among those of the seed.
        compared: the runs of the retrained models that set the noise floor, of a tuning run.
        resources: those that it runs on.
        earlier: scores on the seeds that the trial ran before.
        earlier_excesses: what it was beyond each constraint on these; empty without any.
        bar: what stops the trial here; None: it goes on in any case.
    """

    sweep: str
    study: str
    name: str
    number: int
    point: Mapping[str, Any]
    setting: Setting
    metrics: tuple[Metric, ...]
    objective: Objective
    method: Method
    seed: int
    purpose: Purpose
    resources: Resources
    earlier: tuple[Score, ...] = ()
    earlier_excesses: tuple[Vector, ...] = ()
    bar: Bar | float | None = None
    keep: tuple[str, ...] | None = None
    other_seeds: tuple[int, ...] = ()
    replicate: int = 0
    compared: tuple[Run, ...] = ()

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
        replicate: int = 0,
        earlier: Sequence[Score] = (),
        earlier_excesses: Sequence[Vector] = (),
        bar: Bar | float | None = None,
    ) -> TrialSeed:
        """A trial of one of a sweep's studies; tuning measures only the objective's metrics."""
        return cls(
            sweep=sweep.name,
            study=study_key(sweep, study),
            name=study.name,
            number=number,
            point=point,
            setting=sweep.setting,
            metrics=sweep.scored_by if purpose == "tuning" else sweep.metrics,
            objective=sweep.objective,
            keep=sweep.keep.observations if purpose == "tuning" else None,
            other_seeds=() if purpose == "tuning" else sweep.seeds.other(seed),
            method=study.at(dict(point)),
            seed=seed,
            replicate=replicate,
            compared=sweep.seeds.tuning_runs if purpose == "tuning" else (),
            purpose=purpose,
            resources=sweep.resources.trial,
            earlier=tuple(earlier),
            earlier_excesses=tuple(earlier_excesses),
            bar=bar,
        )

    @property
    def row_name(self) -> str:
        """The name of its row."""
        run = self.seed, self.replicate
        return row_name(self.study, self.sweep, self.purpose, self.number, self.point, *run)

    @property
    def account(self) -> Account:
        """What its steps' time is charged to."""
        of_study = "" if self.name == self.method.name else f" of {self.name}"
        trial = f"trial {self.number}{of_study}"
        return Account(self.sweep, self.resources.accelerators, self.row_name, trial)

    @property
    def subject(self) -> Subject:
        """What its row is about."""
        return Subject(
            sweep=self.sweep,
            study_key=self.study,
            purpose=self.purpose,
            study=self.name,
            trial=self.number,
            point=point_key(self.point),
            seed=self.seed,
            replicate=self.replicate,
            hyperparameters=self.method,
        )

    @property
    def unlearn(self) -> Unlearn:
        """The step that trains its model."""
        return Unlearn(
            setting=self.setting, seed=self.seed, replicate=self.replicate, method=self.method
        )

    @property
    def retrained(self) -> Step | None:
        """The step that trains or brings the model it is compared with; None if there is none."""
        run = self.setting, self.seed, self.replicate
        return reference("retrained", *run) if self.setting.compares else None

    def measures(self, model: Step) -> list[Measure]:
        """The steps that measure a model with this trial's metrics."""
        return measures(model, self.metrics, self.other_seeds)

    def state_after(self, score: Score, excesses: Vector = ()) -> State:
        """`STOPPED` if the bar stops the trial after this seed."""
        scores, beyond = (*self.earlier, score), (*self.earlier_excesses, excesses)
        return State.STOPPED if stops(self.bar, scores, beyond) else State.COMPLETE


@dataclass(frozen=True)
class Scored:
    """The outcome of a trial under one seed.

    Attributes:
        score: the score under this seed; None if the trial failed.
        stopped: whether the trial ends with this seed, as clearly worse than others.
        failure: why it failed.
        accelerator_hours: those of the steps that were run for its row, now or earlier.
        row: the row in the store.
        wrote: whether this call wrote it.
        excesses: what it is beyond each constraint; empty without any.
    """

    score: Score | None
    stopped: bool
    failure: str | None
    accelerator_hours: float
    row: dict[str, Scalar]
    wrote: bool
    excesses: Vector = ()


def score(
    trial: TrialSeed,
    runtime: Runtime,
    execute_training: Callable[[Step], Uploaded] | None = None,
    *,
    give_up: Callable[[], bool] = lambda: False,
) -> Scored:
    """Run what is not in the store yet, and write the row.

    Args:
        trial: what to run; the reference models of its seed are in the store.
        runtime: this process's.
        execute_training: runs unlearning; if None, it runs in this process.
        give_up: polled while another process runs one of its steps; True stops waiting.

    Raises:
        HeldElsewhere: `give_up` returned True.
    """

    def execute(step: Step) -> Uploaded:
        if step.distributed and execute_training is not None:
            return execute_training(step)
        return run_here(step, runtime, work_of(step, trial.account).name)

    graph = Graph(runtime.known, execute, trial.account, keep=trial.keep, give_up=give_up)

    def beside(step: Step, record: Record, known: Callable[[Record], None]) -> Along:
        return run_along(step, runtime, trial.account, record, known)

    def of(model: Step | None) -> Measured | None:
        return None if model is None else Measured.of(model, trial.measures(model), graph)

    of_original = trial.unlearn.original if trial.objective.uses_original() else None
    compared = Compared(of(trial.retrained), of(of_original), _replicates(trial, graph))
    failure: str | None = None
    started = time.monotonic()
    try:
        brief = Beside(beside, most_seconds=runtime.checkpoint_seconds)
        along = brief if trial.purpose == "tuning" else None
        measured = Measured.of(trial.unlearn, trial.measures(trial.unlearn), graph, along)
    except TrialError as error:
        failure = str(error)
        # A failed step has no record of its hours.
        hours = Hours(trial.resources.accelerator_hours(time.monotonic() - started), 0.0)
        written = _failed_row(trial, failure, hours, runtime.compute.machine)
    else:
        # The same model under other seeds may have been made and observed for this row, too.
        ran = graph.records(with_inputs(measured.steps).values())
        made, rest = ([r for r in ran if (r.kind == Unlearn.name) == of] for of in (True, False))
        hours = Hours(*(hours_for(trial.row_name, records) for records in (made, rest)))
        original = runtime.known.of(trial.unlearn.original)
        written = _complete_row(trial, hours, measured, compared, original)
    wrote = False
    if trial.purpose == "tuning":
        wrote = runtime.store.write_row(trial.row_name, written)
        if not wrote:
            written = runtime.store.row(trial.row_name) or written
    else:
        written = write_grown(trial.row_name, written, trial.metrics, runtime.store)
    reason = written["failure"]
    return Scored(
        score=None if written["score"] is None else score_of(written),
        stopped=written["state"] == State.STOPPED,
        failure=None if reason is None else str(reason),
        accelerator_hours=hours.total,
        row=written,
        wrote=wrote,
        excesses=excesses_of(written),
    )


def write_grown(
    name: str, written: dict[str, Scalar], metrics: Collection[Metric], store: Store
) -> dict[str, Scalar]:
    """Write a row of the result table; an existing one gets the metrics added or changed since.

    Of a metric that the objective does not use, only the current revision counts.

    Args:
        name: the row's name.
        written: its current values.
        metrics: those that it holds.
        store: where it is stored.

    Returns:
        The row as stored.
    """
    columns = {metric.name: metric.columns for metric in metrics}
    stands = store.row(name)
    if stands is None:
        if store.write_row(name, written):
            return written
        stands = store.row(name) or written
    if State.FAILED in (stands["state"], written["state"]):
        return stands
    changed = {
        column.removeprefix(_MEASURED)
        for column, key in written.items()
        if column.startswith(_MEASURED) and stands.get(column) != key
    }
    if changed:
        anew = [f"{_MEASURED}{metric}" for metric in changed]
        anew += [f"{c}{of}" for m in changed for c in columns[m] for of in _OF_A_METRIC]
        # These depend on all metrics.
        anew += ["tug_of_war", "evaluation_seconds", "accelerator_hours_measure", "made_on"]
        store.extend_row(name, written, anew)
    return store.row(name) or written


def measured_keys(steps: Iterable[Measure]) -> dict[str, str]:
    """The keys of a model's measurements, by column of its row."""
    return {f"{_MEASURED}{step.metric.name}": step.key for step in steps}


@dataclass(frozen=True)
class Measured:
    """A measured model.

    Attributes:
        model: the record of the step that trained it.
        steps: those that measured it.
        records: of these, and of its stored observations.
        values: the measured values, by column.
    """

    model: Record
    steps: Sequence[Measure]
    records: Sequence[Record]
    values: Mapping[str, float]

    @classmethod
    def of(
        cls, model: Step, steps: Sequence[Measure], graph: Graph, along: Beside | None = None
    ) -> Measured:
        """Ensure the model and its measurements.

        Args:
            model: the step that trains it.
            steps: its measurements.
            graph: runs them.
            along: how they run along with the model; if not given, each has a record of its own.

        Raises:
            TrialError: a step failed.
            HeldElsewhere: another process runs one.
        """
        if along is None:
            (trained,), done = graph.ensure(model), graph.ensure(*steps)
        else:
            trained, *done = graph.ensure_along(model, steps, along)
        read = (wanted for step in steps for wanted in step.inputs().values())
        own = {
            one.key: one for one in read if isinstance(one, Observe) and one.model.key == model.key
        }
        values: dict[str, float] = {}
        for each in done:
            values |= each.record.value("values", dict[str, float])
        return cls(trained.record, steps, graph.records([*own.values(), *steps]), values)

    @property
    def seconds(self) -> float:
        """Wall time of observing and measuring it."""
        return sum(record.seconds for record in self.records)


@dataclass(frozen=True)
class Compared:
    """What a trial's values are compared with; None where there is nothing.

    Attributes:
        retrained: the retrained model of its run.
        original: the original of its run, for objectives that use it.
        replicates: what several retrained models of each tuning seed say.
    """

    retrained: Measured | None
    original: Measured | None
    replicates: Replicates | None

    @property
    def records(self) -> list[Record]:
        """The records behind the values of both models."""
        models = [one for one in (self.retrained, self.original) if one is not None]
        return [record for one in models for record in (one.model, *one.records)]


def _replicates(trial: TrialSeed, graph: Graph) -> Replicates | None:
    """The values of all retrained models of the tuning seeds; None if each seed has one."""
    if trial.retrained is None or max((run.replicate for run in trial.compared), default=0) == 0:
        return None
    by_seed: dict[int, list[Mapping[str, float]]] = {}
    for seed, replicate in trial.compared:
        model = replace(trial.retrained, seed=seed, replicate=replicate)
        by_seed.setdefault(seed, []).append(Measured.of(model, trial.measures(model), graph).values)
    floor = {
        column: noise_floor(
            {seed: np.array([one[column] for one in values]) for seed, values in by_seed.items()}
        ).mean
        for metric in trial.metrics
        for column in metric.columns
    }
    return Replicates(by_seed[trial.seed], floor)


def compute_seconds(record: Record) -> float | None:
    """The compute seconds of a model's training; None where other code took an unknown time."""
    if record.result.get("compute_seconds", 0.0) is None:
        return None
    return record.value("compute_seconds", float)


def hours_for(row: str, records: Collection[Record]) -> float:
    """Accelerator hours of the steps charged to a row: steps of other rows cost it nothing."""
    return sum(record.accelerator_hours for record in records if record.row == row)


def _complete_row(
    trial: TrialSeed,
    hours: Hours,
    measured: Measured,
    compared: Compared,
    original: Record,
) -> dict[str, Scalar]:
    unlearned, retrained = measured.model, compared.retrained
    written = row(
        trial.subject,
        trial.setting,
        trial.metrics,
        trial.objective,
        state=State.COMPLETE,
        values=measured.values,
        reference=None if retrained is None else retrained.values,
        original=None if compared.original is None else compared.original.values,
        replicates=compared.replicates,
        seconds=Seconds(
            unlearning=compute_seconds(unlearned),
            retraining=_training_seconds(retrained),
            evaluation=measured.seconds,
        ),
        hours=hours,
        keys=Keys(
            unlearn=unlearned.key,
            original=unlearned.inputs["original"],
            retrained=None if retrained is None else retrained.model.key,
            measured=measured_keys(measured.steps),
        ),
        origin=_origin(unlearned, original, *measured.records, *compared.records),
    )
    # Without a score the trial has no value to compare.
    own = 0.0 if written["score"] is None else score_of(written)
    return {**written, "state": str(trial.state_after(own, excesses_of(written)))}


def _training_seconds(model: Measured | None) -> float | None:
    return None if model is None else compute_seconds(model.model)


def lost_row(trial: TrialSeed, failure: str) -> dict[str, Scalar]:
    """The row of a trial whose workers were lost, and their cost with them."""
    return _failed_row(trial, failure, Hours(), None)


def _failed_row(
    trial: TrialSeed, failure: str, hours: Hours, machine: Machine | None
) -> dict[str, Scalar]:
    """The row of a trial that has no values."""
    return row(
        trial.subject,
        trial.setting,
        trial.metrics,
        trial.objective,
        state=State.FAILED,
        failure=failure,
        seconds=Seconds(),
        hours=hours,
        keys=Keys(
            unlearn=trial.unlearn.key,
            original=trial.unlearn.original.key,
            retrained=None if trial.retrained is None else trial.retrained.key,
        ),
        origin=Origin(machine, frozenset(), socket.gethostname(), versions(), _now()),
    )


def reference_row(
    sweep: Sweep, seed: int, method: str, graph: Graph, replicate: int = 0
) -> tuple[str, dict[str, Scalar]]:
    """The name and the row of a reference model (`RETRAIN` or `ORIGINAL`) that was measured."""
    setting, others = sweep.setting, sweep.seeds.other(seed)
    original = reference("original", setting, seed, replicate)
    retrained = reference("retrained", setting, seed, replicate)
    of_original, of_retrained = (
        Measured.of(model, measures(model, sweep.metrics, others), graph)
        if name in sweep.reference_models
        else None
        for name, model in ((ORIGINAL, original), (RETRAIN, retrained))
    )
    measured = of_retrained if method == RETRAIN else of_original
    assert measured is not None
    assert of_original is not None
    uses_original = sweep.objective.uses_original()
    compared = Compared(of_retrained, of_original if uses_original else None, None)
    written = row(
        Subject(
            sweep=sweep.name,
            study_key="",
            purpose="reference",
            study=method,
            trial=-1,
            seed=seed,
            replicate=replicate,
        ),
        setting,
        sweep.metrics,
        sweep.objective,
        state=State.COMPLETE,
        values=measured.values,
        reference=None if of_retrained is None else of_retrained.values,
        original=of_original.values if uses_original else None,
        seconds=Seconds(
            retraining=_training_seconds(of_retrained),
            evaluation=measured.seconds,
        ),
        hours=Hours(),
        keys=Keys(
            original=original.key if method == ORIGINAL else None,
            retrained=None if of_retrained is None else retrained.key,
            measured=measured_keys(measured.steps),
        ),
        origin=_origin(measured.model, of_original.model, *measured.records, *compared.records),
    )
    return reference_row_name(sweep, method, seed, replicate), written


def failed_reference_row(
    sweep: Sweep, step: Step, failure: str
) -> tuple[str, dict[str, Scalar]] | None:
    """The name and the row of a reference model that could not be trained or measured.

    The name is distinct, so that the step's row can be written if a later run succeeds.
    None of a step that is about neither reference model, or about a bank.
    """
    model = step.model if isinstance(step, Observe | Measure | Expect) else step
    role = role_of(model)
    if role is None or model.setting.masks is not None:
        return None
    method = RETRAIN if role == "retrained" else ORIGINAL
    written = row(
        Subject(
            sweep=sweep.name,
            study_key="",
            purpose="reference",
            study=method,
            trial=-1,
            seed=step.seed,
            replicate=step.replicate,
        ),
        sweep.setting,
        sweep.metrics,
        sweep.objective,
        state=State.FAILED,
        failure=failure,
        seconds=Seconds(),
        hours=Hours(),
        keys=Keys(),
        origin=origin_of(()),
    )
    name = reference_row_name(sweep, method, step.seed, step.replicate)
    return f"{name}-failed", written


def origin_of(records: Collection[Record]) -> Origin:
    """This machine, now, and the machines of all records."""
    made_on = frozenset(map(_machine, records))
    return Origin(None, made_on, socket.gethostname(), versions(), _now())


def _origin(trained: Record, *others: Record) -> Origin:
    """Where and when the model was trained, and the machines of all steps behind its row.

    It is the same in every row of the model.
    """
    made_on = frozenset(map(_machine, (trained, *others)))
    return Origin(_machine(trained), made_on, trained.host, trained.versions, trained.created)


def _machine(record: Record) -> Machine:
    return Machine(
        record.value("device", str), record.value("threads", int), record.value("kernels", str)
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
