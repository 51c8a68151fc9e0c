"""A model of other code: brought, unlearned three times, exported, loaded where it was made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.takeaway.conftest import Finished
from tests.takeaway.stores import MENDED
from tests.takeaway.test_export import exported, loaded
from tests.theirs import SIZE, Theirs, logits, resnet18, saved, timm, train
from tests.tiny import finish, runtime, tiny_sweep
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.studies.plan import make_plan, sweep_rows
from unlearn_ray.takeaway.choice import choose

METHODS = ("finetune", "gradient_ascent", "random_label")
SWEEP = """\
name: brought
dataset: {{digits: {{image_size: {size}}}}}
validation: 100
forget_set: {{random: {{count: 64}}}}
model: {model}
family: supervised
original: {{checkpoint: {folder}/theirs.pt, normalise: half, expect: {expect:.4f}}}
training: {{epochs: 1, batch_size: 128}}
metrics: [retain_accuracy, test_accuracy, forget_accuracy]
methods:
  finetune: {{epochs: 1, batch_size: 256, learning_rate: 0.001}}
  gradient_ascent: {{epochs: 1, batch_size: 64, learning_rate: 0.0001}}
  random_label: {{epochs: 1, batch_size: 64, learning_rate: 0.001}}
seeds: {{tuning: [], reporting: [1]}}
"""
NONE = "retrained: none\nobjective: {measured: {aims: {forget_accuracy: test_accuracy}}}\n"


def vit() -> nn.Module:
    return timm.create_model(
        "vit_base_patch32_224", img_size=SIZE, patch_size=8, embed_dim=48, depth=2, num_heads=3,
        num_classes=10,
    )  # fmt: skip


@pytest.fixture(scope="module")
def theirs() -> Theirs:
    return train(lambda: resnet18(num_classes=10))


def through(theirs: Theirs, model: str, to: str, more: str, folder: Path) -> None:
    """Export each method's model, and compare the library's own logits with the store's."""
    saved(theirs.model.state_dict(), folder / "theirs.pt", "module.")
    text = SWEEP.format(size=SIZE, model=model, folder=folder, expect=theirs.accuracy)
    sweep, here = tiny_sweep(folder, text + more), runtime(folder / "store")
    announce(make_plan(sweep, here.store), here.store)
    assert all(one.failure is None for one in finish(sweep, here))
    rows = {row["study"]: row for row in sweep_rows(sweep, here.store)}
    assert ("retrain" in rows) == (not more)
    assert all((rows[name].get("average_gap") is None) == bool(more) for name in METHODS)
    best = choose(here.store, sweep.name)
    wanted = "score" if more else "average_gap"
    assert best.study == min(METHODS, key=lambda name: rows[name][wanted])
    before = {name: value.clone() for name, value in theirs.model.state_dict().items()}
    for name in METHODS:
        output = folder / name
        finished = Finished(sweep, here.store, folder)
        config = exported(finished, output, "--method", name, "--to", to)
        assert config["origin"]["key"] == rows[name]["key_unlearn"]
        assert "largest difference" in loaded(output, "-c", MENDED)
        weights = load_file(output / "model.safetensors")
        theirs.model.load_state_dict(weights, strict=True)
        known = load_file(output / "reference.safetensors")
        images = known["images"]
        if images.shape[1] == 3:
            images = images.permute(0, 2, 3, 1)
        found = logits(theirs.model, images.numpy())
        torch.testing.assert_close(found, known["outputs"], rtol=0, atol=1e-4)
        assert any(not torch.equal(before[each], value) for each, value in weights.items())
    theirs.model.load_state_dict(before)


@pytest.mark.parametrize("more", ["", NONE], ids=["retrained", "no retrained model"])
def test_a_resnet_of_torchvision(theirs: Theirs, more: str, tmp_path: Path) -> None:
    through(theirs, "{resnet18: {stem: imagenet}}", "torchvision", more, tmp_path)


def test_a_transformer_of_timm(tmp_path: Path) -> None:
    model = "{vit: {patch: 8, layers: 2, heads: 3, width: 48}}"
    through(train(vit, iterations=30), model, "timm", "", tmp_path)
