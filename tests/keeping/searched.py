"""A sweep that searches, run in this process: real steps, and points that the test chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.tiny import finish_scores, graph, run_references
from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.studies.bank import reference_score_rows, study_score_rows
from unlearn_ray.studies.history import recorded_trials, winners
from unlearn_ray.studies.plan import make_plan, sweep_rows
from unlearn_ray.studies.trial import TrialSeed, reference_row, score, write_grown

SEARCHED = """\
name: searched
dataset: {digits: {image_size: 8}}
validation: 0.5
forget_set: {random: {fraction: 0.1}}
model: {resnet8: {width: 4}}
family: supervised
training: {epochs: 1, batch_size: 128, learning_rate: 0.05}
metrics: [retain_accuracy, test_accuracy, forget_accuracy]
methods:
  finetune: {epochs: 1, batch_size: 128, learning_rate: {log_uniform: [0.0001, 0.1]}}
  away: {gradient_ascent: {epochs: 1, batch_size: 128, learning_rate: {log_uniform: [0.0001, 0.1]}}}
search: {trials: 3, startup: 1}
seeds:
  tuning: [0]
  reporting: [1]
"""


Points = list[dict[str, Any]]


def points(trials: int) -> Points:
    """The points of a study's trials."""
    return [{"learning_rate": 0.02 / (number + 1)} for number in range(trials)]


def search(
    sweep: Sweep,
    runtime: Runtime,
    most: int | None = None,
    chosen: Callable[[Study], Points] | None = None,
) -> None:
    """Run a sweep, unless the store has it.

    Args:
        sweep: of searches with one objective.
        runtime: where it runs.
        most: only so many trials of each study, and no reports.
        chosen: the points of a study's trials; `points` by default.
    """
    announce(make_plan(sweep, runtime.store), runtime.store)
    for run in (*sweep.seeds.tuning_runs, *sweep.seeds.runs):
        run_references(sweep, run.seed, runtime, run.replicate)
    for study in sweep.studies:
        tried = points(sweep.trials(study)) if chosen is None else chosen(study)
        for number, point in enumerate(tried[:most]):
            for seed in sweep.seeds.tuning:
                score(TrialSeed.of(sweep, study, number, point, seed, "tuning"), runtime)
    if most is None:
        _report(sweep, runtime)
        assert make_plan(sweep, runtime.store).complete


def _report(sweep: Sweep, runtime: Runtime) -> None:
    rows = sweep_rows(sweep, runtime.store)
    for run in sweep.seeds.runs:
        for method in sweep.reference_models:
            name, row = reference_row(sweep, run.seed, method, graph(runtime), run.replicate)
            write_grown(name, row, sweep.metrics, runtime.store)
    finish_scores(reference_score_rows(sweep), sweep, runtime)
    for study in sweep.studies:
        for best in winners(recorded_trials(rows, sweep, study)):
            for run in sweep.seeds.runs:
                trial = TrialSeed.of(
                    sweep, study, best.number, best.point, run.seed, "reporting",
                    replicate=run.replicate,
                )  # fmt: skip
                score(trial, runtime)
            scored = study_score_rows(sweep, study, best.number, best.point)
            finish_scores(scored, sweep, runtime)
