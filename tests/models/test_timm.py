"""timm's architectures as backbones: their features, their names of weights, what is refused."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unlearn_ray.core.torchvision_import  # noqa: F401
from tests.tiny import tiny_sweep
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.keys import content_key
from unlearn_ray.families.split_batch_norm import SplitBatchNorm2d, split_batch_norm
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.measure.blocks import BlockOutputs
from unlearn_ray.models.timm import Timm
from unlearn_ray.train.shared_batch_norm import share_batch_norm

# isort: split
import timm


def images(count: int = 2, size: int = 32) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def built(model: Timm, size: int = 32) -> Any:
    torch.manual_seed(0)
    return model.build(size).eval()


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        ("resnet10t", 32),
        ("test_vit", 48),
        ("test_convnext", 32),
        ("test_efficientnet", 32),
        ("test_vit2.r160_in1k", 32),
    ],
)
@torch.no_grad()
def test_features_are_what_timms_classifier_is_given(architecture: str, size: int) -> None:
    model = Timm(architecture=architecture)
    model.check(size)
    backbone = built(model, size)
    whole = timm.create_model(
        architecture, num_classes=7, **({"img_size": size} if "vit" in architecture else {})
    ).eval()
    ours = {name.removeprefix("network."): value for name, value in backbone.state_dict().items()}
    missing = whole.load_state_dict(ours, strict=False)
    head = whole.default_cfg["classifier"]
    assert set(missing.missing_keys) == {f"{head}.weight", f"{head}.bias"}
    assert not missing.unexpected_keys
    features = backbone(images(size=size))
    assert features.shape == (2, backbone.feature_size)
    torch.testing.assert_close(whole.get_classifier()(features), whole(images(size=size)))


def test_checking_draws_no_random_numbers_and_building_only_the_weights() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    Timm(architecture="test_vit").check(32)
    assert torch.equal(torch.get_rng_state(), state)
    ours = Timm(architecture="resnet10t").build(32)
    torch.manual_seed(3)
    theirs = timm.create_model("resnet10t", num_classes=0)
    wanted, found = theirs.state_dict(), ours.network.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())
    assert ours.training


@pytest.mark.parametrize(
    ("fields", "size", "message"),
    [
        ({"architecture": "resnet81"}, 32, "is unknown; did you mean resnet18"),
        ({"architecture": "resnet18.a1in1k"}, 32, "tagged a1in1k; did you mean a1_in1k"),
        ({"architecture": "hf-hub:timm/resnet18"}, 32, "is unknown"),
        ({"architecture": "inception_v3"}, 32, r"images of 32 pixels \(it is made for 299\)"),
        ({"architecture": "test_vit"}, 40, "timm cannot make it|does not take images of 40"),
        ({"options": {"pretrained": True}}, 32, "pretrained: is not an option"),
        ({"options": {"no_such": 1}}, 32, "timm cannot make it: TypeError.*no_such"),
        ({"options": {"global_pool": ""}}, 32, "no pair of feature vectors"),
        ({"architecture": "vgg11", "drop_path_rate": 0.1}, 32, "timm cannot make it.*drop_path"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], size: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Timm(**fields).check(size)


def test_fields_reach_timm_and_the_key() -> None:
    plain = Timm(architecture="test_vit")
    assert hash(Timm(architecture="test_vit", options={"depth": 3})) == hash(plain)
    deeper = Timm(architecture="test_vit", drop_rate=0.5, options={"depth": 3})
    assert len(built(deeper).network.blocks) == 3
    assert built(deeper).network.head_drop.p == 0.5
    stochastic = built(Timm(architecture="test_vit", drop_path_rate=0.5))
    assert stochastic.network.blocks[-1].drop_path1.drop_prob == 0.5
    assert len({content_key(plain), content_key(deeper), content_key(Timm())}) == 3


@torch.no_grad()
def test_blocks_of_channels_last_maps_are_averaged_over_positions() -> None:
    options = {"window_size": 2, "embed_dim": 12, "depths": (1, 1), "num_heads": (2, 3)}
    model = Timm(architecture="swin_tiny_patch4_window7_224", options=options)
    backbone = built(model)
    blocks = BlockOutputs(backbone)
    outputs = blocks.by_name(blocks(images()))
    tokens = backbone.network.patch_embed(images())
    first = backbone.network.layers[0](tokens)
    assert first.shape == (2, 8, 8, 12)
    expected = torch.stack([image.reshape(64, 12).mean(dim=0) for image in first])
    torch.testing.assert_close(outputs["network.layers.0"], expected)
    torch.testing.assert_close(outputs["network.layers.1"], backbone(images()))


def activating_layers(module: nn.Module) -> int:
    return sum(isinstance(getattr(each, "act", None), nn.SiLU) for each in module.modules())


@pytest.mark.parametrize("replace", [lambda m: split_batch_norm(m, 1), share_batch_norm])
def test_activations_within_timms_batch_norm_outlive_its_replacement(replace: Any) -> None:
    backbone = built(Timm(architecture="test_efficientnet")).train()
    assert type(backbone.network.bn1).__name__ == "BatchNormAct2d"
    other = copy.deepcopy(backbone)
    replace(other)
    assert type(other.network.bn1).__name__ in ("SplitBatchNorm2d", "SharedBatchNorm")
    assert list(other.state_dict()) == list(backbone.state_dict())
    if isinstance(other.network.bn1, SplitBatchNorm2d):
        expected, found = (each(images(8)) for each in (backbone, other))
        torch.testing.assert_close(found, expected)
        found.sum().backward()
    torch.testing.assert_close(other.eval()(images()), backbone.eval()(images()))


def test_a_classifier_of_it_learns() -> None:
    torch.manual_seed(0)
    model = Supervised().build(Timm(architecture="test_vit").build(32), 3)
    assert any(name.startswith("backbone.network.blocks.0.") for name in model.state_dict())


SWEEP = """\
name: timm
dataset: {digits: {image_size: 32}}
forget_set: {random: {fraction: 0.1}}
model: {timm: MODEL}
family: moco
methods: {finetune: {epochs: 1, learning_rate: 0.01}}
"""


def test_in_a_sweep_file(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path, SWEEP.replace("MODEL", "{architecture: resnet10t}"))
    assert sweep.setting.model == Timm(architecture="resnet10t")
    with pytest.raises(ConfigError, match=r"tiny.yaml:4: model.*did you mean resnet10t"):
        tiny_sweep(tmp_path, SWEEP.replace("MODEL", "{architecture: resnet10_t}"))


WITHOUT = """\
import sys

sys.modules["timm"] = None
from unlearn_ray.core.errors import MachineError
from unlearn_ray.models.timm import Timm

try:
    Timm().check(32)
except MachineError as error:
    print(error)
"""


def test_without_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert "model timm: the package cannot be imported: " in done.stdout
    assert "pip install timm" in done.stdout
