"""Models of timm and of open_clip, trained by other code, brought, unlearned and taken away."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.theirs import SIZE, digits, logits, pixels, saved, timm, train
from tests.tiny import finish, runtime, tiny_sweep
from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.open_clip_import import open_clip
from unlearn_ray.data.datasets.captioned_digits import CaptionedDigits
from unlearn_ray.families.clip import CLIP
from unlearn_ray.layouts.counterpart import Ours
from unlearn_ray.layouts.reading import counterpart
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.references import reference
from unlearn_ray.studies.plan import sweep_rows

COMMON = """\
name: brought
validation: 100
forget_set: {classes: {classes: [3]}}
training: {epochs: 1, batch_size: 128}
metrics: [retain_accuracy, test_accuracy]
seeds: {tuning: [0], reporting: [1]}
methods:
  finetune: {epochs: 1, batch_size: 256, learning_rate: 0.001}
"""
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VISION = {"image_size": SIZE, "layers": 1, "width": 64, "patch_size": 8}
CONFIG = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}


def vit() -> nn.Module:
    return timm.create_model(
        "vit_base_patch32_224", img_size=SIZE, patch_size=8, embed_dim=48, depth=2, num_heads=3,
        num_classes=10,
    )  # fmt: skip


def test_a_transformer_of_timm(tmp_path: Path) -> None:
    theirs = train(vit, iterations=30)
    saved(theirs.model.state_dict(), tmp_path / "theirs.pt", "model.")
    text = f"""{COMMON}
dataset: {{digits: {{image_size: {SIZE}}}}}
model: {{vit: {{patch: 8, layers: 2, heads: 3, width: 48}}}}
family: supervised
original:
  checkpoint: {tmp_path}/theirs.pt
  layout: timm
  normalise: half
  expect: {theirs.accuracy:.4f}
"""
    sweep, here = tiny_sweep(tmp_path, text), runtime(tmp_path / "store")
    assert all(one.failure is None for one in finish(sweep, here))
    setting, images = sweep.setting, digits().test_images[:50]
    original = here.model(reference("original", setting, 1)).eval()
    torch.testing.assert_close(logits(original, images), logits(theirs.model, images))
    unlearned = here.model(Unlearn(setting=setting, seed=1, method=sweep.studies[0].at({}))).eval()
    there = counterpart("timm", Ours.of(setting.model, setting.family, setting.dataset.info()))
    again = vit().eval()
    again.load_state_dict(there.weights(unlearned.state_dict()), strict=True)
    torch.testing.assert_close(logits(again, images), logits(unlearned, images))


def test_a_model_of_open_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIGS", {"tiny": CONFIG})
    theirs = contrasted()
    saved(theirs.state_dict(), tmp_path / "theirs.pt", "module.")
    text = f"""{COMMON}
dataset: {{captioned_digits: {{image_size: {SIZE}}}}}
model: {{open_clip: {{architecture: tiny}}}}
family:
  clip: {{embedding_size: 24, context_length: 24, text_width: 16, text_heads: 2, text_layers: 1}}
original: {{checkpoint: {tmp_path}/theirs.pt, layout: open_clip, normalise: half}}
"""
    sweep, here = tiny_sweep(tmp_path, text), runtime(tmp_path / "store")
    assert all(one.failure is None for one in finish(sweep, here))
    rows = {(row["study"], row["seed"]): row for row in sweep_rows(sweep, here.store)}
    data, family = CaptionedDigits(image_size=SIZE), sweep.setting.family
    with torch.no_grad():
        of_classes = torch.stack(
            [
                functional.normalize(
                    theirs.encode_text(family.tokenise(prompts), normalize=True).mean(0), dim=0
                )
                for prompts in data.prompts()
            ]
        )
        embedded = theirs.encode_image(pixels(digits().test_images), normalize=True)
    right = (embedded @ of_classes.T).argmax(dim=1) == torch.tensor(digits().test_labels)
    expected = 100 * float(right.float().mean())
    assert rows["original", 1]["test_accuracy"] == pytest.approx(expected, abs=0.6)
    setting = sweep.setting
    unlearned = here.model(Unlearn(setting=setting, seed=1, method=sweep.studies[0].at({})))
    there = counterpart("open_clip", Ours.of(setting.model, family, data.info()))
    again = open_clip.create_model("tiny").eval()
    again.load_state_dict(there.weights(unlearned.state_dict()), strict=True)
    with torch.no_grad():
        some = pixels(digits().test_images[:9])
        found = again.encode_image(some, normalize=True)
        torch.testing.assert_close(found, family.embed_images(unlearned.cpu().eval(), some))


def contrasted() -> nn.Module:
    """A model of open_clip after a few iterations of its own loop."""
    torch.manual_seed(0)
    model, data = open_clip.create_model("tiny").train(), CaptionedDigits(image_size=SIZE)
    loaded, tokeniser = data.load(cache_folder()), CLIP(context_length=24)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(10):
        rows = torch.randint(len(loaded.train_labels), (64,)).tolist()
        tokens = tokeniser.tokenise([loaded.train_captions[row][0] for row in rows])
        images, texts, scale = model(pixels(loaded.train_images[rows]), tokens)
        similar = scale * images @ texts.T
        target = torch.arange(len(rows))
        loss = functional.cross_entropy(similar, target) + functional.cross_entropy(
            similar.T, target
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return model.eval()
