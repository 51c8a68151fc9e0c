"""The step of a sweep that has a key: a key says what was computed, not where its data lies."""

from __future__ import annotations

from collections.abc import Iterator

from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.core.errors import BadInput
from unlearn_ray.monitor.kept_sweeps import kept_sweeps, sweep_of
from unlearn_ray.monitor.manifest import manifests
from unlearn_ray.steps.base import Step, with_inputs
from unlearn_ray.storage.store import Record, Store
from unlearn_ray.studies.bank import bank_references, reference_score_rows, study_score_rows
from unlearn_ray.studies.history import TrialRecord, recorded_trials
from unlearn_ray.studies.plan import reference_steps, sweep_rows
from unlearn_ray.studies.study import study_key
from unlearn_ray.studies.trial import TrialSeed


def planned_step(record: Record, sweep: Sweep, store: Store) -> Step:
    """The step of a sweep that left a record.

    Args:
        record: of the step.
        sweep: that has the step: of a reference model, or of one of the trials in the store.
        store: that the sweep ran on.

    Raises:
        BadInput: the sweep has no step of this key.
    """
    for steps in _groups(sweep, store):
        found = with_inputs(steps).get(record.key)
        if found is not None:
            return found
    raise BadInput(
        f"sweep {sweep.name}",
        f"has no step {record.kind} {record.key}, as its fields, its data or the code differ",
        f"name the file of sweep {record.sweep}, which ran it, as it was then",
    )


def kept_step(record: Record, store: Store) -> Step:
    """The step that left a record, of a sweep whose file the store keeps.

    The sweep that ran it is asked first, then others: they may share steps.

    Raises:
        BadInput: the store keeps no file that has it, or none can be read here.
    """
    told: list[BadInput] = []
    for name in dict.fromkeys((record.sweep, *manifests(store))):
        try:
            versions = kept_sweeps(store, name)
        except BadInput as error:
            told.append(error)
            continue
        for kept in versions:
            try:
                return planned_step(record, sweep_of(kept, store.url), store)
            except BadInput as error:
                told.append(error)
    raise told[0]


def _groups(sweep: Sweep, store: Store) -> Iterator[list[Step]]:
    """All steps of a sweep, those first that are found soonest."""
    for run in dict.fromkeys((*sweep.seeds.tuning_runs, *sweep.seeds.runs)):
        yield reference_steps(sweep, *run)
    yield bank_references(sweep)
    yield [step for row in reference_score_rows(sweep) for step in row.steps]
    rows = sweep_rows(sweep, store)
    for study in sweep.studies:
        key = study_key(sweep, study)
        reported = {
            row["trial"] for row in rows if (row["study_key"], row["purpose"]) == (key, "reporting")
        }
        for trial in recorded_trials(rows, sweep, study):
            yield from _of_trial(sweep, study, trial, reported=trial.number in reported)


def _of_trial(
    sweep: Sweep, study: Study, trial: TrialRecord, *, reported: bool
) -> Iterator[list[Step]]:
    seeds = [
        TrialSeed.of(sweep, study, trial.number, trial.point, seed, "tuning")
        for seed in sweep.seeds.tuning
    ]
    if reported:
        seeds += [
            TrialSeed.of(
                sweep, study, trial.number, trial.point, run.seed, "reporting",
                replicate=run.replicate,
            )
            for run in sweep.seeds.runs
        ]  # fmt: skip
    for each in seeds:
        yield [*each.measures(each.unlearn)]
    if reported:
        scores = study_score_rows(sweep, study, trial.number, trial.point)
        yield [step for row in scores for step in row.steps]
