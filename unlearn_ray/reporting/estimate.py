"""What a plan will cost: accelerator hours by kind of work, from records or timed trainings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from unlearn_ray.config.sweep_schema import Resources, Study
from unlearn_ray.core.errors import UnlearnRayError
from unlearn_ray.methods.base import Method
from unlearn_ray.monitor.durations import earlier_records, kind_of
from unlearn_ray.monitor.time_left import Durations, Work, estimate
from unlearn_ray.reporting.expected import (
    REFERENCES,
    expect,
    reports_of,
    scores_of,
    seeds_of,
    trials_of,
)
from unlearn_ray.reporting.progress import Expected, SweepProgress
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.storage.store import Record, Store
from unlearn_ray.studies.plan import Plan, PlannedStudy, sweep_rows
from unlearn_ray.studies.rows import HOURS

# Most trials of a study whose records are read.
_MOST = 32
TIMED = "timed here"
UNKNOWN = "nothing tells"

Timed = Callable[[Step, Resources], float]


@dataclass(frozen=True)
class Part:
    """One kind of work that a plan leaves.

    Attributes:
        what: in words.
        work: its name among the expected works.
        models: how many models it is done for.
        epochs: of each model's training; "" if nothing is trained.
        resources: that each takes.
        kinds: of durations, which add up to that of one model.
        step: a training that may be timed; None if there is none.
        seconds: of one model; None if unknown.
        source: what tells so.
        together: how many models one item is for: a trial, those of all tuning seeds.
    """

    what: str
    work: str
    models: int
    epochs: str
    resources: Resources
    kinds: tuple[str, ...] = ()
    step: Step | None = None
    seconds: float | None = None
    source: str = UNKNOWN
    together: int = 1

    @property
    def hours(self) -> float | None:
        """Accelerator hours of all models."""
        if self.seconds is None:
            return None
        return self.models * self.resources.accelerator_hours(self.seconds)


def works_of(plan: Plan) -> dict[str, Expected]:
    """The works that a plan leaves, by name."""
    progress = SweepProgress(plan.sweep.name)
    expect(progress, plan)
    return progress.works


def parts_of(plan: Plan) -> list[Part]:
    """What a plan leaves to run, without durations."""
    works = works_of(plan)
    trainings = {
        kind_of(planned.step): planned.step
        for planned in plan.references
        if not planned.stored and planned.step.asks == "training"
    }
    names = [planned.study.name for planned in plan.studies]
    of_studies = {of(name) for name in names for of in (trials_of, reports_of)}
    found = [
        _of_references(name, work, trainings.get(work.kind), plan)
        for name, work in works.items()
        if work.left and name not in of_studies and (work.kind in trainings or work.parts)
    ]
    for planned in plan.studies:
        found += _of_study(planned, works, plan)
    for name in map(scores_of, (REFERENCES, *names)):
        if works[name].left:
            found.append(Part(name, name, works[name].left, "", plan.sweep.resources.trial))
    return found


def _of_references(name: str, work: Expected, step: Step | None, plan: Plan) -> Part:
    """Reference models of one kind that are trained (`step`), or measured."""
    purpose, resources = name.rpartition(" for ")[2], plan.sweep.resources
    if step is None:
        words = dict.fromkeys(kind.split()[0] for kind in work.parts)
        what = f"{', '.join(words)} for {purpose}"
        return Part(what, name, work.left, "", resources.trial, work.parts)
    what = f"{f'{step}'.replace(f' ({step.run_title})', '')} for {purpose}"
    epochs = f"{step.setting.training.epochs}"
    return Part(what, name, work.left, epochs, resources.training, (work.kind,), step)


def _of_study(planned: PlannedStudy, works: Mapping[str, Expected], plan: Plan) -> Iterator[Part]:
    """Its trials, each on every tuning seed, and its winner's runs on the reporting seeds."""
    sweep, study = plan.sweep, planned.study
    name, seeds = study.name, sweep.seeds
    step = Unlearn(setting=sweep.setting, seed=seeds.runs[0].seed, method=_longest(study))
    tuned, reported, seconds = trials_of(name), reports_of(name), (seeds_of(name),)
    per_trial = max(1, len(seeds.tuning))
    part = Part("", "", 0, _epochs(study), sweep.resources.trial, seconds, step)
    if trials := works[tuned].left:
        models = trials * per_trial
        yield replace(part, what=tuned, work=tuned, models=models, together=per_trial)
    if runs := works[reported].left:
        yield replace(part, what=f"{name} on reporting seeds", work=reported, models=runs)


