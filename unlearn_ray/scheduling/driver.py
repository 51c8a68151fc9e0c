"""Runs a sweep: reference steps, studies, and the winners on the reporting seeds.

Every piece of work is a job that waits for something on the cluster and starts as soon as its
inputs are in the store: measurements after trainings, the studies after the tuning seeds'
references, a winner's reporting runs after its study and that seed's references. Several drivers
may work on one store: what another driver runs is deferred, and other work done meanwhile.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from unlearn_ray.config.auto_gpu import Devices, asks_for_auto, computes_on
from unlearn_ray.config.sweep_schema import Resources, Sweep
from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.errors import (
    BadInput,
    HeldElsewhere,
    ProgramError,
    StepFailed,
    StoreError,
    TrialError,
    UnlearnRayError,
    WorkerLeaving,
    WorkersLost,
)
from unlearn_ray.core.words import counted
from unlearn_ray.monitor.durations import earlier_seconds, kind_of, trial_seconds
from unlearn_ray.reporting.expected import (
    REFERENCES,
    expect,
    measuring_of,
    needs,
    reports_of,
    scores_of,
    seeds_of,
    training_of,
    trials_of,
)
from unlearn_ray.reporting.gpu_memory import with_gpus
from unlearn_ray.reporting.progress import SweepProgress
from unlearn_ray.scheduling import notice
from unlearn_ray.scheduling.board import Board
from unlearn_ray.scheduling.capacity import JOINING_SECONDS, Capacity, Room, check_fits
from unlearn_ray.scheduling.cluster import cluster
from unlearn_ray.scheduling.cluster_devices import on_cluster
from unlearn_ray.scheduling.devices import on_this_machine
from unlearn_ray.scheduling.environment import starts_own_cluster
from unlearn_ray.scheduling.jobs import Job, Jobs, Later
from unlearn_ray.scheduling.losses import memory_kill
from unlearn_ray.scheduling.own_code import check_nodes, shipment_of
from unlearn_ray.scheduling.placement import task_options
from unlearn_ray.scheduling.shared_study import Assignment, Ending, SharedStudy
from unlearn_ray.scheduling.studies import executor, own_resources, run_studies
from unlearn_ray.scheduling.training import end_groups, run_under_ray_train
from unlearn_ray.scheduling.tuning_rows import TuningRows
from unlearn_ray.scheduling.worker import WorkerConfig, code_of
from unlearn_ray.steps.base import Step, with_inputs
from unlearn_ray.steps.graph import Graph, batches
from unlearn_ray.steps.known import Known
from unlearn_ray.steps.once import Account, Done, Uploaded, may_run, run_here
from unlearn_ray.storage.store import Store
from unlearn_ray.studies.bank import (
    ScoreRow,
    batches_of,
    failed_scores,
    study_score_rows,
    write_scores,
)
from unlearn_ray.studies.history import Row, StudyProgress, TrialRecord, recorded_trials, winners
from unlearn_ray.studies.plan import Plan, PlannedStudy, reference_steps, sweep_rows
from unlearn_ray.studies.rows import HOURS, Scalar, State
from unlearn_ray.studies.stored_rows import read_rows
from unlearn_ray.studies.study import point_key
from unlearn_ray.studies.trial import (
    Scored,
    TrialSeed,
    failed_reference_row,
    lost_row,
    reference_row,
    score,
    write_grown,
)

STUDIES = "studies"
# Each training has a Ray Train controller and a thread in the driver.
MOST_TRAININGS = 32
_WATCHER_SECONDS = 5.0


@dataclass(frozen=True)
class Tally:
    """The outcome of a run.

    Attributes:
        trials_failed: how many trials failed in this run.
        trials_ended: how many trials have ended, earlier runs included.
    """

    trials_failed: int
    trials_ended: int


def run_sweep(
    plan: Plan,
    store: Store,
    *,
    address: str | None,
    progress: SweepProgress,
    stop: threading.Event,
) -> Tally:
    """Run what a plan lists; returns early, with checkpoints saved, once `stop` is set.

    Raises:
        UnlearnRayError: a reference step or the store failed.
    """
    joining = not starts_own_cluster(address)
    progress.doing = "joining the Ray cluster" if joining else "starting Ray"
    code = shipment_of(plan.sweep)
    with cluster(address, code):
        if code is not None:
            progress.doing = "importing plug-ins on every node"
            check_nodes()
        progress.doing = "asking Ray for the cluster's resources"
        joining_seconds = JOINING_SECONDS if joining else 0.0
        if asks_for_auto(plan.sweep):
            devices = on_cluster(plan.sweep, joining_seconds) if joining else on_this_machine()
            plan = with_gpus(plan, store, devices)
            progress.note(f"computes on {computes_on(plan.sweep, devices)}")
        for what, resources in plan.asks.items():
            check_fits(resources, what, joining_seconds=joining_seconds)
        progress.doing = ""
        return _Driver(plan, store, progress, stop).run()


def looked_at(plan: Plan, store: Store, address: str) -> tuple[Plan, Devices, list[BadInput]]:
    """A plan as a cluster would run it; connects to it briefly.

    Returns:
        The plan, its GPUs in numbers; the cluster's GPUs; the requests that it can never serve.
    """
    found = []
    with cluster(address):
        devices = on_cluster(plan.sweep, 0.0)
        plan = with_gpus(plan, store, devices)
        for what, resources in plan.asks.items():
            try:
                check_fits(resources, what, joining_seconds=0.0)
            except BadInput as error:
                found.append(error)
    return plan, devices, found


@ray.remote  # type: ignore[untyped-decorator]
def _run_steps(
    steps: list[Step], account: Account, worker_config: WorkerConfig, board: Any
) -> list[Done]:
    """Run steps sequentially in a worker process, without waiting for other processes."""
    notice.install_handler()
    with notice.at_work():
        runtime = worker_config.runtime(board)
        execute = partial(run_here, runtime=runtime)
        return Graph(runtime.known, execute, account, give_up=lambda: True).ensure(*steps)


@ray.remote  # type: ignore[untyped-decorator]
def _run_report(
    trial: TrialSeed, worker_config: WorkerConfig, resources: Resources, board: Any
) -> Scored:
    """Run a study's winner under one reporting seed in a worker process, likewise."""
    notice.install_handler()
    with notice.at_work():
        execute = executor(worker_config, resources, board)
        return score(trial, worker_config.runtime(board), execute, give_up=lambda: True)


