"""Weights to and from torchvision, timm and open_clip: the same numbers under other names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.layouts.models import CLASSES, INFO, images, ours_of, output, prefixed, shaken
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.open_clip_import import open_clip
from unlearn_ray.families.base import Family
from unlearn_ray.families.clip import CLIP
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.layouts.counterpart import Library
from unlearn_ray.layouts.misfit import WeightsMisfit
from unlearn_ray.layouts.reading import Layout, counterpart, weights
from unlearn_ray.models.base import Model
from unlearn_ray.models.open_clip import OpenCLIP
from unlearn_ray.models.resnet import ResNet18, ResNet50
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.models.timm import Timm
from unlearn_ray.models.vit import ViT

SUPERVISED = Supervised()
TINY = ViT(patch=8, layers=2, heads=2, width=32)
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 4, "layers": 2}
VIT = {"image_size": 32, "layers": 2, "width": 128, "patch_size": 8}
CLIP_FAMILY = CLIP(embedding_size=24, context_length=12, text_width=16, text_heads=4, text_layers=2)
TINY_CLIP = {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT}


@pytest.fixture(autouse=True)
def _tiny_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("open_clip.factory._MODEL_CONFIGS", {"tiny": TINY_CLIP})


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize(
    ("model", "edits"),
    [
        (ResNet18(stem="imagenet"), []),
        (ResNet18(stem="cifar"), ["conv1", "maxpool"]),
        (ResNet50(stem="imagenet"), []),
        (TINY, []),
    ],
)
def test_round_trip(library: Library, model: Model, edits: list[str]) -> None:
    """Theirs to ours to theirs: equal logits, a strict load, and the same tensors."""
    module, ours = ours_of(model, SUPERVISED)
    there = counterpart(library, ours)
    assert [edit.name for edit in there.edits] == edits
    theirs = shaken(there.build())
    expected = output(theirs)
    for layout in ("auto", library):
        read = weights(prefixed(theirs.state_dict(), "module.model."), ours, layout)
        module.load_state_dict(read)
        torch.testing.assert_close(output(module), expected)
    again = there.build().eval()
    again.load_state_dict(there.weights(module.state_dict()), strict=True)
    assert torch.equal(output(again), expected)


@pytest.mark.parametrize(
    ("model", "classifier"),
    [
        (Timm(architecture="resnet10t"), "fc"),
        (Timm(architecture="mobilenetv3_small_050"), "classifier"),
        (Timm(architecture="vit_tiny_patch16_224", drop_rate=0.1), "head"),
        (Timm(architecture="convnext_atto", options={"dims": (8, 8, 16, 16)}), "head.fc"),
    ],
)
def test_round_trip_of_a_model_that_is_timms_own(model: Timm, classifier: str) -> None:
    module, ours = ours_of(model, SUPERVISED)
    there = counterpart("timm", ours)
    assert there.head[f"{classifier}.weight"] == "classifier.weight"
    theirs = shaken(there.build())
    expected = output(theirs)
    for layout in ("auto", "timm"):
        module.load_state_dict(weights(prefixed(theirs.state_dict(), "net."), ours, layout))
        torch.testing.assert_close(output(module), expected)
    again = there.build().eval()
    again.load_state_dict(there.weights(module.state_dict()), strict=True)
    assert torch.equal(output(again), expected)


def test_two_classifiers_of_timm_are_refused() -> None:
    model = Timm(architecture="deit_tiny_distilled_patch16_224")
    with pytest.raises(ConfigError, match="is not one linear layer on our features"):
        counterpart("timm", ours_of(model, SUPERVISED)[1])


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize("model", [ResNet18(stem="cifar"), TINY])
def test_a_family_without_a_classifier_exports_its_features(library: Library, model: Model) -> None:
    module, ours = ours_of(model, SimCLR(projection_size=8))
    shaken(module)
    there = counterpart(library, ours)
    assert there.left_out
    assert all(name.startswith("projection.") for name in there.left_out)
    theirs = there.build().eval()
    theirs.load_state_dict(there.weights(module.state_dict()), strict=True)
    torch.testing.assert_close(output(theirs), output(module.get_submodule("backbone")))


@pytest.mark.parametrize("custom", [False, True])
def test_round_trip_of_open_clip(custom: bool) -> None:
    module, ours = ours_of(OpenCLIP(architecture="tiny"), CLIP_FAMILY)
    there = counterpart("open_clip", ours)
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    theirs = shaken(kind(**there.arguments))
    tokens = CLIP_FAMILY.tokenise(["a cat", "two dogs on a couch", "!"])
    with torch.no_grad():
        expected = theirs(images(), tokens)
    read = weights(prefixed(theirs.state_dict(), "module."), ours)
    module.load_state_dict(read)
    again = there.build().eval()
    again.load_state_dict(there.weights(module.state_dict()), strict=True)
    with torch.no_grad():
        found = (
            CLIP_FAMILY.embed_images(module, images()),
            CLIP_FAMILY.embed_texts(module, tokens),
            module.get_parameter("log_scale").exp(),
        )
        written = again(images(), tokens)
    for one, other, wanted in zip(found, written, expected, strict=True):
        torch.testing.assert_close(one, wanted)
        torch.testing.assert_close(other, wanted)


def test_code_builds_the_counterpart() -> None:
    for library in ("torchvision", "timm"):
        there = counterpart(library, ours_of(ResNet18(stem="cifar"), SUPERVISED)[1])
        names: dict[str, nn.Module] = {}
        exec(there.code(), names)
        assert repr(names["model"]) == repr(there.build())


@pytest.mark.parametrize(
    ("library", "model", "family", "reason"),
    [
        ("torchvision", ResNet8(), SUPERVISED, "no architecture like resnet8"),
        ("timm", ResNet8(), SUPERVISED, "no architecture like resnet8"),
        ("torchvision", ResNet18(width=8), SUPERVISED, "its width is 8, and theirs is 64"),
        ("timm", ResNet18(), Supervised(embedding_size=8), "an embedding of the features"),
        ("open_clip", ResNet18(), SUPERVISED, "only its own image towers"),
        ("open_clip", OpenCLIP(architecture="tiny"), replace(CLIP_FAMILY, activation="quick_gelu"),
         "the image tower has gelu"),
    ],
)  # fmt: skip
def test_models_that_a_library_lacks(
    library: Library, model: Model, family: Family, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        counterpart(library, ours_of(model, family)[1])


def of_resnet8() -> dict[str, Tensor]:
    """A state dict with the names that our ResNet-8 shares with public code."""
    module, _ = ours_of(ResNet8(), SUPERVISED)
    state = shaken(module).state_dict()
    return {
        name.removeprefix("backbone.").replace("classifier.", "fc."): value
        for name, value in state.items()
    }


@pytest.mark.parametrize("head", ["fc", "head", "classifier", "linear", "fc.1", "my.last"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone.", "encoder."])
def test_plain_names(prefix: str, head: str) -> None:
    module, ours = ours_of(ResNet8(), SUPERVISED)
    expected = output(shaken(module))
    state = {
        name.replace("fc.", f"{head}.") if name.startswith("fc.") else f"{prefix}{name}": value
        for name, value in of_resnet8().items()
    }
    again, _ = ours_of(ResNet8(), SUPERVISED)
    again.load_state_dict(weights(state, ours))
    assert torch.equal(output(again), expected)


def test_shortcuts_and_counters_of_public_code() -> None:
    _, ours = ours_of(ResNet8(), SUPERVISED)
    state = {
        name.replace("downsample", "shortcut").replace("fc.", "linear."): value
        for name, value in of_resnet8().items()
        if not name.endswith("num_batches_tracked")
    }
    read = weights(state, ours)
    assert read.keys() == ours.state.keys()
    assert read["backbone.bn1.num_batches_tracked"] == 0
    name = "layer2.0.downsample.0.weight"
    assert torch.equal(read[f"backbone.{name}"], of_resnet8()[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_ours(dtype: torch.dtype) -> None:
    _, ours = ours_of(ResNet8(), SUPERVISED)
    state = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in of_resnet8().items()
    }
    read = weights(state, ours)
    assert read["classifier.bias"].dtype == torch.float32
    assert torch.equal(read["classifier.bias"], state["fc.bias"].float())


def test_classes_put_the_logits_in_order() -> None:
    module, ours = ours_of(ResNet8(), SUPERVISED)
    state = of_resnet8()
    module.load_state_dict(weights(state, ours))
    straight = output(module)
    order = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(4))
    for name in ("fc.weight", "fc.bias"):
        state[name] = state[name][order]
    names = tuple(INFO.class_names[number] for number in order)
    module.load_state_dict(weights(state, ours, classes=names))
    torch.testing.assert_close(output(module), straight)


def test_classes_of_another_dataset_are_refused() -> None:
    _, ours = ours_of(ResNet8(), SUPERVISED)
    names = ("dog", *INFO.class_names[1:])
    with pytest.raises(
        ConfigError, match=rf"unknown are \[dog\], missing are \[{INFO.class_names[0]}\]"
    ):
        weights(of_resnet8(), ours, classes=names)


def test_what_does_not_fit_is_a_table() -> None:
    _, ours = ours_of(ResNet8(), SUPERVISED)
    state = of_resnet8()
    del state["layer1.0.conv1.weight"]
    state["fc.weight"] = torch.zeros(100, 64)
    state["fc.bias"] = torch.zeros(100)
    state["extra.scale"] = torch.zeros(())
    with pytest.raises(WeightsMisfit) as error:
        weights(prefixed(state, "model."), ours)
    first, *table = str(error.value).splitlines()
    assert "1 missing, 1 unknown, 2 of another shape or type" in first
    assert [line.split() for line in table] == [
        ["tensor", "checkpoint", "model"],
        ["model.layer1.0.conv1.weight", "-", "16x16x3x3"],
        ["model.fc.weight", "100x64", "10x64"],
        ["model.fc.bias", "100", "10"],
        ["model.extra.scale", "scalar", "-"],
    ]


def test_a_missing_head_is_in_the_table() -> None:
    _, ours = ours_of(ResNet8(), SUPERVISED)
    state = {name: value for name, value in of_resnet8().items() if not name.startswith("fc.")}
    with pytest.raises(WeightsMisfit, match=r"classifier.weight +- +10x64"):
        weights(state, ours)


def test_two_models_in_one_checkpoint_are_refused() -> None:
    _, ours = ours_of(ResNet8(), SUPERVISED)
    state = of_resnet8()
    with pytest.raises(ConfigError, match=r"below ema\., model\.: each is a whole model"):
        weights(prefixed(state, "model.") | prefixed(state, "ema."), ours)


def test_weights_of_another_type_are_refused() -> None:
    _, ours = ours_of(ResNet8(), SUPERVISED)
    state = of_resnet8()
    state["conv1.weight"] = state["conv1.weight"].to(torch.int8)
    with pytest.raises(WeightsMisfit, match=r"conv1.weight \(torch.int8\)  16x3x3x3 +16x3x3x3"):
        weights(state, ours)


def test_parameters_that_require_gradients_are_plain_tensors() -> None:
    _, ours = ours_of(ResNet8(), SUPERVISED)
    state = {
        name: nn.Parameter(value) if value.is_floating_point() else value
        for name, value in of_resnet8().items()
    }
    assert not any(value.requires_grad for value in weights(state, ours).values())


def test_weights_that_are_not_numbers_are_refused() -> None:
    _, ours = ours_of(ResNet8(), SUPERVISED)
    state = of_resnet8()
    state["conv1.weight"][0, 0, 0, 0] = torch.nan
    with pytest.raises(ConfigError, match=r"conv1.weight: 1 of its 432 numbers are NaN"):
        weights(state, ours)


@pytest.mark.parametrize("layout", ["torchvision", "timm", "open_clip"])
def test_a_named_layout_is_not_guessed(layout: Layout) -> None:
    _, ours = ours_of(ResNet8(), SUPERVISED)
    with pytest.raises(ConfigError, match=f"in {layout}"):
        weights(of_resnet8(), ours, layout)
