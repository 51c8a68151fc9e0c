"""The blocks of every kind of backbone, and their outputs, against running them by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unlearn_ray.core.registry import parts
from unlearn_ray.measure.blocks import BlockOutputs, blocks_of, pooled
from unlearn_ray.models.base import Model
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.models.vit import ViT
from unlearn_ray.testing.toy import TwoLayerBackbone, tiny


def built(model: Model, size: int = 8) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return model.build(size).eval()


def images(count: int = 5) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_blocks_of_residual_networks_and_transformers() -> None:
    resnet, vit = built(tiny(ResNet8)), built(tiny(ViT, layers=3))
    assert [*blocks_of(resnet)] == ["layer1.0", "layer2.0", "layer3.0"]
    assert [*blocks_of(vit)] == [
        f"transformer.encoder.layers.encoder_layer_{layer}" for layer in range(3)
    ]
    assert [*blocks_of(TwoLayerBackbone())] == ["conv", "bn", "linear"]
    for backbone in (resnet, vit):
        modules = dict(backbone.named_modules())
        assert all(modules[name] is block for name, block in blocks_of(backbone).items())


@torch.no_grad()
def test_outputs_of_a_residual_network_are_those_of_its_layers() -> None:
    backbone = built(tiny(ResNet8))
    outputs = BlockOutputs(backbone)
    found = outputs.by_name(outputs(images()))
    hidden = torch.relu(backbone.bn1(backbone.conv1(images())))
    for number, name in enumerate(found, 1):
        hidden = backbone.get_submodule(f"layer{number}")(hidden)
        for image in range(5):
            for channel in range(hidden.shape[1]):
                expected = hidden[image, channel].double().mean()
                assert float(found[name][image, channel]) == pytest.approx(
                    float(expected), abs=1e-5
                )
    assert torch.equal(found["layer3.0"], backbone(images()))


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name, part in parts(Model).items() if part.tiny])
def test_the_last_block_has_the_features_of_every_model(name: str) -> None:
    backbone = built(tiny(parts(Model)[name]))
    outputs = BlockOutputs(backbone)
    found = outputs.by_name(outputs(images()))
    assert found.keys() == blocks_of(backbone).keys()
    assert torch.equal([*found.values()][-1], backbone(images()))
    assert all(values.shape[0] == 5 for values in found.values())
    assert not any(module._forward_hooks for module in backbone.modules())


def test_positions_are_averaged() -> None:
    drawn = torch.Generator().manual_seed(0)
    maps, tokens = (torch.randn(shape, generator=drawn) for shape in ((4, 6, 2, 3), (4, 7, 6)))
    for image in range(4):
        for channel in range(6):
            pixels = [maps[image, channel, y, x].item() for y in range(2) for x in range(3)]
            assert float(pooled(maps, 4)[image, channel]) == pytest.approx(
                sum(pixels) / 6, abs=1e-6
            )
            of_tokens = [tokens[image, t, channel].item() for t in range(7)]
            mean = pytest.approx(sum(of_tokens) / 7, abs=1e-6)
            assert float(pooled(tokens, 4)[image, channel]) == mean
    assert torch.equal(pooled(tokens.transpose(0, 1), 4), pooled(tokens, 4))
    assert torch.equal(pooled(tokens[:, 0], 4), tokens[:, 0])


def test_hooks_are_gone_after_an_error() -> None:
    backbone = TwoLayerBackbone()
    with pytest.raises(RuntimeError):
        BlockOutputs(backbone)(torch.zeros(1, 99, 2, 2))
    assert not any(module._forward_hooks for module in backbone.modules())
