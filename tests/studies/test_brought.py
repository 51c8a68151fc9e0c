"""A torchvision ResNet-18 that other code trained: brought, unlearned, compared, taken away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.theirs import SIZE, Theirs, digits, logits, resnet18, saved, train
from tests.tiny import finish, runtime, tiny_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.layouts.counterpart import Ours
from unlearn_ray.layouts.reading import counterpart
from unlearn_ray.metrics.base import OUTPUTS
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.references import reference
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.studies.plan import make_plan, sweep_rows

TEXT = f"""\
name: brought
dataset: {{digits: {{image_size: {SIZE}}}}}
validation: 1000
forget_set: {{classes: {{classes: [3]}}}}
model: {{resnet18: {{stem: imagenet}}}}
family: supervised
training: {{epochs: 1, batch_size: 128}}
metrics: [retain_accuracy, test_accuracy, forget_accuracy]
seeds: {{tuning: [0], reporting: [1]}}
"""


@dataclass(frozen=True)
class Files:
    """What other code has left.

    Attributes:
        folder: with original.pt, retrained.safetensors and 0 and 1.safetensors.
        original: what was saved as the first.
    """

    folder: Path
    original: Theirs
    retrained: Theirs


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder, labels = tmp_path_factory.mktemp("theirs"), digits().train_labels
    original = train(lambda: resnet18(num_classes=10))
    retrained = train(
        lambda: resnet18(num_classes=10), keep=lambda number: labels[number] != 3, seed=1
    )
    saved(original.model.state_dict(), folder / "original.pt", "module.model.")
    saved(retrained.model.state_dict(), folder / "retrained.safetensors", "net.", seconds="7.25")
    for seed in (0, 1):
        state = retrained.model.state_dict()
        saved(state, folder / f"{seed}.safetensors", seconds=f"{seed}.5")
    return Files(folder, original, retrained)


def test_unlearned_and_compared_with_brought_models(files: Files, tmp_path: Path) -> None:
    text = f"""{TEXT}
original:
  checkpoint: {files.folder}/original.pt
  normalise: half
  expect: {files.original.accuracy:.4f}
retrained: {{checkpoint: {files.folder}/retrained.safetensors}}
methods:
  finetune: {{epochs: 1, batch_size: 256}}
  external: {{weights: "{files.folder}/{{seed}}.safetensors"}}
"""
    sweep, here = tiny_sweep(tmp_path, text), runtime(tmp_path / "store")
    scored = finish(sweep, here)
    assert all(one.failure is None for one in scored)
    assert make_plan(sweep, here.store).complete
    rows = {(row["study"], row["seed"]): row for row in sweep_rows(sweep, here.store)}
    original, retrained = rows["original", 1], rows["retrain", 1]
    assert original["test_accuracy"] == pytest.approx(100 * files.original.accuracy, abs=0.3)
    assert retrained["test_accuracy"] == pytest.approx(100 * files.retrained.accuracy, abs=0.3)
    assert retrained["retraining_compute_seconds"] == 7.25
    assert original["model"].endswith("brought")
    # The weights of the external method are the retrained model's.
    for seed in (0, 1):
        external = rows["external", seed]
        assert external["average_gap"] == 0
        assert external["unlearning_compute_seconds"] == seed + 0.5
    assert rows["finetune", 1]["average_gap"] > 0
    same_logits(files, sweep, here)
    round_trip(sweep, here, tmp_path)


def same_logits(files: Files, sweep: Sweep, here: Runtime) -> None:
    """The brought model says of each test image what the other code's says."""
    model = reference("original", sweep.setting, 1)
    step = model.same(Observe, model=model, quantity=OUTPUTS)
    found = here.observation(step).samples["test"].float()
    expected = logits(files.original.model, digits().test_images)
    # Observations are stored in half precision.
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)
    data = here.data(sweep.setting.dataset, sweep.setting.family)
    assert torch.equal(data.test_images.cpu(), torch.tensor(digits().test_images))


def round_trip(sweep: Sweep, here: Runtime, folder: Path) -> None:
    """The unlearned model, loaded by torchvision, gives the same logits."""
    setting = sweep.setting
    unlearn = Unlearn(setting=setting, seed=1, method=sweep.studies[0].at({}))
    unlearned = here.model(unlearn).eval()
    there = counterpart(
        "torchvision", Ours.of(setting.model, setting.family, setting.dataset.info())
    )
    assert there.code().splitlines()[-1] == "model = torchvision.models.resnet18(num_classes=10)"
    file = saved(there.weights(unlearned.state_dict()), folder / "unlearned.pt")
    theirs = resnet18(num_classes=10)
    theirs.load_state_dict(torch.load(file, weights_only=True)["state_dict"], strict=True)
    images = digits().test_images[:50]
    torch.testing.assert_close(logits(theirs, images), logits(unlearned.cpu(), images))


def test_without_a_brought_retrained_model_it_is_trained(files: Files, tmp_path: Path) -> None:
    text = f"""{TEXT}
original: {{checkpoint: {files.folder}/original.pt, normalise: half}}
methods:
  finetune: {{epochs: 0}}
"""
    sweep, here = tiny_sweep(tmp_path, text), runtime(tmp_path / "store")
    assert all(one.failure is None for one in finish(sweep, here))
    kinds = {kind: len(here.store.records(kind)) for kind in ("bring", "pretrain", "retrain")}
    assert kinds == {"bring": 1, "pretrain": 0, "retrain": 2}
    before = here.model(reference("original", sweep.setting, 1)).state_dict()
    unlearn = Unlearn(setting=sweep.setting, seed=1, method=sweep.studies[0].at({}))
    after = here.model(unlearn).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
