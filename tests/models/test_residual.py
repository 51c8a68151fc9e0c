"""Residual backbones against torchvision's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import unlearn_ray.core.torchvision_import  # noqa: F401
from unlearn_ray.core.registry import find
from unlearn_ray.models.base import Model
from unlearn_ray.models.resnet import ResNet18, ResNet50
from unlearn_ray.models.resnet8 import ResNet8

STEM_DIFFERENCE = 64 * 3 * (7 * 7 - 3 * 3)


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_parameter_count_is_torchvisions_but_for_stem_and_classifier(name: str) -> None:
    from torchvision import models

    with torch.device("meta"):
        theirs = models.get_model(name)
        ours = find(Model, name)().build(32)
    assert parameters(ours) == parameters(theirs) - parameters(theirs.fc) - STEM_DIFFERENCE
    assert ours.feature_size == theirs.fc.in_features


@pytest.mark.parametrize(("part", "name"), [(ResNet18, "resnet18"), (ResNet50, "resnet50")])
def test_features_are_torchvisions_with_the_stem_replaced(part: type[Model], name: str) -> None:
    from torchvision import models

    theirs = models.get_model(name)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = nn.Identity()
    theirs.fc = nn.Identity()
    ours = part().build(32)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)
        ours.eval(), theirs.eval()
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_initial_weights_have_torchvisions_distribution() -> None:
    torch.manual_seed(0)
    weight = ResNet18().build(32).layer3[0].conv2.weight
    expected = (2 / (256 * 9)) ** 0.5
    assert weight.std().item() == pytest.approx(expected, rel=0.01)
    assert weight.mean().item() == pytest.approx(0, abs=expected / 100)


def test_width_scales_every_stage() -> None:
    backbone = ResNet18(width=8).build(32)
    channels = [getattr(backbone, f"layer{stage}")[-1].bn2.num_features for stage in (1, 2, 3, 4)]
    assert channels == [8, 16, 32, 64]
    assert backbone.feature_size == 64
    assert ResNet50(width=8).build(32).feature_size == 256


def test_resnet8_is_small() -> None:
    backbone = ResNet8().build(32)
    assert parameters(backbone) == 77_392
    assert backbone.feature_size == 64


@pytest.mark.parametrize("image_size", [8, 28, 33, 96])
@pytest.mark.parametrize("part", [ResNet8(), ResNet18(width=4), ResNet50(width=4)])
def test_any_small_image_size(part: Model, image_size: int) -> None:
    backbone = part.build(32)
    features = backbone(torch.randn(2, 3, image_size, image_size))
    assert features.shape == (2, backbone.feature_size)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("width", [4, 8, 16])
def test_the_layout_in_memory_changes_no_gradient(width: int) -> None:
    """oneDNN crashes on strided 1x1 convolutions of fewer than 16 channels in channels_last."""
    backbone, images = ResNet18(width=width).build(48), torch.randn(64, 3, 48, 48)
    direction = torch.randn(64, 8 * width)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        placed = copy.deepcopy(backbone).to(memory_format=layout)
        (placed(images.to(memory_format=layout)) * direction).sum().backward()
        found.append({name: weight.grad for name, weight in placed.named_parameters()})
    for name, gradient in found[0].items():
        # Rounding puts some activations on the other side of a ReLU.
        assert torch.dist(found[1][name], gradient) < 0.1 * gradient.norm(), name


def test_seed_determines_the_weights() -> None:
    def build(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return ResNet8().build(32).state_dict()

    first, again, other = build(3), build(3), build(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_large_images_get_the_stem_of_imagenet() -> None:
    small, large = (ResNet18(width=4).build(size) for size in (83, 84))
    images = torch.randn(1, 3, 96, 96)
    assert small.maxpool(small.conv1(images)).shape[2:] == (96, 96)
    assert large.maxpool(large.conv1(images)).shape[2:] == (24, 24)
    assert ResNet18(width=4, stem="cifar").build(224).conv1.stride == (1, 1)
    assert ResNet18(width=4, stem="imagenet").build(32).conv1.kernel_size == (7, 7)


def test_the_stem_of_imagenet_is_torchvisions() -> None:
    from torchvision.models import resnet18

    theirs, ours = resnet18(), ResNet18().build(224)
    theirs.fc = torch.nn.Identity()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))
