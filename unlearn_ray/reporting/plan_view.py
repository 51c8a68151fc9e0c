"""A plan as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from unlearn_ray.config.forgotten import Forgotten
from unlearn_ray.core.boundary import one_line
from unlearn_ray.core.errors import listed, shown
from unlearn_ray.core.printable import printable_lines
from unlearn_ray.steps.base import Step
from unlearn_ray.studies.plan import RETRY, Plan, PlannedStep, PlannedStudy

# Most measurements to list per study.
_SHOWN = 10


def plan_view(plan: Plan, store: str) -> str:
    """What a sweep would run against a store, in plain text."""
    lines = [f"Sweep {plan.sweep.name} on {store}", "", "To be forgotten:"]
    lines += [f"  {line}" for line in _forgotten(plan.forgotten)]
    lines += ["", "Reference steps:"]
    lines += [f"  {line}" for line in _references(plan)]
    seeds, window = _listed(plan.sweep.seeds.tuning), plan.sweep.search.lag
    lines += ["", f"Studies (tuning seeds {seeds}, at most {window} trials at a time):"]
    for planned in plan.studies:
        lines += [f"  {_study(planned)}", *(f"    {change}" for change in planned.changed)]
    reporting = plan.sweep.seeds.reporting
    lines += ["", f"Reporting (seeds {_listed(reporting)}), each study's best trial:"]
    for planned in plan.studies:
        lines += [f"  {_report(planned, len(reporting))}", *_to_measure(planned)]
    lines += _budget(plan)
    return printable_lines("\n".join([*lines, "", _to_run(plan)]))


def _to_run(plan: Plan) -> str:
    if plan.complete:
        return "Nothing is left to run."
    if failed := len(plan.failed_references):
        what = "reference step" if failed == 1 else "reference steps"
        return f"Nothing can run: {failed} {what} failed; {RETRY}."
    missing = Counter(planned.step.name for planned in plan.references if not planned.stored)
    trials = sum(planned.left for planned in plan.studies)
    measured = sum(len(_missing(planned)) for planned in plan.studies)
    further = f", {measured} measurements of best trials" if measured else ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in missing.items())
    return (
        f"To run: {missing.total()} of {len(plan.references)} reference steps"
        f"{f' ({kinds})' if kinds else ''}, {trials} trials{further}."
    )


def _references(plan: Plan) -> Iterator[str]:
    """A line for each training, and one for all observations and measurements of a model."""
    batches: dict[str, list[PlannedStep]] = {}
    for planned in plan.references:
        step = planned.step
        batches.setdefault(f"{step}" if step.batch is None else step.batch_title, []).append(
            planned
        )
    width = max(map(len, batches))
    for title, steps in batches.items():
        missing = [planned for planned in steps if not planned.stored]
        if len(steps) == 1:
            yield f"{title:<{width}}  {steps[0].step.key}  {_state(steps[0])}"
            continue
        kinds = Counter(planned.step.name for planned in steps)
        what = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        stored = len(steps) - len(missing)
        state = (
            f"{stored} of {len(steps)} in the store"
            if missing and stored
            else _state(missing[0] if missing else steps[0])
        )
        yield f"{title:<{width}}  {what:<16}  {state}"
        listed_alone = [each for each in missing if stored or each.failure is not None]
        for planned in listed_alone[:_SHOWN]:
            yield f"  {planned.step}  {planned.step.key}  {_state(planned)}"
        if len(listed_alone) > _SHOWN:
            yield f"  and {len(listed_alone) - _SHOWN} more"


def _missing(planned: PlannedStudy) -> list[Step]:
    """The missing measurements of a reported winner: metrics that were added later."""
    steps = [report.step for report in planned.reports if not report.stored]
    # A missing model is still to be run.
    return [] if any(step.distributed for step in steps) else steps


def _to_measure(planned: PlannedStudy) -> list[str]:
    missing = _missing(planned)
    shown = [f"    {step}  {step.key}  to run" for step in missing[:_SHOWN]]
    more = len(missing) - len(shown)
    return [*shown, f"    and {more} more"] if more else shown


def _forgotten(taken: Forgotten) -> Iterator[str]:
    """What to check before anything is trained: classes by name, counts, samples."""
    for one in taken.classes[:_SHOWN]:
        samples = f"{_span(one.counts.values(), ' samples')}" if one.counts else "all its samples"
        yield f"class {shown(one.name)!r} (label {one.label}): {samples}"
    if len(taken.classes) > _SHOWN:
        yield f"and {len(taken.classes) - _SHOWN} more classes"
    if taken.named is not None:
        yield f"{taken.named:,} samples, named one by one"
    counts = taken.counts.values()
    if not counts:
        yield (
            f"of {taken.trained_on:,} samples that are trained on; the number is known once the "
            "dataset has been decoded on this machine"
        )
        return
    ends = sorted({min(counts), max(counts)})
    share = " to ".join(f"{100 * count / taken.trained_on:.2f}" for count in ends)
    drawn = "" if taken.classes or taken.named is not None else ", drawn per seed"
    yield (
        f"{_span(counts, f' of {taken.trained_on:,} samples that are trained on')}, "
        f"{share} %{drawn}"
    )
    count = taken.counts[taken.first_seed]
    more = f" and {count - len(taken.first):,} more" if count > len(taken.first) else ""
    yield f"under seed {taken.first_seed}: {', '.join(taken.first)}{more}"
    if taken.never_trained:
        by_seed = [f"{count:,} under seed {seed}" for seed, count in taken.never_trained.items()]
        yield (
            f"of the {taken.named:,} named samples, some are in a seed's validation set, so that "
            f"no model sees them and they are left out: {listed(by_seed, _SHOWN)}"
        )


def _span(counts: Collection[int], of: str = "") -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}{of}" if low == high else f"{low:,} to {high:,}{of} (by seed)"


def _budget(plan: Plan) -> list[str]:
    hours = plan.sweep.budget.hours
    if hours is None:
        return []
    spent = f"Budget: {plan.spending.total:.2f} of {hours:g} accelerator hours spent"
    unlaunched = sum(max(0, planned.wanted - planned.ended) for planned in plan.studies)
    over = plan.sweep.budget.spent(plan.spending.total) and unlaunched
    return ["", f"{spent}; {unlaunched} trials are not launched." if over else f"{spent}."]


def _state(planned: PlannedStep) -> str:
    if planned.failure is not None:
        return f"failed: {one_line(planned.failure)}"
    return "in the store" if planned.stored else "to run"


def _listed(seeds: tuple[int, ...]) -> str:
    return listed(seeds, _SHOWN)


def _study(planned: PlannedStudy) -> str:
    states = Counter(trial.state for trial in planned.past)
    ended = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    searched = ", ".join(planned.study.space)
    over = f" over {searched}" if searched else ", nothing searched"
    trials = f"{planned.wanted} trial{'' if planned.wanted == 1 else 's'}{over}"
    return (
        f"{planned.study.name}: {trials};"
        f" {f'in the store {ended}; ' if ended else ''}{planned.left} to run"
    )


def _report(planned: PlannedStudy, seeds: int) -> str:
    if planned.blocked:
        return f"{planned.study.name}: a reference step failed"
    if planned.left:
        return f"{planned.study.name}: after its study"
    if planned.reported:
        return f"{planned.study.name}: in the store"
    if _missing(planned):
        return f"{planned.study.name}: metrics to be measured"
    return f"{planned.study.name}: up to {seeds} runs"