class _Driver:
    def __init__(
        self, plan: Plan, store: Store, progress: SweepProgress, stop: threading.Event
    ) -> None:
        self.plan = plan
        self.sweep: Sweep = plan.sweep
        self.store = store
        self.progress = progress
        self.stop = stop
        resources = self.sweep.resources
        self.worker_config = WorkerConfig(
            store=store.url,
            checkpoint_seconds=60 * plan.sweep.checkpoint_minutes,
            threads=resources.trial.threads,
            gpu=resources.trial.gpus,
            identity=store.identify(),
            code=code_of(self.sweep),
            deterministic=resources.trial.deterministic,
            graphs=resources.trial.graphs,
        )
        # On the driver's node, so that the loss of another node cannot take it down.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.board: Any = Board.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
        self.trials_failed = 0
        self.lease = store.start_driver(self.sweep.name)
        self.left = {study.key: study.left for study in plan.studies}
        self.spending = plan.spending
        self.numbers = itertools.count()
        self.known = Known(store)
        self.noted: set[str] = set()
        self.unscored: set[str] = set()
        # Of each study, the winners among the trials that have ended.
        self.chosen: dict[str, list[TrialRecord]] = {}
        self.tuning_rows = TuningRows(self.sweep, store, self._later, self._written)
        self.jobs = Jobs({"training": Room(resources.training, MOST_TRAININGS)})

    def run(self) -> Tally:
        self._show_plan()
        self.jobs.add(self._reference_jobs())
        self.jobs.add([self._studies_job()])
        self._add_scores(self.plan.scores, REFERENCES, frozenset())
        for planned in self.plan.studies:
            if self.left[planned.key] <= 0:
                self._add_reports(planned)
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(ended,), daemon=True)
        watcher.start()
        try:
            self.jobs.run(self.stop.is_set)
        finally:
            ended.set()
            if self.stop.is_set():
                self._stop_steps()
            end_groups(self.board)
            # It may still be reading earlier durations from a store that does not answer.
            watcher.join(_WATCHER_SECONDS)
            self.lease.finish()
        trials = sum(min(one.ended, one.wanted) for one in self.progress.studies.values())
        return Tally(self.trials_failed, trials)

    def _written(self, names: Sequence[str]) -> dict[str, dict[str, Scalar]]:
        """Those of these rows that the board has; a lost board only costs reading them."""
        with contextlib.suppress(ray.exceptions.RayError):
            found: dict[str, dict[str, Scalar]] = ray.get(self.board.written.remote(names))
            return found
        return {}

    def _stop_steps(self) -> None:
        """Give running steps a moment to save a checkpoint."""
        ray.get(self.board.stop.remote())
        threading.Event().wait(2.0)

    def _watch(self, ended: threading.Event) -> None:
        # Only the view uses earlier durations, so no run waits for them.
        with contextlib.suppress(StoreError):
            self._recall()
        resources = self.sweep.resources
        asks = {"training": resources.training, "trial": resources.trial}
        while not ended.wait(1.0):
            try:
                reports = ray.get(self.board.reports.remote(), timeout=5)
                capacity = Capacity.now()
            except ray.exceptions.RayError:
                continue  # a busy or lost board costs the view, not the sweep
            most = {"trial": self.sweep.search.concurrent}
            self.progress.places = {
                what: max(1, min(capacity.groups(one), most.get(what) or MOST_TRAININGS))
                for what, one in asks.items()
            }
            self.progress.hear({key: report.heard() for key, report in reports.items()})

    def _recall(self) -> None:
        """Give the view the durations of steps and trials in earlier runs."""
        for kind, seconds in earlier_seconds(self.plan, self.store).items():
            self.progress.took(kind, seconds)
        if not any(planned.past for planned in self.plan.studies):
            return
        rows = sweep_rows(self.sweep, self.store)
        for planned in self.plan.studies:
            name = planned.study.name
            for seeds in trial_seconds(rows, self.sweep, planned.key, planned.past):
                self.progress.took(trials_of(name), [sum(seeds)])
                self.progress.took(seeds_of(name), seeds)

    def _show_plan(self) -> None:
        with self.progress.lock:  # the view reads concurrently
            self._expect()

    def _expect(self) -> None:
        self.progress.steps = sum(not planned.stored for planned in self.plan.references)
        self.progress.stored = len(self.plan.references) - self.progress.steps
        expect(self.progress, self.plan)
        resources = self.sweep.resources
        self.progress.waits_for = {
            "training": needs(resources.training), "trial": needs(resources.trial)
        }  # fmt: skip
        self.progress.hours_each_second = resources.trial.accelerator_hours(1.0)
        self.progress.hours = self.spending.total
        self.progress.budget = self.sweep.budget.hours
        if any(planned.halted and planned.ended < planned.wanted for planned in self.plan.studies):
            self._halt()
        for planned in self.plan.studies:
            self._show_study(planned, planned.past)

    def _show_study(self, planned: PlannedStudy, past: list[TrialRecord]) -> None:
        name, runs = planned.study.name, self.sweep.seeds.runs
        told = StudyProgress.of(name, planned.wanted, past, to_report=len(runs))
        if name in self.progress.studies:
            told.reported = self.progress.studies[name].reported
        self.progress.studies[name] = told

    # Reference models

    def _reference_jobs(self) -> list[Job]:
        jobs = []
        missing = {one.step.key: one.step for one in self.plan.references if not one.stored}
        for planned in self.plan.references:
            step = planned.step
            after = _awaited(step)
            if planned.stored or step.batch is None:
                jobs.append(Job(step.key, lambda: None))
            elif step.asks == "training":
                jobs.append(Job(step.key, partial(self._train, step), after, slots="training"))
            else:
                jobs.append(Job(step.key, lambda: None, frozenset({f"batch {step.batch}"})))
        tuning = self._tuning_references()
        for name, steps in batches(missing.values()).items():
            after = frozenset().union(*map(_awaited, steps)) - {step.key for step in steps}
            if steps[-1].setting.masks is not None:
                after |= tuning  # a bank would fill the cluster before the searches start
            jobs.append(Job(f"batch {name}", partial(self._run_batch, steps), after))
        for run in self.sweep.seeds.runs:
            after = frozenset(step.key for step in reference_steps(self.sweep, *run))
            write = partial(self._write_references, *run)
            jobs.append(Job(name=f"reference rows {run}", work=write, after=after))
        return jobs

    def _train(self, step: Step) -> None:
        training = self.sweep.resources.training
        execute = partial(
            run_under_ray_train,
            worker_config=replace(
                self.worker_config,
                threads=training.threads,
                gpu=training.gpus,
                deterministic=training.deterministic,
                graphs=training.graphs,
            ),
            resources=training,
            board=self.board,
        )
        account = Account(self.sweep.name, self.sweep.resources.training.accelerators)
        self._check_not_failed([step])
        self.progress.ask(step.key, training_of(step, self.sweep), f"{step}", [step.key])
        try:
            graph = Graph(self.known, execute, account, give_up=lambda: True)
            (done,) = graph.ensure(step)
        except HeldElsewhere as error:
            self.progress.put_off(step.key)
            raise Later from error
        except TrialError as error:
            self._write_failed(step, error)
            raise
        self._note_done(step, done)
        self._end_item(step.key, [(step, done)])

    def _run_batch(self, steps: list[Step]) -> None:
        account = Account(self.sweep.name, self.sweep.resources.trial.accelerators)
        self._check_not_failed(steps)
        item = steps[-1].batch or steps[-1].key
        work = measuring_of(steps, self.sweep)
        try:
            done = self._in_worker(steps, account, item, work, steps[-1].batch_title)
        except TrialError as error:
            self._write_failed(steps[-1], error)  # samples stand before it
            raise
        for step, each in done:
            self._note_done(step, each)
        self._end_item(item, done)

    def _in_worker(
        self, steps: list[Step], account: Account, item: str, work: str, title: str
    ) -> list[tuple[Step, Done]]:
        """Run steps in one worker, unless another driver runs one of them."""
        self.progress.ask(item, work, title, [step.key for step in steps])
        for step in steps:
            self._check_free(step, account, item)
        task = _run_steps.options(**_task_options(self.sweep.resources.trial))
        sent = task.remote(steps, account, self.worker_config, self.board)
        try:
            done: list[Done] = _fetch(sent, str(steps[0]))
        except HeldElsewhere as error:
            self.progress.put_off(item)
            raise Later from error
        return list(zip(steps, done, strict=True))

    def _end_item(self, item: str, steps: list[tuple[Step, Done]]) -> None:
        took = [(kind_of(step), done.record.seconds) for step, done in steps if done.ran]
        self.progress.end(item, took or None)

    def _note_done(self, step: Step, done: Done) -> None:
        if done.record.sweep == self.sweep.name:
            self._spend(step.key, done.record.accelerator_hours)
        if step.key in self.noted:
            return  # an input of two batches
        self.noted.add(step.key)
        self.progress.steps_done += 1
        if done.ran:
            self.progress.note(f"done: {step}")

    def _check_free(self, step: Step, account: Account, item: str) -> None:
        """Defer what another process runs, before a worker is requested."""
        if not may_run(step, self.store, account):
            self.progress.put_off(item)
            raise Later

    def _check_not_failed(self, steps: list[Step]) -> None:
        """Refuse a step that failed for another driver: it would fail here, too."""
        failures = self.store.failures.read((step.name, step.key) for step in steps)
        for failure in failures.values():
            # A driver that lost its lease may have failed at a step that another completed.
            if self.store.record(failure.kind, failure.key) is None:
                reason = failure.reason.removeprefix(f"{failure.step}: ")
                raise TrialError(failure.step, reason, "it failed for another driver")

    def _write_failed(self, step: Step, error: TrialError) -> None:
        failed = failed_reference_row(self.sweep, step, f"{error}")
        if failed is not None:  # else the failure alone tells of it
            self.store.write_row(*failed)

    def _write_references(self, seed: int, replicate: int) -> None:
        graph = Graph(self.known, _refuse, Account(self.sweep.name, 0.0))
        for method in self.sweep.reference_models:
            name, row = reference_row(self.sweep, seed, method, graph, replicate)
            write_grown(name, row, self.sweep.metrics, self.store)

    # Studies

    def _tuning_references(self) -> frozenset[str]:
        runs = self.sweep.seeds.tuning_runs
        return frozenset(step.key for run in runs for step in reference_steps(self.sweep, *run))

    def _studies_job(self) -> Job:
        return Job(name=STUDIES, work=self._run_studies, after=self._tuning_references())

    def _run_studies(self) -> None:
        studies = self._studies_as_they_are()
        run_studies(
            self.sweep,
            studies,
            self.worker_config,
            self.board,
            self.jobs,
            on_start=self._on_start,
            on_end=self._on_end,
            may_launch=self._may_launch,
            stopping=self.stop.is_set,
            note=self.progress.note,
        )
        broken = {study.name for study in studies if study.broken}
        unlaunched = [
            planned
            for planned in self.plan.studies
            if self.left[planned.key] > 0 and planned.study.name not in broken
        ]
        if unlaunched and not self.stop.is_set():
            self._halt()
            self._wait_for_others(studies)
            for planned in unlaunched:
                if self.left[planned.key] > 0:
                    self._add_reports(planned)

    def _wait_for_others(self, studies: list[SharedStudy]) -> None:
        """Wait for the trials of other drivers: they count, and all report the same winners."""
        while any(study.elsewhere for study in studies) and not self.stop.wait(0.5):
            pass

    def _studies_as_they_are(self) -> list[SharedStudy]:
        """The studies, updated with what other drivers have run since planning."""
        rows = sweep_rows(self.sweep, self.store)
        for row in rows:
            if row["sweep"] == self.sweep.name:
                self._spend(row["row"], sum(row.get(column) or 0.0 for column in HOURS))
        studies = []
        for planned in self.plan.studies:
            past = recorded_trials(rows, self.sweep, planned.study)
            self._adopt_rows(rows, {trial.number: trial for trial in past}, planned)
            ended = sum(trial.state != State.UNFINISHED for trial in past)
            before = self.left[planned.key]
            self.left[planned.key] = 0 if planned.halted else planned.wanted - ended
            self._show_study(planned, past)
            self.chosen[planned.study.name] = winners(past)
            self.progress.works[trials_of(planned.study.name)].left = self.left[planned.key]
            failed = sum(trial.state == State.FAILED for trial in past)
            self.trials_failed += failed - sum(t.state == State.FAILED for t in planned.past)
            if before > 0 and self.left[planned.key] == 0:
                self._add_reports(planned)
            studies.append(
                SharedStudy(
                    self.sweep, planned.study, past, self.store, self.lease.key, self._on_end
                )
            )
        return studies

    def _halt(self) -> None:
        self.progress.halted = True
        self.progress.note("the budget is spent: no further trial is launched")

    def _may_launch(self) -> bool:
        return not self.sweep.budget.spent(self.spending.total)

    def _spend(self, item: str, hours: float) -> None:
        self.spending.note(item, hours)
        self.progress.hours = self.spending.total

    def _adopt_rows(
        self, rows: list[Row], trials: dict[int, TrialRecord], planned: PlannedStudy
    ) -> None:
        own = {
            (row["trial"], row["seed"])
            for row in rows
            if row["study_key"] == planned.key and row["sweep"] == self.sweep.name
        }
        for row in rows:
            if row["study_key"] == planned.key and row["purpose"] == "tuning":
                trial = trials.get(row["trial"])  # none, if the other sweep wants more trials
                known = (row["trial"], row["seed"]) in own
                if trial and not known and row["point"] == point_key(trial.point):
                    self.tuning_rows.adopt(row, trial.point)

    def _on_start(self, assignment: Assignment) -> None:
        what = _trial_in_words(assignment)
        self.progress.ask(what, trials_of(assignment.study), what)

    def _on_end(self, assignment: Assignment, ending: Ending) -> None:
        study = self.progress.studies[assignment.study]
        what = _trial_in_words(assignment)
        if ending.again:
            self.progress.drop(what)
            self.trials_failed += 1
            self.progress.note(
                f"not run: {what}: {ending.failure}; no further trial of {assignment.study} is"
                " launched: run the sweep again"
            )
            return
        if ending.state == State.COMPLETE:
            study.complete += 1
            self._note_complete(assignment, ending)
        elif ending.state == State.STOPPED:
            study.stopped += 1
        else:
            study.failed += 1
            self.trials_failed += 1
            self.progress.failed(assignment.study, what, ending.failure)
        if ending.rows is None:
            self.progress.end(what, self._took(assignment.study, ending))
            self.tuning_rows.settle(assignment, ending)
        else:
            self.progress.ended_elsewhere(trials_of(assignment.study))
            for row in ending.rows.values():
                self.tuning_rows.adopt(row, assignment.point)
        for seed, hours in zip(self.sweep.seeds.tuning, ending.hours, strict=False):
            self._spend(self.tuning_rows.name(assignment, seed), hours)
        planned = self._planned(assignment.study)
        self.left[planned.key] -= 1
        if self.left[planned.key] == 0:
            best = "" if study.best is None else f", best score {study.best:.2f}"
            if len(self.sweep.objective.each()) > 1:
                best = ""  # of several objectives the front is reported
            self.progress.note(
                f"ended: {counted(study.ended, 'trial')} of {assignment.study}{best}"
            )
            self._later(partial(self._add_reports, planned))

    def _note_complete(self, assignment: Assignment, ending: Ending) -> None:
        """Count a complete trial among those that the study's best is chosen from."""
        study = self.progress.studies[assignment.study]
        ended = TrialRecord(
            assignment.number, assignment.point, ending.scores, ending.state,
            excesses=ending.excesses,
        )  # fmt: skip
        chosen = winners([*self.chosen.get(assignment.study, ()), ended])
        self.chosen[assignment.study] = chosen
        study.best = chosen[0].score

    def _took(self, study: str, ending: Ending) -> list[tuple[str, float]]:
        """Seconds of a trial and of its seeds, without those found in the store."""
        seconds = [hours / self.progress.hours_each_second for hours in ending.hours if hours]
        seeds = [(seeds_of(study), each) for each in seconds]
        return [(trials_of(study), sum(seconds)), *seeds] if seconds else []

    def _later(self, work: Callable[[], object]) -> None:
        """Do it outside Tune's callbacks, which Tune waits for."""
        self.jobs.add([Job(f"later {next(self.numbers)}", work)])

    def _planned(self, study: str) -> PlannedStudy:
        return next(planned for planned in self.plan.studies if planned.study.name == study)

    # Winners on the reporting seeds

    def _add_reports(self, planned: PlannedStudy) -> None:
        rows = read_rows(self.store, f"{planned.key}/").to_pylist()
        chosen = winners(recorded_trials(rows, self.sweep, planned.study))
        name = planned.study.name
        if not chosen:
            self.progress.note(f"{name}: no trial was completed; nothing to report")
            self.progress.works[reports_of(name)].left = 0
            return
        best, runs = chosen[0], self.sweep.seeds.runs
        if best.violation > 0:
            self.progress.note(
                f"{name}: no complete trial keeps the constraints; trial {best.number} breaks them"
                " least"
            )
        if len(chosen) > 1:
            self.progress.note(
                f"{name}: {len(chosen)} trials on the Pareto front; its knee is trial {best.number}"
            )
        self.progress.studies[name].to_report = len(runs) * len(chosen)
        if not planned.reported:
            self.progress.works[reports_of(name)].left = len(runs) * len(chosen)
        jobs = []
        for one, run in itertools.product(chosen, runs):
            trial = TrialSeed.of(
                self.sweep, planned.study, one.number, one.point, run.seed, "reporting",
                replicate=run.replicate,
            )  # fmt: skip
            after = frozenset(step.key for step in reference_steps(self.sweep, *run))
            jobs.append(Job(trial.row_name, partial(self._run_report, trial), after))
        self.jobs.add(jobs)
        reports = frozenset(job.name for job in jobs)
        stored = {row["row"]: row for row in rows}
        scores = study_score_rows(self.sweep, planned.study, best.number, best.point)
        left = [wanted for wanted in scores if not wanted.is_in(stored)]
        self._add_scores(left, name, reports)

    # Scores of many models

    def _add_scores(self, rows: Iterable[ScoreRow], study: str, reports: frozenset[str]) -> None:
        """Unlearn the bank's models, observe them, and score them.

        Args:
            rows: what to score.
            study: the study's name, or `REFERENCES`.
            reports: the jobs that unlearn the study's replicates.
        """
        shared = {planned.step.key for planned in self.plan.references}
        jobs = []
        for wanted in rows:
            *of_models, scores = batches_of(wanted, shared)
            self.known.look(step for steps in of_models for step in steps)
            after = frozenset() if wanted.on_bank else reports
            names = []
            for steps in of_models:
                if all(self.known.get(step) for step in steps):
                    self.progress.ended_elsewhere(scores_of(study))
                    continue
                run = partial(self._run_scored, wanted, study, steps)
                names.append(f"scored {steps[-1].key}")
                jobs.append(Job(names[-1], run, after | _within(steps, shared)))
            write = partial(self._run_scores, wanted, study, scores)
            last = after.union(names, _within(scores, shared))
            jobs.append(Job(f"scores {wanted.name}", write, last))
        self.jobs.add(jobs)

    def _run_scored(self, wanted: ScoreRow, study: str, steps: list[Step]) -> bool:
        """Run steps for a score row; whether they were done."""
        if wanted.name in self.unscored:
            return False
        resources, title = self.sweep.resources.trial, f"{steps[-1]}"
        account = Account(self.sweep.name, resources.accelerators, wanted.name, scores_of(study))
        item = steps[-1].key
        try:
            done = self._in_worker(steps, account, item, scores_of(study), title)
        except (TrialError, WorkersLost) as error:
            self.unscored.add(wanted.name)
            if isinstance(error, TrialError):
                failed_scores(wanted, self.sweep, f"{error}", self.store)
            self.trials_failed += 1
            self.progress.end(item)
            self.progress.failed(study, title, f"{error}")
            return False
        for step, each in done:
            self._spend(step.key, each.record.accelerator_hours if each.ran else 0.0)
        seconds = sum(each.record.seconds for _, each in done if each.ran)
        self.progress.end(item, [(scores_of(study), seconds)] if seconds else None)
        return True

    def _run_scores(self, wanted: ScoreRow, study: str, scores: list[Step]) -> None:
        if not self._run_scored(wanted, study, scores):
            return
        steps = with_inputs(wanted.steps).values()
        records = self.store.read_records((step.name, step.key) for step in steps)
        write_scores(wanted, self.sweep, records, self.store)
        self.progress.note(f"done: {scores_of(study)}")

    def _run_report(self, trial: TrialSeed) -> None:
        resources = self.sweep.resources.trial
        what = f"{trial.name} on reporting {trial.unlearn.run_title}"
        steps = with_inputs(trial.measures(trial.unlearn), lambda step: step.asks == "training")
        self.progress.ask(what, reports_of(trial.name), what, list(steps))
        self._check_free(trial.unlearn, trial.account, what)
        task = _run_report.options(**_task_options(resources))
        sent = task.remote(trial, self.worker_config, resources, self.board)
        failure: str | None
        took: list[tuple[str, float]] = []
        try:
            scored: Scored = _fetch(sent, what)
        except HeldElsewhere as error:
            self.progress.put_off(what)
            raise Later from error
        except (WorkersLost, ProgramError) as error:
            failure = error.reason
            self.store.write_row(trial.row_name, lost_row(trial, failure))
        else:
            failure = scored.failure
            self._spend(trial.row_name, scored.accelerator_hours)
            hours = scored.accelerator_hours / self.progress.hours_each_second
            took = [(reports_of(trial.name), hours)] if hours else []
        self.progress.end(what, took)
        if failure is not None:
            self.trials_failed += 1
            self.progress.failed(trial.name, what, failure)
        self.progress.studies[trial.name].reported += 1


