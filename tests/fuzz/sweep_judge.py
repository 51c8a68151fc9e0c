"""What is promised of a sweep that is accepted, as far as that costs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.fuzz.sweeps import SweepInput
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_schema import Resources, Sweep
from unlearn_ray.config.sweep_text import sweep_text
from unlearn_ray.core.keys import canonical, plain
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import find
from unlearn_ray.data.splits import split
from unlearn_ray.methods.base import TrainingMethod
from unlearn_ray.models.base import Model
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.storage.objects import check_name
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.study import reference_row_name, study_identity, study_key
from unlearn_ray.studies.trial import TrialSeed, lost_row

# Bytes of one part of an object's name, and of the whole: a file system's, and S3's.
_LONGEST_PART, _LONGEST_NAME = 255, 900
_LARGEST_INT = 2**63
# Characters that the reader of sweep files takes, roughly.
_LARGEST_KEPT = 200_000


class SweepJudge:
    """Plans what it is given, and runs what an accepted plan says as far as that costs nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = open_store(str(folder / "store"))
        self.labels = np.arange(1437) % 10
        self.count = 0
        # What is imported on first use takes seconds, which are no input's.
        find(Model, "resnet8")().build(8)
        find(Model, "open_clip")().check(224)

    def __call__(self, given: SweepInput) -> None:
        path = self.folder / given.name
        path.write_bytes(given.data)
        try:
            self.judge(path, given)
        finally:
            path.unlink()

    def judge(self, path: Path, given: SweepInput) -> None:
        """Plan; then check what is promised of an accepted sweep."""
        asked = None if given.stores else str(self.folder / "store")
        sweep = load_sweep(path, given.sets, asked)
        store = open_store(sweep.store)
        if sweep.store.startswith("s3://"):
            store = self.store  # no server stands behind it
        plan = make_plan(sweep, store)
        for line in plan_view(plan, store.url).split("\n"):
            assert line.isprintable(), f"a plan's line that does not print: {line!r}"
        again = load_sweep(path, given.sets, asked)
        self.check_names(sweep)
        if not given.stores:
            self.check_written(sweep)
        for study, same in zip(sweep.studies, again.studies, strict=True):
            identity = study_identity(sweep, study)
            assert json.loads(canonical(identity)) == identity
            assert study_key(sweep, study) == study_key(again, same), "two identities"
        self.check_numbers(plain(sweep.setting))
        self.check_running(sweep)
        self.count += 1

    def check_written(self, sweep: Sweep) -> None:
        """What is kept of it is the same sweep."""
        text = sweep_text(sweep)
        if len(text) < _LARGEST_KEPT:
            kept = self.folder / "kept.yaml"
            kept.write_text(text)
            assert load_sweep(kept) == sweep, "another sweep is kept"

    def check_names(self, sweep: Sweep) -> None:
        """Rows of the first and the last corner can be written and read."""
        seeds = (sweep.seeds.tuning[0], sweep.seeds.reporting[-1])
        names = [reference_row_name(sweep, "retrain", max(seeds))]
        for study in sweep.studies:
            corners = [*study.corners()]
            for number, point in ((0, corners[0]), (sweep.trials(study) - 1, corners[-1])):
                trial = TrialSeed.of(sweep, study, number, point, max(seeds), "reporting")
                self.check_numbers(plain(point))
                row = lost_row(trial, "failed")
                names.append(trial.row_name)
                if self.count % 10 == 0:
                    self.store.write_row(trial.row_name, row)
                    assert self.store.row(trial.row_name) is not None
        for name in names:
            check_name(name)
            longest = max(len(part.encode()) for part in name.split("/"))
            assert longest + 60 <= _LONGEST_PART, "a name that no file system takes"
            assert len(name.encode()) <= _LONGEST_NAME, "a name that S3 does not take"

    def check_numbers(self, value: Any) -> None:
        """All whole numbers fit into a column."""
        if isinstance(value, dict):
            for inner in value.values():
                self.check_numbers(inner)
        elif isinstance(value, list):
            for inner in value:
                self.check_numbers(inner)
        elif isinstance(value, int):
            assert -_LARGEST_INT <= value < _LARGEST_INT, "a number beyond 64 bits"

    def check_running(self, sweep: Sweep) -> None:
        """What can be run of it without training."""
        setting, info = sweep.setting, sweep.setting.dataset.info()
        for seed in (*sweep.seeds.tuning[:2], *sweep.seeds.reporting[:2]):
            if info.train_size == len(self.labels):
                split(self.labels, setting.validation, setting.forget_set, seed)
        for resources in (sweep.resources.training, sweep.resources.trial):
            _check_resources(resources)
        recipes: list[Recipe] = [setting.training, setting.probe]
        methods = [study.at(next(study.corners())) for study in sweep.studies]
        recipes += [each.recipe for each in methods if isinstance(each, TrainingMethod)]
        for recipe in recipes:
            for epoch in _epochs(recipe):
                assert np.isfinite(recipe.learning_rate_at(epoch)), "an infinite learning rate"
        draws = torch.Generator().manual_seed(0)
        setting.family.augmentation.sample(2, min(info.image_size, 64), draws)
        if self.count % 5 == 0:
            with torch.device("meta"):
                backbone = setting.model.build(info.image_size)
                backbone(torch.empty(2, 3, info.image_size, info.image_size))
                setting.family.build(backbone, len(info.class_names))


def _epochs(recipe: Recipe) -> Iterator[int]:
    """The first, the last, and the first behind the warm-up, of those that there are."""
    for epoch in (0, recipe.warmup_epochs, recipe.epochs - 1):
        if 0 <= epoch < recipe.epochs:
            yield epoch


def _check_resources(resources: Resources) -> None:
    """As Ray takes them: see `ray._common.ray_option_utils`, and its units of 1/10000."""
    for quantity in (resources.cpu, resources.gpus):
        assert quantity == 0 or int(quantity * 10_000) > 0, "too little for Ray"
        assert abs(quantity * 10_000 - round(quantity * 10_000)) < 1e-3, "too fine for Ray"
    assert resources.gpus <= 1 or resources.gpus.is_integer(), "parts of more than one gpu"
    assert resources.most_workers <= 100_000
