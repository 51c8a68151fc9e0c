"""Checkpoints that the open_clip package itself builds and saves, in our model."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.tiny import tiny_sweep
from unlearn_ray.core.errors import BadInput, ConfigError, DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.core.open_clip_import import open_clip
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.families.clip import CLIP, CLIPModel
from unlearn_ray.models.open_clip import OpenCLIP
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.models.vit import ViT
from unlearn_ray.steps.kinds import pretrain
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.steps.setting import Setting
from unlearn_ray.storage.store import open_store
from unlearn_ray.testing.toy import random_batch
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Report

TEXT = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 4, "layers": 2}
VIT = {"image_size": 32, "layers": 2, "width": 128, "patch_size": 8}
RESNET = {"image_size": 32, "layers": [1, 2, 1, 1], "width": 8, "patch_size": None}
CONFIGS: dict[str, dict[str, Any]] = {
    "tiny-vit": {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT},
    "tiny-vit-quickgelu": {
        "embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT, "quick_gelu": True,
    },
    "tiny-resnet": {"embed_dim": 24, "vision_cfg": RESNET, "text_cfg": TEXT},
    # A tower of another package.
    "tiny-timm": {
        "embed_dim": 24, "vision_cfg": {"timm_model_name": "resnet18", "image_size": 32},
        "text_cfg": TEXT,
    },
}  # fmt: skip
FAMILY = CLIP(embedding_size=24, context_length=12, text_width=16, text_heads=4, text_layers=2)
INFO = Digits(image_size=32).info()
CAPTIONS = ("a photo of a dog", "two cats on one red couch", "!")


@pytest.fixture(autouse=True)
def _tiny_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIGS", CONFIGS)


def theirs_of(name: str, kind: Callable[..., nn.Module] = open_clip.CLIP) -> nn.Module:
    """A model of open_clip whose every weight differs from what it starts with."""
    torch.manual_seed(1)
    model = kind(**open_clip.get_model_config(name))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    model.train()
    if name == "tiny-resnet":
        model.encode_image(torch.randn(6, 3, 32, 32))
    return model.eval()


def ours_of(family: CLIP, model: OpenCLIP) -> CLIPModel:
    torch.manual_seed(2)
    made = family.build(model.build(32), 10)
    assert isinstance(made, CLIPModel)
    return made


def saved(model: nn.Module, path: Path, as_training_does: bool = False) -> CLIP:
    """The family that starts from a model's state dict."""
    state = dict(model.state_dict())
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    elif as_training_does:
        state = {f"module.{name}": value for name, value in state.items()}
        optimizer = torch.optim.AdamW(model.parameters()).state_dict()
        torch.save({"epoch": 3, "name": "run", "state_dict": state, "optimizer": optimizer}, path)
    else:
        torch.save(state, path)
    return replace(FAMILY, checkpoint=str(path))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "kind", "file", "as_training_does"),
    [
        ("tiny-vit", open_clip.CLIP, "open_clip.pt", False),
        ("tiny-vit", open_clip.CLIP, "open_clip.safetensors", False),
        ("tiny-vit", open_clip.CLIP, "epoch_3.pt", True),
        ("tiny-vit", open_clip.CustomTextCLIP, "open_clip.pt", False),
        ("tiny-vit-quickgelu", open_clip.CLIP, "open_clip.pt", False),
        ("tiny-resnet", open_clip.CLIP, "open_clip.safetensors", False),
    ],
)
def test_outputs_are_open_clips(
    tmp_path: Path, name: str, kind: Any, file: str, as_training_does: bool, dtype: torch.dtype
) -> None:
    theirs, model = theirs_of(name, kind), OpenCLIP(architecture=name)
    family = saved(theirs, tmp_path / file, as_training_does)
    family = replace(family, activation="quick_gelu" if "quick" in name else "gelu")
    family.check(model, INFO)
    ours = ours_of(family, model)
    family.start(ours)
    theirs, ours = theirs.to(dtype), ours.to(dtype).eval()
    tokens = family.tokenise(CAPTIONS)
    images = random_batch(3, views=1, image_size=32, dtype=dtype).views[0]
    assert isinstance(images, Tensor)
    with torch.no_grad():
        assert torch.equal(ours.backbone(images), theirs.encode_image(images))
        torch.testing.assert_close(ours.text(tokens), theirs.encode_text(tokens))
        found = (family.embed_images(ours, images), family.embed_texts(ours, tokens))
        expected = theirs(images, tokens)
        for a, b in zip((*found, ours.scale), expected, strict=True):
            torch.testing.assert_close(a, b)
        batch = replace(random_batch(3, views=1), views=(images,), texts=tokens)
        logits = torch.cat(theirs.get_logits(images, tokens))
        torch.testing.assert_close(family.info_nce(ours, batch).similarities, logits)