def _longest(study: Study) -> Method:
    """The method at the end of its ranges where it trains the most epochs."""
    ends = [study.at(point) for point in study.corners()]
    return max(ends, key=lambda method: int(getattr(method, "epochs", 0)))


def _epochs(study: Study) -> str:
    every = {int(getattr(study.at(point), "epochs", 0)) for point in study.corners()}
    ends = dict.fromkeys((min(every), max(every)))
    return " to ".join(map(str, ends)) if any(every) else ""


def estimated(plan: Plan, store: Store, timed: Timed | None) -> list[Part]:
    """What a plan leaves to run, with what is known of its durations.

    Args:
        plan: with numbers of GPUs.
        store: whose records tell how long steps took; on a GPU, if the plan requests GPUs.
        timed: wall seconds of a training with these resources, for what no record tells; None if
            none can be timed here.

    Raises:
        StoreError: the store cannot be read.
    """
    recorded = _recorded(plan, store)
    took: dict[str, float] = {}
    found = []
    for part in parts_of(plan):
        samples = recorded[part.resources.gpus > 0]
        if part.kinds and all(kind in samples for kind in part.kinds):
            seconds = sum(fmean(samples[kind]) for kind in part.kinds)
            part = replace(part, seconds=seconds, source="records")
        elif part.step is not None and timed is not None:
            part = _timed(part, part.step, timed, took)
        found.append(part)
    return found


def _timed(part: Part, step: Step, timed: Timed, took: dict[str, float]) -> Part:
    """A part whose training is timed, unless one of its kind was; `took` has their seconds."""
    kind = kind_of(step)
    try:
        if kind not in took:
            took[kind] = timed(step, part.resources)
    except UnlearnRayError as error:
        return replace(part, source=f"not timed: {error.subject}: {error.reason}")
    measuring = "" if step.asks == "training" else ", without measuring"
    return replace(part, seconds=took[kind], source=TIMED + measuring)


def by_the_clock(plan: Plan, parts: list[Part], nodes: Sequence[tuple[float, float]]) -> float:
    """Seconds until all is done whose duration is known.

    Args:
        plan: with numbers of GPUs.
        parts: of it.
        nodes: CPUs and GPUs of each node.
    """
    works, durations, left = works_of(plan), Durations(), []
    for part in parts:
        if part.seconds is None:
            continue
        groups = sum(part.resources.workers_on(*node) for node in nodes)
        work, places = works[part.work], max(1, groups // part.resources.fewest_workers)
        durations.took(part.work, part.seconds * part.together)
        waiting = part.models // part.together
        left.append(
            Work(part.work, part.work, waiting, (), places, after=work.after, most=work.most)
        )
    span = estimate(left, durations)
    return span.middle if span else 0.0


Samples = dict[str, list[float]]


def _recorded(plan: Plan, store: Store) -> dict[bool, Samples]:
    """Seconds by kind, of what ran on a GPU (True) and on CPUs (False)."""
    found: dict[bool, Samples] = {True: defaultdict(list), False: defaultdict(list)}
    for kind, record in earlier_records(plan, store):
        for on_gpu in _ran_on(record):
            found[on_gpu][kind].append(record.seconds)
    if not any(planned.past for planned in plan.studies):
        return found
    shares = _shares_of_unlearning(plan, store)
    for planned in plan.studies:
        keys = [key for study, key in shares if study == planned.key][:_MOST]
        for record in store.read_records(("unlearn", key) for key in keys).values():
            whole = record.seconds / shares[planned.key, record.key]
            for on_gpu in _ran_on(record):
                found[on_gpu][seeds_of(planned.study.name)].append(whole)
    return found


def _shares_of_unlearning(plan: Plan, store: Store) -> dict[tuple[str, str], float]:
    """Of the hours of each trial and seed, the share of unlearning, by study and step."""
    unlearn, measure = HOURS
    columns = (*HOURS, "study_key", "purpose", "key_unlearn")
    return {
        (row["study_key"], row["key_unlearn"]): row[unlearn] / (row[unlearn] + (row[measure] or 0))
        for row in sweep_rows(plan.sweep, store, columns)
        if row["purpose"] == "tuning" and row.get("key_unlearn") and row.get(unlearn)
    }


def _ran_on(record: Record) -> tuple[bool, ...]:
    """Whether a step ran on a GPU; both if it does not say so, as it computed nothing."""
    device = record.result.get("device")
    return (device.startswith("cuda"),) if isinstance(device, str) else (True, False)
