"""What a sweep will do: the steps and trials that the store does not hold yet.

Planning reads the store and nothing else: it starts no Ray and touches no device.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from unlearn_ray.config.forgotten import Forgotten, forgotten
from unlearn_ray.config.sweep_schema import Resources, Study, Sweep
from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.layouts.brought import Role
from unlearn_ray.steps.base import Request, Step, of_references, with_inputs
from unlearn_ray.steps.kinds.measure import measures
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.references import reference
from unlearn_ray.storage.row_tables import Columns
from unlearn_ray.storage.store import Store
from unlearn_ray.studies.bank import (
    ScoreRow,
    bank_references,
    own_steps,
    reference_score_rows,
    study_score_rows,
)
from unlearn_ray.studies.history import Row, TrialRecord, recorded_trials, winners
from unlearn_ray.studies.rows import EXCESSES, FURTHER_SCORES, HOURS, State
from unlearn_ray.studies.similar import Change, changes
from unlearn_ray.studies.spending import Spending, spent_by
from unlearn_ray.studies.standing import READ
from unlearn_ray.studies.stored_rows import read_rows
from unlearn_ray.studies.study import reference_row_name, references_folder, row_name, study_key
from unlearn_ray.studies.transfer import with_starts
from unlearn_ray.studies.trial import measured_keys

_ROLES: tuple[tuple[str, Role], ...] = ((RETRAIN, "retrained"), (ORIGINAL, "original"))
_PLANNED_BY = frozenset({*READ, "sweep", "study_key", "study", "hyperparameters",
                         *FURTHER_SCORES, *EXCESSES, *HOURS})  # fmt: skip
_KEYS = ("key_measure_", "key_score_")
# The remedy for a failed reference step.
RETRY = "fix the cause, then run the sweep with --retry-failed"


@dataclass(frozen=True)
class PlannedStep:
    """A step, whether the store holds its record, and why it failed, if it did."""

    step: Step
    stored: bool
    failure: str | None = None


@dataclass(frozen=True)
class PlannedStudy:
    """The current state of a study.

    Attributes:
        past: its trials so far.
        wanted: how many it should have.
        halted: whether the sweep's budget is spent, so that no further trial is launched.
        reports: the steps of its winners on the reporting seeds; empty until the study has ended.
        reported: whether all rows of the winners are in the store; a failed one counts.
        reports_failed: how many of these rows failed.
        scores: the winner's score rows that are not up to date; failed ones are. Until there is a
            winner, those of some trial, which are as many.
        scoring: the steps of all score rows, without those of the reference models.
        changed: parts whose code or data differs from that of a stored study which is the same
            otherwise.
        blocked: whether a reference step failed, so that nothing can run.
    """

    study: Study
    key: str
    past: list[TrialRecord]
    wanted: int
    halted: bool
    reports: list[PlannedStep]
    reported: bool
    reports_failed: int
    scores: tuple[ScoreRow, ...] = ()
    scoring: Sequence[PlannedStep] = ()
    changed: tuple[Change, ...] = ()
    blocked: bool = False

    @property
    def ended(self) -> int:
        """How many trials have ended."""
        return sum(trial.state != State.UNFINISHED for trial in self.past)

    @property
    def failed(self) -> int:
        """How many trials and reporting runs failed."""
        return sum(trial.state == State.FAILED for trial in self.past) + self.reports_failed

    @property
    def left(self) -> int:
        """How many trials are still to be run."""
        return 0 if self.halted or self.blocked else max(0, self.wanted - self.ended)


@dataclass(frozen=True)
class Plan:
    """What a sweep still needs from a store.

    Attributes:
        references: the steps that train and measure both reference models, tuning seeds first,
            in topological order.
        reference_rows: whether all rows of reference models are in the store.
        scores: the score rows of reference models that are not up to date.
        scoring: the steps of all their score rows, without those among `references`.
        forgotten: what the sweep forgets.
        spending: this sweep's so far; empty if there is no budget.
    """

    sweep: Sweep
    references: list[PlannedStep]
    studies: list[PlannedStudy]
    reference_rows: bool
    scores: tuple[ScoreRow, ...]
    scoring: Sequence[PlannedStep]
    forgotten: Forgotten
    spending: Spending

    @property
    def failed_references(self) -> list[PlannedStep]:
        """Reference steps that failed and are not retried automatically."""
        return [planned for planned in self.references if planned.failure is not None]

    @property
    def asks(self) -> dict[str, Resources]:
        """The resources that the remaining steps request, by the field of the sweep file."""
        resources = self.sweep.resources
        training = any(p.step.asks == "training" and not p.stored for p in self.references)
        return {
            **({"training": resources.training} if training else {}),
            **({} if self.complete else {"trial": resources.trial}),
        }

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to run."""
        return (
            self.reference_rows
            and not self.scores
            and all(planned.stored for planned in self.references)
            and all(one.left == 0 and one.reported and not one.scores for one in self.studies)
        )


