"""A folder in which the pages' commands and snippets run: a sweep file, and its finished store."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import ROOT
from tests.tiny import graph, run_references, runtime, tiny_sweep
from tests.tiny import run as run_step
from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.steps.base import with_inputs
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.bank import (
    ScoreRow,
    reference_score_rows,
    study_score_rows,
    write_scores,
)
from unlearn_ray.studies.history import TrialRecord, recorded_trials, winners
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.trial import TrialSeed, reference_row, score, write_grown

# The sweep that the pages' stores hold. Its transformer is small, and torchvision has it, too.
SWEEP = """\
name: quickstart
dataset: {digits: {image_size: 8}}
validation: 0.5
forget_set: {classes: {classes: ["7"]}}
model: {vit: {patch: 4, layers: 1, heads: 2, width: 8}}
family: supervised
training: {epochs: 3, batch_size: 64, learning_rate: 0.05}
metrics: [retain_accuracy, test_accuracy, forget_accuracy, cmia_efficacy]
scores: [tow]
methods:
  finetune: {epochs: 1, batch_size: 128, learning_rate: {log_uniform: [1e-4, 0.1]}}
  scrub: {epochs: 1, learning_rate: {log_uniform: [1e-4, 1e+30]}}
  contrastive_unlearning: {epochs: 1, batch_size: 64, learning_rate: {log_uniform: [1e-4, 0.1]}}
search: {trials: 4}
seeds: {tuning: [0], tuning_replicates: 2, reporting: [1, 3], replicates: 3}
"""
# The last of scrub's is too large for its weights to stay finite.
USUAL = (0.0001, 0.003, 0.01, 0.03)
RATES = {"finetune": USUAL, "scrub": (0.001, 0.003, 0.01, 1e30), "contrastive_unlearning": USUAL}


@dataclass(frozen=True)
class World:
    """The folder, and what its store has.

    Attributes:
        folder: the working directory.
        keys: of an unlearned model and of another one.
        other: another store.
    """

    folder: Path
    keys: tuple[str, str]
    other: Path

    @property
    def store(self) -> Store:
        """Its store."""
        return open_store(str(self.folder / "store"))

    def copied(self, folder: Path) -> World:
        """A copy that a page may change."""
        shutil.copytree(self.folder, folder)
        return World(folder, self.keys, self.folder / "store")


def made(folder: Path) -> World:
    """A world in `folder`, which exists and is empty."""
    sweep, here = tiny_sweep(folder, SWEEP), runtime(folder / "store")
    announce(make_plan(sweep, here.store), here.store, SWEEP)
    _search(sweep, here)
    (folder / "tiny.yaml").rename(folder / "sweep.yaml")
    shutil.copytree(ROOT / "sweeps", folder / "sweeps")
    first, second, *_ = sorted(here.store.records("unlearn"))
    return World(folder, (first, second), folder / "store")


def _search(sweep: Sweep, here: Runtime) -> None:
    """Run all trials, the winners on the reporting seeds, and the scores."""
    for run in (*sweep.seeds.tuning_runs, *sweep.seeds.runs):
        run_references(sweep, run.seed, here, run.replicate)
    for method in sweep.reference_models:
        for run in sweep.seeds.runs:
            name, row = reference_row(sweep, run.seed, method, graph(here), run.replicate)
            write_grown(name, row, sweep.metrics, here.store)
    _finish_scores(reference_score_rows(sweep), sweep, here)
    for study in sweep.studies:
        best = _winner(sweep, study, here)
        _finish_scores(study_score_rows(sweep, study, best.number, best.point), sweep, here)
    assert make_plan(sweep, here.store).complete


def _winner(sweep: Sweep, study: Study, here: Runtime) -> TrialRecord:
    """Run a study's trials, and the best of them on the reporting seeds."""
    for number, rate in enumerate(RATES[study.name]):
        point = {"learning_rate": rate}
        for seed in sweep.seeds.tuning:
            score(TrialSeed.of(sweep, study, number, point, seed, "tuning"), here)
    (best,) = winners(recorded_trials(here.store.read_rows().to_pylist(), sweep, study))
    for run in sweep.seeds.runs:
        trial = TrialSeed.of(
            sweep, study, best.number, best.point, run.seed, "reporting", replicate=run.replicate
        )
        score(trial, here)
    return best


def _finish_scores(wanted: Iterable[ScoreRow], sweep: Sweep, here: Runtime) -> None:
    for one in wanted:
        for step in one.steps:
            run_step(step, here)
        steps = with_inputs(one.steps).values()
        records = here.store.read_records((step.name, step.key) for step in steps)
        write_scores(one, sweep, records, here.store)
