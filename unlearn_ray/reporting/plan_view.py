"""A plan as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from unlearn_ray.config.forgotten import Forgotten
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.config.yaml_tree import in_yaml
from unlearn_ray.core.boundary import one_line
from unlearn_ray.core.errors import listed, shown
from unlearn_ray.core.printable import printable_lines
from unlearn_ray.core.words import counted
from unlearn_ray.steps.base import Step
from unlearn_ray.studies.history import winner, winners
from unlearn_ray.studies.plan import RETRY, Plan, PlannedStep, PlannedStudy

# Most measurements to list per study.
_SHOWN = 10


def plan_view(plan: Plan, store: str, costs: str = "") -> str:
    """What a sweep would run against a store, in plain text.

    Args:
        plan: the plan.
        store: its URL.
        costs: what it would compute on and how long, as text; shown before the last line.
    """
    lines = [f"Sweep {plan.sweep.name} on {store}", "", "To be forgotten:"]
    lines += [f"  {line}" for line in _forgotten(plan.forgotten)]
    lines += ["", "Reference steps:"]
    lines += [f"  {line}" for line in _references(plan)]
    lines += [f"  {line}" for line in _brought(plan.sweep)]
    if not plan.sweep.setting.compares:
        lines.append("  no retrained model: nothing will be compared with retraining")
    lines += _bank(plan)
    lines += ["", _studies(plan)]
    tuned = bool(plan.sweep.seeds.tuning)
    for planned in plan.studies:
        lines += [f"  {_study(planned, tuned)}", *(f"    {line}" for line in _space(planned))]
        if starts := min(len(plan.sweep.starts(planned.study)), planned.wanted):
            lines.append(f"    the first {counted(starts, 'trial')} from search.start_from")
        lines += [f"    {change}" for change in planned.changed]
    seeds_of = plan.sweep.seeds
    replicates = f"; {seeds_of.replicates} replicates each" if seeds_of.replicates > 1 else ""
    listed_seeds = f"seeds {_listed(seeds_of.reporting)}{replicates}"
    several = len(plan.sweep.objective.each()) > 1
    best = "each trial of a study's Pareto front" if several else "each study's best trial"
    lines += ["", f"Reporting ({listed_seeds}){f', {best}' if tuned else ''}:"]
    for planned in plan.studies:
        lines += [f"  {_report(planned, len(seeds_of.runs))}", *_to_measure(planned)]
    lines += _scores(plan)
    lines += _budget(plan)
    lines += ["", costs] if costs else []
    return printable_lines("\n".join([*lines, "", _to_run(plan)]))


def _studies(plan: Plan) -> str:
    seeds, window = _listed(plan.sweep.seeds.tuning), plan.sweep.search.lag
    if not seeds:
        return "Studies (no tuning seeds: nothing is searched):"
    return f"Studies (tuning seeds {seeds}, at most {window} trials at a time):"


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
    to_score = len(_to_run_of(plan.scoring)) if plan.scores else 0
    to_score += sum(len(_to_run_of(each.scoring)) for each in plan.studies if each.scores)
    further += f", {to_score} steps of scores" if to_score else ""
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
        if step.setting.masks is not None:
            continue
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


def _brought(sweep: Sweep) -> Iterator[str]:
    """What to know of reference models that are not trained here."""
    setting, original = sweep.setting, sweep.setting.original
    if original is None:
        return
    normalised = setting.family.augmentation
    yield (
        f"the original is brought; its images are normalised by mean {list(normalised.mean)} and "
        f"std {list(normalised.std)}"
    )
    if original.expect is not None:
        yield (
            f"its test accuracy is to be {original.expect:g} within {original.tolerance:g}, before "
            "any trial"
        )
    if setting.validation and not original.names("seed"):
        yield (
            "it is one model for all seeds: where it was trained on their validation sets, these "
            "are not unseen by it"
        )
    if setting.retrained == "train":
        yield "the retrained models are trained from scratch, by the sweep's `training`"


def _bank(plan: Plan) -> list[str]:
    """What the shared models of a bank cost, by kind of step, and which of them failed."""
    bank = plan.sweep.bank
    if bank is None:
        return []
    steps = [planned for planned in plan.references if planned.step.setting.masks is not None]
    lines = [
        "",
        f"Bank of {bank.models} models on random masks of {bank.samples:,} samples "
        f"(seed {bank.seed}), for all methods and sweeps:",
        *(f"  {line}" for line in _by_kind(steps)),
    ]
    failed = [planned for planned in steps if planned.failure is not None]
    lines += [f"  {each.step}  {each.step.key}  {_state(each)}" for each in failed[:_SHOWN]]
    return [*lines, f"  and {len(failed) - _SHOWN} more"] if len(failed) > _SHOWN else lines


def _by_kind(steps: Collection[PlannedStep]) -> Iterator[str]:
    """A line for each kind of step: how many there are, and how many are still to be run."""
    every = Counter(planned.step.name for planned in steps)
    missing = Counter(planned.step.name for planned in _to_run_of(steps))
    width = max((len(f"{count} {kind}") for kind, count in every.items()), default=0)
    for kind, count in every.items():
        what, left = f"{count} {kind}", missing[kind]
        state = f"{count - left} in the store, {left} to run" if left < count else "to run"
        yield f"{what:<{width}}  {state if left else 'in the store'}"


def _to_run_of(steps: Collection[PlannedStep]) -> list[PlannedStep]:
    return [planned for planned in steps if not planned.stored]


def _scores(plan: Plan) -> list[str]:
    """A line for each method: what its scores of many models cost, in addition to the bank."""
    if not plan.sweep.scores:
        return []
    names = ", ".join(score.name for score in plan.sweep.scores)
    lines = ["", f"Scores ({names}), each with the models that it needs in addition:"]
    lines.append(f"  the reference models: {_scoring(plan.scoring, bool(plan.scores))}")
    for planned in plan.studies:
        after = "after its study, " if planned.left else ""
        lines.append(
            f"  {planned.study.name}: {after}{_scoring(planned.scoring, bool(planned.scores))}"
        )
    return lines


def _scoring(steps: Collection[PlannedStep], outdated: bool) -> str:
    """Steps by kind, as far as they are still to be run; rows may be written later than those."""
    if not outdated:
        return "in the store"
    missing = Counter(planned.step.name for planned in _to_run_of(steps))
    if not missing:
        return "rows to be written"
    return f"{', '.join(f'{count} {kind}' for kind, count in missing.items())} to run"


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
        unknown = "all its samples" if taken.whole_classes else "some of its samples"
        samples = f"{_span(one.counts.values(), ' samples')}" if one.counts else unknown
        yield f"class {shown(one.name)!r} (label {one.label}): {samples}"
    if len(taken.classes) > _SHOWN:
        yield f"and {len(taken.classes) - _SHOWN} more classes"
    if taken.note is not None:
        yield taken.note
    if taken.named is not None:
        yield f"{taken.named:,} samples, named one by one: none of them is held out for validation"
    if taken.by_class:
        by_class = (f"{count:,} of {shown(name)!r}" for name, count in taken.by_class.items())
        yield f"by class: {listed(by_class, _SHOWN)}"
    counts = taken.counts.values()
    if not counts:
        yield (
            f"of {taken.trained_on:,} samples that are trained on; the number is known once the "
            "dataset has been decoded on this machine"
        )
        return
    ends = sorted({min(counts), max(counts)})
    share = " to ".join(f"{100 * count / taken.trained_on:.2f}" for count in ends)
    drawn = "" if taken.whole_classes or taken.named is not None else ", drawn per seed"
    yield (
        f"{_span(counts, f' of {taken.trained_on:,} samples that are trained on')}, "
        f"{share} %{drawn}"
    )
    count = taken.counts[taken.first_seed]
    more = f" and {count - len(taken.first):,} more" if count > len(taken.first) else ""
    yield f"under seed {taken.first_seed}: {', '.join(taken.first)}{more}"


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


def _study(planned: PlannedStudy, tuned: bool) -> str:
    if not tuned:
        return f"{planned.study.name}: reported as it is"
    states = Counter(trial.state for trial in planned.past)
    ended = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    searched = ", ".join(planned.study.space)
    over = f" over {searched}" if searched else ", nothing searched"
    trials = f"{planned.wanted} trial{'' if planned.wanted == 1 else 's'}{over}"
    return (
        f"{planned.study.name}: {trials};"
        f" {f'in the store {ended}; ' if ended else ''}{planned.left} to run"
    )


def _broken(planned: PlannedStudy) -> str:
    """Says so if no complete trial keeps the constraints."""
    best = winner(planned.past)
    return "; no trial keeps the constraints" if best is not None and best.violation > 0 else ""


def _space(planned: PlannedStudy) -> Iterator[str]:
    """The searched ranges, one a line, as a sweep file writes them."""
    space = planned.study.space
    width = max((len(name) for name in space), default=0)
    for name, searched in space.items():
        yield f"{f'{name}:':<{width + 1}}  {in_yaml(searched.as_mapping())}"


def _report(planned: PlannedStudy, seeds: int) -> str:
    if planned.blocked:
        return f"{planned.study.name}: a reference step failed"
    if planned.left:
        return f"{planned.study.name}: after its study"
    if planned.reported:
        return f"{planned.study.name}: in the store{_broken(planned)}"
    if _missing(planned):
        return f"{planned.study.name}: metrics to be measured"
    chosen = max(1, len(winners(planned.past)))
    return f"{planned.study.name}: up to {seeds * chosen} runs"