def retried(plan: Plan, store: Store) -> Plan:
    """The plan once the failures of its reference steps are forgotten; itself if none failed."""
    if not plan.failed_references:
        return plan
    steps = [planned.step for planned in plan.failed_references]
    store.failures.forget((step.name, step.key) for step in steps)
    return make_plan(plan.sweep, store)


def reference_steps(sweep: Sweep, seed: int, replicate: int = 0) -> list[Step]:
    """The steps of both reference models of one run, in topological order."""
    reporting = seed in sweep.seeds.reporting
    metrics = sweep.metrics if reporting else sweep.scored_by
    others = sweep.seeds.other(seed) if reporting else ()
    original = sweep.objective.uses_original()
    request = Request(sweep.setting, seed, replicate, metrics, reporting, original, others)
    return of_references(request)


def report_steps(
    sweep: Sweep, study: Study, best: TrialRecord, references: Container[str]
) -> list[Step]:
    """A winner's own steps of every reporting run.

    Args:
        sweep, study: that it is of.
        best: the winner.
        references: keys of the steps of the reference models.
    """
    steps: list[Step] = []
    for seed, replicate in sweep.seeds.runs:
        unlearn = Unlearn(
            setting=sweep.setting, seed=seed, replicate=replicate, method=study.at(best.point)
        )
        steps += [unlearn, *measures(unlearn, sweep.metrics, sweep.seeds.other(seed))]
    return list(with_inputs(steps, lambda step: step.key in references).values())


def sweep_rows(sweep: Sweep, store: Store, columns: Columns = ()) -> list[Row]:
    """The rows of a sweep's studies and of its reference models.

    Args:
        sweep: the sweep.
        store: of the rows.
        columns: those to read; all if not given.
    """
    prefixes = [f"{study_key(sweep, study)}/" for study in sweep.studies]
    prefixes.append(references_folder(sweep))
    return list(read_rows(store, *prefixes, columns=columns).to_pylist())


def _is_planned_by(column: str) -> bool:
    """Whether planning looks at a column of rows."""
    return column in _PLANNED_BY or column.startswith(_KEYS)


