"""A whole sweep that takes seconds, run step by step in this process: no Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path

from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.core.runs import Run
from unlearn_ray.steps.base import Step, with_inputs
from unlearn_ray.steps.graph import Graph
from unlearn_ray.steps.known import Known
from unlearn_ray.steps.once import Account, Done, Uploaded, run_here
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.bank import (
    ScoreRow,
    reference_score_rows,
    study_score_rows,
    write_scores,
)
from unlearn_ray.studies.plan import make_plan, reference_steps
from unlearn_ray.studies.rows import Purpose
from unlearn_ray.studies.trial import Scored, TrialSeed, reference_row, score, write_grown
from unlearn_ray.train.compute import Compute

SWEEP = """\
name: tiny
dataset: {digits: {image_size: 8}}
validation: 0.5
forget_set: {random: {fraction: 0.1}}
model: {resnet8: {width: 4}}
family: simclr
training: {epochs: 1, batch_size: 128}
probe: {epochs: 2}
metrics: [retain_accuracy, test_accuracy]
methods:
  finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}
seeds:
  tuning: [0]
  reporting: [1]
"""


def tiny_sweep(folder: Path, text: str = SWEEP) -> Sweep:
    """The sweep of `text`, whose file lies in `folder`."""
    path = folder / "tiny.yaml"
    path.write_text(text, encoding="utf-8")
    return load_sweep(path)


def runtime(store: Path | str, checkpoint_seconds: float = 600) -> Runtime:
    """A process that has run nothing yet."""
    return Runtime(open_store(str(store)), Compute.cpu(), checkpoint_seconds)


def run(step: Step, runtime: Runtime) -> Done:
    """Run a step, unless the store has its record."""
    return graph(runtime).ensure(step)[0]


def graph(runtime: Runtime) -> Graph:
    """Runs steps in this process."""
    account = Account("tiny", accelerators=1.0)
    return Graph(runtime.known, partial(run_here, runtime=runtime), account)


def ensure(
    step: Step,
    store: Store,
    execute: Callable[[Step], Uploaded],
    account: Account,
    *,
    give_up: Callable[[], bool] = lambda: False,
) -> Done:
    """Run a step by a process that has met no record yet, unless the store has its record."""
    return Graph(Known(store), execute, account, give_up=give_up).ensure(step)[0]


def run_references(sweep: Sweep, seed: int, runtime: Runtime, replicate: int = 0) -> None:
    """Both reference models of a run and their evaluations."""
    for step in reference_steps(sweep, seed, replicate):
        run(step, runtime)


def trial(sweep: Sweep, study: Study, seed: int, replicate: int = 0) -> TrialSeed:
    """The one trial of a study that searches nothing."""
    purpose: Purpose = "tuning" if seed in sweep.seeds.tuning else "reporting"
    return TrialSeed.of(sweep, study, 0, {}, seed, purpose, replicate=replicate)


def score_rows(sweep: Sweep) -> list[ScoreRow]:
    """All score rows of a sweep that searches nothing."""
    of_studies = (study_score_rows(sweep, study, 0, {}) for study in sweep.studies)
    return [*reference_score_rows(sweep), *chain.from_iterable(of_studies)]


def finish_scores(wanted: Iterable[ScoreRow], sweep: Sweep, runtime: Runtime) -> None:
    """The bank, as far as they need it, and these scores."""
    for one in wanted:
        for step in one.steps:
            run(step, runtime)
        steps = with_inputs(one.steps).values()
        records = runtime.store.read_records((step.name, step.key) for step in steps)
        write_scores(one, sweep, records, runtime.store)


def finish(sweep: Sweep, runtime: Runtime) -> list[Scored]:
    """Everything that the sweep wants of the store; returns how its trials went."""
    scored: list[Scored] = []
    for seed, replicate in sweep.seeds.tuning_runs:
        run_references(sweep, seed, runtime, replicate)
    trials = [Run(seed) for seed in sweep.seeds.tuning]
    for seed, replicate in (*trials, *sweep.seeds.runs):
        run_references(sweep, seed, runtime, replicate)
        for method in sweep.reference_models if seed in sweep.seeds.reporting else ():
            name, row = reference_row(sweep, seed, method, graph(runtime), replicate)
            write_grown(name, row, sweep.metrics, runtime.store)
        for study in sweep.studies:
            failed = any(one.failure for one in scored if one.row["study"] == study.name)
            if not failed:
                scored.append(score(trial(sweep, study, seed, replicate), runtime))
    finish_scores(score_rows(sweep), sweep, runtime)
    assert make_plan(sweep, runtime.store).complete
    return scored
