"""Swapped labels: the original and methods learn them, the retrained model and metrics do not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import SWEEP, run, run_references, runtime, tiny_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.registry import find
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.confusion import Confusion
from unlearn_ray.data.forget_sets.ids import Ids
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.data.splits import Masks, split
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.measure import measures
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.steps.setting import BankSetting, Setting
from unlearn_ray.train.sparsity import Sparsity

TEXT = (
    SWEEP.replace("{random: {fraction: 0.1}}", "{confusion: {classes: [3, 8], fraction: 0.5}}")
    .replace("family: simclr", "family: supervised")
    .replace("{epochs: 1, batch_size: 128}", "{epochs: 12, batch_size: 64, learning_rate: 0.1}")
    .replace("width: 4", "width: 8")
    .replace("[retain_accuracy, test_accuracy]", "[forget_accuracy, confusion]")
)
LABELS = Digits(image_size=8).known_labels()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return tiny_sweep(tmp_path_factory.mktemp("confusion"), TEXT)


def short(setting: Setting, **fields: Any) -> Setting:
    return replace(setting, training=replace(setting.training, epochs=1), **fields)


# Keys


def keys(setting: Setting) -> dict[str, str]:
    steps: list[Step] = [kind(setting=setting, seed=0) for kind in (Pretrain, Retrain, Samples)]
    steps.append(Unlearn(setting=setting, seed=0, method=find(Method, "finetune")()))
    return {step.name: step.key for step in steps}


def changed(one: Setting, other: Setting) -> set[str]:
    before, after = keys(one), keys(other)
    return {name for name in before if before[name] != after[name]}


def test_labels_name_the_original_and_other_forget_sets_do_not(sweep: Sweep) -> None:
    swapped = sweep.setting
    every = set(keys(swapped))
    for fields in ({"classes": (3, 7)}, {"fraction": 0.4}, {"fraction": None, "count": 9}):
        assert changed(swapped, replace(swapped, forget_set=replace(_set(swapped), **fields))) == (
            every
        )
    same = replace(_set(swapped), classes=("8", 3))
    same.check(swapped.dataset.info(), 0)
    assert changed(swapped, replace(swapped, forget_set=same)) == set()
    samples, classes = (
        replace(swapped, forget_set=one) for one in (Random(), Classes(classes=(3, 8)))
    )
    assert changed(samples, classes) == every - {"pretrain"}
    assert changed(samples, swapped) == every
    assert "labels" not in Pretrain(setting=samples, seed=0).config
    assert Pretrain(setting=swapped, seed=0).config["labels"]["name"] == "confusion"


def _set(setting: Setting) -> Confusion:
    assert isinstance(setting.forget_set, Confusion)
    return setting.forget_set


def test_a_bank_has_true_labels(sweep: Sweep) -> None:
    """Its masks replace the forget set."""
    swapped = BankSetting.of(sweep.setting, Masks(samples=40))
    true = BankSetting.of(replace(sweep.setting, forget_set=Random()), Masks(samples=40))
    assert changed(swapped, true) == set()


def test_sparse_originals_rank_by_the_same_labels(sweep: Sweep) -> None:
    sparse = replace(sweep.setting, sparsity=Sparsity(method="omp", fraction=0.5))
    ranked = Pretrain(setting=sparse, seed=0).ranked
    assert ranked is not None
    assert ranked.key == Pretrain(setting=sweep.setting, seed=0).key


# Runs


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> dict[int, set[int]]:
    """The labels of each sample in the batches that the criterion is called with."""
    seen: dict[int, set[int]] = defaultdict(set)
    criterion = Supervised.criterion

    def recorded(self: Supervised, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        for sample, label in zip(batch.ids.tolist(), batch.labels.tolist(), strict=True):
            seen[sample].add(label)
        return criterion(self, model, batch)

    monkeypatch.setattr(Supervised, "criterion", recorded)
    return seen


def test_training_sees_swapped_labels_and_retraining_none_of_them(
    sweep: Sweep, learned: dict[int, set[int]], tmp_path: Path
) -> None:
    setting, here = short(sweep.setting), runtime(tmp_path)
    parts = split(LABELS, setting.validation, setting.forget_set, 0)
    forget, retain = set(parts.forget.tolist()), set(parts.retain.tolist())
    assert set(LABELS[parts.forget]) == {3, 8}

    def ran(step: Step) -> dict[int, set[int]]:
        learned.clear()
        run(step, here)
        return dict(learned)

    seen = ran(Pretrain(setting=setting, seed=0))
    assert seen.keys() == forget | retain
    assert all(seen[sample] == {11 - LABELS[sample]} for sample in forget)
    assert all(seen[sample] == {LABELS[sample]} for sample in retain)
    seen = ran(Retrain(setting=setting, seed=0))
    assert seen.keys() == retain
    assert all(seen[sample] == {LABELS[sample]} for sample in retain)
    method = find(Method, "gradient_ascent")(epochs=1, batch_size=16)
    seen = ran(Unlearn(setting=setting, seed=0, method=method))
    assert seen.keys() == forget
    assert all(seen[sample] == {11 - LABELS[sample]} for sample in forget)


def test_retraining_is_that_without_the_same_samples(sweep: Sweep, tmp_path: Path) -> None:
    """Bit for bit: wrong labels leave no trace in it."""
    setting, here = short(sweep.setting), runtime(tmp_path)
    forgotten = split(LABELS, setting.validation, setting.forget_set, 0).forget
    (tmp_path / "ids.txt").write_text("\n".join(map(str, forgotten.tolist())))
    named = Ids(file=str(tmp_path / "ids.txt"))
    named.check(setting.dataset.info(), 0)
    weights = {
        (kind, forget_set.name): _weights(kind(setting=replace(setting, forget_set=forget_set),
                                               seed=0), here)
        for kind in (Pretrain, Retrain)
        for forget_set in (setting.forget_set, named)
    }  # fmt: skip
    assert _equal(weights[Retrain, "confusion"], weights[Retrain, "ids"])
    assert not _equal(weights[Pretrain, "confusion"], weights[Pretrain, "ids"])


def _weights(step: Step, here: Runtime) -> dict[str, torch.Tensor]:
    run(step, here)
    return here.model(step).state_dict()


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_original_is_confused_and_the_retrained_model_is_not(
    sweep: Sweep, tmp_path: Path
) -> None:
    """Of true labels: those of the forget set are measured as they are."""
    here = runtime(tmp_path)
    run_references(sweep, 1, here)
    found = {}
    for kind in (Pretrain, Retrain):
        accuracy, confusion = (
            run(step, here).record.result["values"]
            for step in measures(kind(setting=sweep.setting, seed=1), sweep.metrics)
        )
        found[kind] = accuracy["forget_accuracy"], confusion["confusion"]
    assert found[Retrain][0] > 80
    assert found[Retrain][1] < 10
    assert found[Pretrain][0] < found[Retrain][0] - 30
    assert found[Pretrain][1] > found[Retrain][1] + 15
    samples = Samples(setting=sweep.setting, seed=1)
    ids, labels = here.samples(samples)
    assert np.array_equal(labels["forget"].numpy(), LABELS[ids["forget"].numpy()])
