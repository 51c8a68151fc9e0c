"""The work that a plan leaves, as the driver's progress counts it."""

from __future__ import annotations

from collections.abc import Iterable

from unlearn_ray.config.sweep_schema import Resources, Sweep
from unlearn_ray.monitor.durations import kind_of
from unlearn_ray.reporting.progress import Expected, SweepProgress
from unlearn_ray.steps.base import Step, with_inputs
from unlearn_ray.steps.graph import batches
from unlearn_ray.steps.kinds.measure import measures
from unlearn_ray.steps.references import reference
from unlearn_ray.studies.bank import batches_of
from unlearn_ray.studies.history import winners
from unlearn_ray.studies.plan import Plan, PlannedStudy

# The name of the reference models' scores, as of a study's.
REFERENCES = "the reference models"


def trials_of(study: str) -> str:
    """The kind and name of a study's trials."""
    return f"trials of {study}"


def seeds_of(study: str) -> str:
    """The kind of one seed of a study's trials."""
    return f"seeds of {study}"


def scores_of(study: str) -> str:
    """The kind and name of the unlearned models that a study's scores read, and of the scores."""
    return f"scores of {study}"


def reports_of(study: str) -> str:
    """The kind and name of a study's reporting runs."""
    return f"reports of {study}"


def training_of(step: Step, sweep: Sweep) -> str:
    """The name of the work that a training belongs to."""
    return f"{kind_of(step)} for {_purpose(step, sweep)}"


def measuring_of(steps: Iterable[Step], sweep: Sweep) -> str:
    """The name of the work that the steps of a batch belong to."""
    steps = list(steps)
    return f"{' and '.join(map(kind_of, steps))} for {_purpose(steps[0], sweep)}"


def _purpose(step: Step, sweep: Sweep) -> str:
    if step.setting.masks is not None:
        return "the bank"
    return "tuning" if step.seed in sweep.seeds.tuning else "reporting"


def expect(progress: SweepProgress, plan: Plan) -> None:
    """Register everything that the plan still needs in `progress`."""
    sweep = plan.sweep
    todo = {planned.step.key: planned.step for planned in plan.references if not planned.stored}
    for step in todo.values():
        if step.asks == "training":
            work = progress.works.setdefault(
                training_of(step, sweep),
                Expected(kind_of(step), "training", 0, starting="training"),
            )
            work.left += 1
            work.after |= {
                training_of(one, sweep) for one in step.inputs().values() if one.key in todo
            }
    trainings = frozenset(progress.works)
    for steps in batches(todo.values()).values():
        parts = tuple(map(kind_of, steps))
        name = measuring_of(steps, sweep)
        work = progress.works.setdefault(
            name, Expected(name, "trial", 0, parts=parts, starting="measuring")
        )
        work.left += 1
        needed = (one for one in with_inputs(steps).values() if one.key in todo)
        work.after |= {training_of(one, sweep) for one in needed} & trainings
    references = frozenset(progress.works)
    tuning = frozenset(name for name in references if name.endswith(" for tuning"))
    for planned in plan.studies:
        name = planned.study.name
        progress.works[trials_of(name)] = Expected(
            kind=trials_of(name), asks="trial", left=planned.left, after=tuning,
            most=sweep.search.lag, starting="trial", warm=True,
        )  # fmt: skip
    for planned in plan.studies:
        name = planned.study.name
        progress.works[reports_of(name)] = Expected(
            kind=reports_of(name), asks="trial",
            left=0 if planned.reported and not planned.left else _reports(planned, sweep),
            after=references | {trials_of(name)}, starting="measuring",
            parts=(seeds_of(name), *_measured_by_reports(sweep)),
        )  # fmt: skip

    tables = {planned.study.name: planned.scores for planned in plan.studies}
    stored = {planned.step.key for planned in plan.references}
    for name, scores in {REFERENCES: plan.scores, **tables}.items():
        left = sum(len(batches_of(row, stored)) for row in scores)
        progress.works[scores_of(name)] = Expected(
            kind=scores_of(name), asks="trial", left=left, after=references, starting="measuring"
        )


def _reports(planned: PlannedStudy, sweep: Sweep) -> int:
    """The reporting runs of a study's winners: one trial's until it is known how many there are."""
    chosen = 1 if planned.left else max(1, len(winners(planned.past)))
    return chosen * len(sweep.seeds.runs)


def _measured_by_reports(sweep: Sweep) -> list[str]:
    """The kinds of measurements of a report in addition to those of its trial's objective.

    They have samples: the reference models are measured with the same metrics.
    """
    seed = sweep.seeds.reporting[0]
    original = reference("original", sweep.setting, seed)
    others = [metric for metric in sweep.metrics if metric not in sweep.scored_by]
    return [kind_of(step) for step in measures(original, others, sweep.seeds.other(seed))]


def needs(resources: Resources) -> str:
    """The resource that a waiting step needs: `a GPU`, `2 CPUs`."""
    workers = resources.fewest_workers
    amount, what = (resources.gpus, "GPU") if resources.gpus else (resources.cpu, "CPU")
    total = workers * amount
    return f"a {what}" if total <= 1 else f"{total:g} {what}s"