def _awaited(step: Step) -> frozenset[str]:
    """Keys of the inputs that other jobs run."""
    return frozenset(wanted.key for wanted in step.inputs().values() if wanted.batch is not None)


def _within(steps: Iterable[Step], keys: Collection[str]) -> frozenset[str]:
    """Keys of the inputs that are among `keys`."""
    read = (wanted.key for step in steps for wanted in step.inputs().values())
    return frozenset(key for key in read if key in keys)


def _refuse(step: Step) -> Uploaded:
    raise StepFailed(f"{step}", "its record is gone from the store", "run the sweep again")


def _trial_in_words(assignment: Assignment) -> str:
    return f"{assignment.study} trial {assignment.number}"


def _task_options(resources: Resources) -> dict[str, Any]:
    return {
        **task_options(resources, own_resources(resources)),
        "max_retries": resources.retries,
        "retry_exceptions": [WorkerLeaving],
    }


def _fetch(reference: Any, what: str) -> Any:
    """The result of a task; raises the original error if it failed."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, UnlearnRayError):
            raise cause from error
        # Not an error of a step, which would have a type of its own.
        reason = f"its worker failed: {reason_of(cause)}"
        failed = ProgramError(what, reason, "see the cluster's logs")
        failed.traceback = f"{error}"
        raise failed from error
    except ray.exceptions.RayError as error:
        reason = f"its worker was lost: {memory_kill(error) or reason_of(error)}"
        raise WorkersLost(what, reason, "run the sweep again") from error
