"""A folder in which the pages' commands and snippets run: a sweep file, and its finished store."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import ROOT
from tests.keeping.searched import search
from tests.tiny import runtime, tiny_sweep
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.plan import make_plan

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
    search(sweep, here, chosen=lambda study: [{"learning_rate": r} for r in RATES[study.name]])
    announce(make_plan(sweep, here.store), here.store, SWEEP)
    (folder / "tiny.yaml").rename(folder / "sweep.yaml")
    shutil.copytree(ROOT / "sweeps", folder / "sweeps")
    first, second, *_ = sorted(here.store.records("unlearn"))
    return World(folder, (first, second), folder / "store")