def test_half_precision_and_a_shorter_context(tmp_path: Path) -> None:
    theirs = theirs_of("tiny-vit")
    family = replace(saved(theirs.half(), tmp_path / "half.pt"), context_length=9)
    family.check(OpenCLIP(architecture="tiny-vit"), INFO)
    ours = ours_of(family, OpenCLIP(architecture="tiny-vit"))
    family.start(ours)
    assert {weight.dtype for weight in ours.parameters()} == {torch.float32}
    tokens = FAMILY.tokenise(CAPTIONS)
    assert torch.equal(family.tokenise(CAPTIONS), tokens[:, :9])
    with torch.no_grad():
        torch.testing.assert_close(
            ours.text(tokens[:, :9]), theirs.float().encode_text(tokens), rtol=1e-4, atol=1e-5
        )


def test_both_reference_models_start_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = theirs_of("tiny-vit")
    family = saved(theirs, tmp_path / "open_clip.pt")
    setting = Setting(
        dataset=Digits(image_size=32), forget_set=Random(), family=family,
        model=OpenCLIP(architecture="tiny-vit"), training=Recipe(epochs=0),
    )  # fmt: skip
    started: list[dict[str, Tensor]] = []

    def train(model: nn.Module, *_: object, **__: object) -> Report:
        started.append(dict(model.state_dict()))
        return Report(0, 0.0, 0.0)

    monkeypatch.setattr(pretrain, "train_from_scratch", train)
    monkeypatch.setattr(Runtime, "data", lambda *_: None)
    runtime = Runtime(open_store(str(tmp_path / "store")), Compute.cpu(), 600)
    for step in (Pretrain(setting=setting, seed=0), Retrain(setting=setting, seed=1)):
        step.train(runtime, [])
    for state in started:
        for name, value in theirs.visual.state_dict().items():
            assert torch.equal(state[f"backbone.tower.{name}"], value)
        assert torch.equal(state["text.transformer.text_projection"], theirs.text_projection)
        assert torch.equal(state["log_scale"], theirs.logit_scale)


class TestKey:
    def test_is_of_the_content_not_of_the_path(self, tmp_path: Path) -> None:
        first = saved(theirs_of("tiny-vit"), tmp_path / "first.pt")
        (tmp_path / "elsewhere.pt").write_bytes((tmp_path / "first.pt").read_bytes())
        moved = replace(FAMILY, checkpoint=str(tmp_path / "elsewhere.pt"))
        changed = theirs_of("tiny-vit")
        nn.init.zeros_(changed.text_projection)
        zeroed = saved(changed, tmp_path / "zeroed.pt")
        assert content_key(first) == content_key(moved)
        assert len({content_key(family) for family in (FAMILY, first, zeroed)}) == 3
        assert str(tmp_path) not in json.dumps(first.identity(), default=str)

    def test_is_remembered_where_the_sweep_was_planned(self, tmp_path: Path) -> None:
        path = tmp_path / "open_clip.pt"
        family = saved(theirs_of("tiny-vit"), path)
        key = content_key(family)
        there = pickle.loads(pickle.dumps(family))
        path.unlink()
        assert content_key(there) == key
        saved(theirs_of("tiny-resnet"), path)
        with pytest.raises(DataError, match="not the file that the sweep was planned with"):
            there.start(ours_of(FAMILY, OpenCLIP(architecture="tiny-vit")))


class Unpickled:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("something was unpickled",))


def unusable(path: Path, what: str) -> None:
    state: dict[str, Any] = dict(theirs_of("tiny-vit").state_dict())
    if what == "empty":
        path.touch()
    elif what == "text":
        path.write_text("no tensors")
    elif what == "folder":
        path.mkdir()
    elif what == "code":
        torch.save({**state, "logit_scale": Unpickled()}, path)
    elif what == "numbers":
        torch.save({"state_dict": {"logit_scale": 3.0}}, path)
    elif what == "cut":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:5000])
    elif what == "no scale":
        del state["logit_scale"]
        torch.save(state, path)
    elif what == "another layout":
        torch.save({"logit_scale": state["logit_scale"], "fc.weight": torch.ones(3)}, path)
    elif what == "another size":
        torch.save({**state, "visual.proj": torch.ones(64, 24)}, path)
    else:
        assert what == "missing"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("missing", "cannot be read: No such file or directory; give a .pt"),
        ("folder", "cannot be read: is a folder"),
        ("empty", "does not contain plain tensors"),
        ("text", "does not contain plain tensors"),
        ("code", "does not contain plain tensors"),
        ("numbers", "does not contain plain tensors"),
        ("cut", "does not contain plain tensors"),
        ("no scale", "has no logit_scale"),
        ("another layout", "class_embedding has the shape none, the model's \\[128\\]"),
        ("another size", "image tower: proj has the shape \\[64, 24\\], the model's \\[128"),
    ],
)
def test_unusable_files_are_refused_while_planning(
    tmp_path: Path, what: str, reason: str, suffix: str
) -> None:
    path = tmp_path / f"open_clip{suffix}"
    unusable(path, what)
    if suffix == ".safetensors" and what not in ("missing", "folder"):
        reason = "does not contain plain tensors"  # They are files of torch.
    family = replace(FAMILY, checkpoint=str(path))
    with pytest.raises(DataError, match=reason):
        family.check(OpenCLIP(architecture="tiny-vit"), INFO)


