"""A plan, for people."""

from __future__ import annotations

from collections import Counter

from unlearn_ray.pipeline.plan import Plan, PlannedStep, PlannedStudy
from unlearn_ray.pipeline.steps import Evaluate

# Most evaluations of one study that are listed.
_SHOWN = 10


def plan_view(plan: Plan, store: str) -> str:
    """What a sweep would run against a store, in plain text."""
    lines = [f"Sweep {plan.sweep.name} on {store}", "", "Reference steps:"]
    width = max(len(str(planned.step)) for planned in plan.references)
    lines += [
        f"  {planned.step!s:<{width}}  {planned.step.key}  {_state(planned)}"
        for planned in plan.references
    ]
    lines += _never_trained(plan)
    seeds, window = _listed(plan.sweep.seeds.tuning), plan.sweep.search.lag
    lines += ["", f"Studies (tuning seeds {seeds}, at most {window} trials at a time):"]
    for planned in plan.studies:
        lines += [f"  {_study(planned)}", *(f"    {change}" for change in planned.changed)]
    reporting = plan.sweep.seeds.reporting
    lines += ["", f"Reporting (seeds {_listed(reporting)}), each study's best trial:"]
    for planned in plan.studies:
        lines += [f"  {_report(planned, len(reporting))}", *_to_measure(planned)]
    lines += _budget(plan)
    return "\n".join([*lines, "", _to_run(plan)])


def _to_run(plan: Plan) -> str:
    if plan.complete:
        return "Nothing is left to run."
    steps = sum(not planned.stored for planned in plan.references)
    trials = sum(planned.left for planned in plan.studies)
    measured = sum(len(_missing(planned)) for planned in plan.studies)
    further = f", {measured} evaluations of best trials" if measured else ""
    return f"To run: {steps} of {len(plan.references)} reference steps, {trials} trials{further}."


def _missing(planned: PlannedStudy) -> list[Evaluate]:
    """What a reported winner is still to be measured by: metrics that came later."""
    steps = [report.step for report in planned.reports if not report.stored]
    if not all(isinstance(step, Evaluate) for step in steps):
        return []  # it is still to be run
    return [step for step in steps if isinstance(step, Evaluate)]


def _to_measure(planned: PlannedStudy) -> list[str]:
    missing = _missing(planned)
    shown = [f"    {step}  {step.key}  to run" for step in missing[:_SHOWN]]
    more = len(missing) - len(shown)
    return [*shown, f"    and {more} more"] if more else shown


def _never_trained(plan: Plan) -> list[str]:
    if not plan.never_trained:
        return []
    named = plan.sweep.setting.forget_set.named_ids()
    assert named is not None
    counts = ", ".join(f"{count} under seed {seed}" for seed, count in plan.never_trained.items())
    return [
        "",
        f"Of the {len(named)} named samples, some are in a seed's validation set, so that no"
        f" model sees them and they are left out: {counts}.",
    ]


def _budget(plan: Plan) -> list[str]:
    hours = plan.sweep.budget.hours
    if hours is None:
        return []
    spent = f"Budget: {plan.spending.total:.2f} of {hours:g} accelerator hours spent"
    unlaunched = sum(max(0, planned.wanted - planned.ended) for planned in plan.studies)
    over = plan.sweep.budget.spent(plan.spending.total) and unlaunched
    return ["", f"{spent}; {unlaunched} trials are not launched." if over else f"{spent}."]


def _state(planned: PlannedStep) -> str:
    return "in the store" if planned.stored else "to run"


def _listed(seeds: tuple[int, ...]) -> str:
    return ", ".join(str(seed) for seed in seeds)


def _study(planned: PlannedStudy) -> str:
    states = Counter(trial.state for trial in planned.past)
    ended = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    searched = ", ".join(planned.study.space) or "nothing"
    return (
        f"{planned.study.name}: {planned.wanted} trials over {searched};"
        f" {f'in the store {ended}; ' if ended else ''}{planned.left} to run"
    )


def _report(planned: PlannedStudy, seeds: int) -> str:
    if planned.left:
        return f"{planned.study.name}: after its study"
    if planned.reported:
        return f"{planned.study.name}: in the store"
    if _missing(planned):
        return f"{planned.study.name}: metrics to be measured"
    return f"{planned.study.name}: up to {seeds} runs"
