"""Finished sweeps of a few seconds, and what is in their charts."""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.takeaway.stores import finished
from unlearn_ray.report.evidence import SweepEvidence, sweep_evidence
from unlearn_ray.report.figure import Figure
from unlearn_ray.report.page import chart_spec
from unlearn_ray.storage.store import Store, open_store

OBSERVED = """\
name: observed
dataset: {digits: {image_size: 8}}
validation: 0.5
forget_set: {random: {count: 60}}
model: {resnet8: {width: 4}}
family: supervised
training: {epochs: 2, batch_size: 64, learning_rate: 0.1}
metrics: [retain_accuracy, test_accuracy, forget_accuracy, alignment_matrices, cka]
methods:
  finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}
  away: {gradient_ascent: {epochs: 1, batch_size: 64, learning_rate: 0.02}}
seeds: {tuning: [0], reporting: [1], replicates: 2}
"""


@cache
def observed_store() -> Path:
    """The store of `OBSERVED`, run once per process; copy it to change it."""
    folder = Path(mkdtemp(prefix="observed-"))
    atexit.register(shutil.rmtree, folder)
    finished(folder, OBSERVED)
    return folder / "store"


def copy_of(store: Path, folder: Path) -> Store:
    """A store of its own with the same content."""
    shutil.copytree(store, folder / "copy")
    return open_store(str(folder / "copy"))


def copied_to(url: str, store: Path) -> Store:
    """The same at a URL."""
    source, target = open_store(str(store)), open_store(url)
    for name in source.objects.names(""):
        target.objects.write(name, source.objects.read(name))
    return target


def evidence() -> SweepEvidence:
    """Of `OBSERVED`."""
    return sweep_evidence(open_store(str(observed_store())))


def remove_observations(store: Store, quantity: str, models: set[str]) -> int:
    """Remove artifacts, as a keeper of stores does; returns how many."""
    removed = 0
    for key in store.records("observe"):
        record = store.record("observe", key)
        assert record is not None
        if record.config["quantity"]["name"] == quantity and record.inputs["model"] in models:
            store.remove_artifact(record.files)
            removed += 1
    return removed


def rows_of(figure: Figure) -> list[dict[str, Any]]:
    """The data of a chart."""
    (values,) = chart_spec(figure)["datasets"].values()
    rows: list[dict[str, Any]] = values
    return rows