def make_plan(sweep: Sweep, store: Store) -> Plan:
    """Compare a sweep with what is in the store.

    Raises:
        ConfigError: what `search.start_from` names has no point for any study.
        DataError: a seed has nothing to forget or retain.
        StoreError: the store cannot be read, or a row in it is unreadable.
    """
    sweep = with_starts(sweep)
    taken = forgotten(sweep.setting, (*sweep.seeds.tuning, *sweep.seeds.reporting))
    rows = sweep_rows(sweep, store, _is_planned_by)
    by_name = {row["row"]: row for row in rows}
    failures = {row["row"] for row in rows if row["state"] == State.FAILED}
    by_study: dict[str, list[Row]] = {}
    for row in rows:
        by_study.setdefault(row["study_key"], []).append(row)

    def is_reported(name: str, model: Step) -> bool:
        """Whether a row of the table exists, up to date in every metric or marked as failed."""
        row = by_name.get(name)
        others = sweep.seeds.other(model.seed)
        keys = measured_keys(measures(model, sweep.metrics, others))
        return row is not None and (
            name in failures or all(row.get(column) == key for column, key in keys.items())
        )

    stored: dict[str, set[str]] = {}

    def planned(steps: list[Step]) -> list[PlannedStep]:
        for kind in {step.name for step in steps} - stored.keys():
            stored[kind] = set(store.records(kind))
        return [PlannedStep(step, step.key in stored[step.name]) for step in steps]

    runs = (*sweep.seeds.tuning_runs, *sweep.seeds.runs)
    by_run = {run: reference_steps(sweep, *run) for run in runs}
    of_runs = {step.key for run in sweep.seeds.runs for step in by_run[run]}
    wanted = [step for run in runs for step in by_run[run]] + bank_references(sweep)
    # The replicates of a split have the same samples.
    unique = {step.key: step for step in wanted}
    references = _with_failures(planned([*unique.values()]), store)
    shared = unique.keys()
    blocked = any(each.failure is not None for each in references)
    spending = _spending(sweep, store, references, rows)
    halted = sweep.budget.spent(spending.total)
    studies = []
    for study in sweep.studies:
        key = study_key(sweep, study)
        past = recorded_trials(by_study.get(key, ()), sweep, study)
        changed = () if past else changes(sweep, study, store)
        made = PlannedStudy(
            study, key, past, sweep.trials(study), halted, [], False, 0, (), (), changed, blocked
        )
        chosen = winners(past)
        best = next(iter(chosen), None)
        ended = not made.left and not blocked
        reports = planned(
            [s for one in chosen if ended for s in report_steps(sweep, study, one, of_runs)]
        )
        wanted_rows = {
            row_name(key, sweep.name, "reporting", one.number, one.point, *run): Unlearn(
                setting=sweep.setting,
                seed=run.seed,
                replicate=run.replicate,
                method=study.at(one.point),
            )
            for one in chosen
            for run in sweep.seeds.runs
        }
        number, point = (best.number, best.point) if best else (0, next(iter(study.corners())))
        scores = study_score_rows(sweep, study, number, point)
        failed = wanted_rows.keys() & failures
        reported = all(is_reported(name, model) for name, model in wanted_rows.items()) and (
            bool(failed) or all(s.stored for s in reports)
        )
        studies.append(
            replace(
                made,
                reports=reports,
                reported=reported,
                reports_failed=len(failed),
                scores=tuple(
                    one for one in scores if (best or made.left) and not one.is_in(by_name)
                ),
                scoring=planned(own_steps(scores, shared)),
            )
        )
    reference_rows = all(
        is_reported(
            reference_row_name(sweep, method, *run),
            reference(role, sweep.setting, *run),
        )
        for run in sweep.seeds.runs
        for method, role in _ROLES
        if method in sweep.reference_models
    )
    reference_scores = reference_score_rows(sweep)
    return Plan(
        sweep=sweep,
        references=references,
        studies=studies,
        reference_rows=reference_rows,
        scores=tuple(one for one in reference_scores if not one.is_in(by_name)),
        scoring=planned(own_steps(reference_scores, shared)),
        forgotten=taken,
        spending=spending,
    )


def _with_failures(references: Sequence[PlannedStep], store: Store) -> list[PlannedStep]:
    missing = [(each.step.name, each.step.key) for each in references if not each.stored]
    failures = store.failures.read(missing)
    return [
        replace(each, failure=failures[each.step.key].reason)
        if not each.stored and each.step.key in failures
        else each
        for each in references
    ]


def _spending(
    sweep: Sweep, store: Store, references: Sequence[PlannedStep], rows: Sequence[Row]
) -> Spending:
    if sweep.budget.hours is None:
        return Spending()
    steps = (planned.step for planned in references if planned.stored)
    records = store.read_records((step.name, step.key) for step in steps)
    return spent_by(sweep.name, records.values(), rows)
