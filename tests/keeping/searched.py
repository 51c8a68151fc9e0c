"""A sweep that searches, run in this process: real steps, and points that the test chooses."""

from __future__ import annotations

from typing import Any

from tests.tiny import graph, run_references
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.steps.runtime import Runtime
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


def points(trials: int) -> list[dict[str, Any]]:
    """The points of a study's trials."""
    return [{"learning_rate": 0.02 / (number + 1)} for number in range(trials)]


def search(sweep: Sweep, runtime: Runtime, most: int | None = None) -> None:
    """Run a sweep, unless the store has it; `most` trials of each study, without reports."""
    announce(make_plan(sweep, runtime.store), runtime.store)
    for seed in (*sweep.seeds.tuning, *sweep.seeds.reporting):
        run_references(sweep, seed, runtime)
    for study in sweep.studies:
        for number, point in enumerate(points(sweep.trials(study))[:most]):
            for seed in sweep.seeds.tuning:
                score(TrialSeed.of(sweep, study, number, point, seed, "tuning"), runtime)
    if most is None:
        _report(sweep, runtime)
        assert make_plan(sweep, runtime.store).complete


def _report(sweep: Sweep, runtime: Runtime) -> None:
    rows = sweep_rows(sweep, runtime.store)
    for seed in sweep.seeds.reporting:
        for method in sweep.reference_models:
            name, row = reference_row(sweep, seed, method, graph(runtime))
            write_grown(name, row, sweep.metrics, runtime.store)
        for study in sweep.studies:
            for best in winners(recorded_trials(rows, sweep, study)):
                trial = TrialSeed.of(sweep, study, best.number, best.point, seed, "reporting")
                score(trial, runtime)