@pytest.mark.parametrize(
    ("fields", "model", "reason"),
    [
        ({}, ResNet8(), "checkpoint with model resnet8: .* set the model to {open_clip"),
        ({}, ViT(patch=8), "checkpoint with model vit"),
        ({"embedding_size": 16}, None, "embedding_size = 16: open_clip's tiny-vit has 24"),
        ({"text_width": 8}, None, "text_width = 8: open_clip's tiny-vit has 16"),
        ({"text_heads": 2}, None, "text_heads = 2: open_clip's tiny-vit has 4; set text_heads"),
        ({"text_layers": 1}, None, "text_layers = 1: open_clip's tiny-vit has 2"),
        ({"activation": "quick_gelu"}, None, "open_clip's tiny-vit has gelu"),
        ({"context_length": 13}, None, r"positional_embedding has the shape \[12, 16\]"),
        ({}, OpenCLIP(architecture="tiny-resnet"), "does not fit the image tower"),
    ],
)
def test_fields_that_do_not_fit_are_refused_while_planning(
    tmp_path: Path, fields: dict[str, Any], model: Any, reason: str
) -> None:
    family = saved(theirs_of("tiny-vit"), tmp_path / "open_clip.pt")
    with pytest.raises(BadInput, match=reason):
        replace(family, **fields).check(model or OpenCLIP(architecture="tiny-vit"), INFO)


def test_without_a_checkpoint_only_the_embedding_must_fit() -> None:
    model = OpenCLIP(architecture="tiny-vit")
    replace(FAMILY, text_layers=1, activation="quick_gelu").check(model, INFO)
    with pytest.raises(ConfigError, match="embedding_size = 16"):
        replace(FAMILY, embedding_size=16).check(model, INFO)


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("tiny-vti", 32, r"is unknown; did you mean tiny-vit\?"),
        ("tiny-timm", 32, "its towers are not CLIP's own"),
        ("tiny-vit", 36, "patches of 8 pixels do not tile images of 36; .* image_size to 32"),
        ("tiny-resnet", 48, "patches of 32 pixels do not tile images of 48"),
    ],
)
def test_architectures_that_cannot_be_are_refused(name: str, size: int, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        OpenCLIP(architecture=name).check(size)


def test_images_of_another_size_than_the_checkpoints_are_refused(tmp_path: Path) -> None:
    family = saved(theirs_of("tiny-vit"), tmp_path / "open_clip.pt")
    with pytest.raises(DataError, match=r"positional_embedding has the shape \[17, 128\]"):
        family.check(OpenCLIP(architecture="tiny-vit"), Digits(image_size=16).info())


def test_the_error_names_the_line_of_the_sweep_file(tmp_path: Path) -> None:
    text = """\
name: tiny
dataset: {digits: {image_size: 32}}
forget_set: {random: {fraction: 0.1}}
model: {open_clip: {architecture: tiny-vit}}
family: {clip: {embedding_size: 24, text_width: 16, text_heads: 4, text_layers: 2,
                checkpoint: /nowhere/open_clip.pt}}
methods: [finetune]
"""
    with pytest.raises(BadInput, match=r"tiny.yaml:5: family.*checkpoint = /nowhere/open_clip.pt"):
        tiny_sweep(tmp_path, text)


def test_real_architectures_have_the_sizes_of_their_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    sizes = {}
    for name in ("ViT-B-32", "RN50"):
        model = OpenCLIP(architecture=name)
        with torch.device("meta"):
            backbone = model.build(224)
        sizes[name] = sum(weight.numel() for weight in backbone.parameters()) / 1e6
        assert backbone.feature_size == {"ViT-B-32": 512, "RN50": 1024}[name]
    assert sizes == pytest.approx({"ViT-B-32": 87.8, "RN50": 38.3}, abs=0.1)
