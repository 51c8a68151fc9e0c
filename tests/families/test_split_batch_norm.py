"""Split batch norm against loops over groups."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.operations import operations
from unlearn_ray.families.split_batch_norm import (
    SplitBatchNorm2d,
    by_groups,
    group_sizes,
    split_batch_norm,
)
from unlearn_ray.testing.toy import TwoLayerBackbone


def layer(groups: int, channels: int = 3) -> SplitBatchNorm2d:
    made = SplitBatchNorm2d(channels, groups, eps=1e-5, momentum=0.1).double()
    with torch.no_grad():
        made.weight.uniform_(0.5, 2)
        made.bias.uniform_(-1, 1)
        made.running_mean.normal_()
    return made


def naive(
    images: Tensor, weight: Tensor, bias: Tensor, groups: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Every pixel on its own: output, mean over groups of mean and of unbiased variance."""
    out = torch.empty_like(images)
    means, variances = [], []
    for rows in torch.arange(images.shape[0]).tensor_split(groups):
        for channel in range(images.shape[1]):
            values = [float(v) for row in rows for v in images[row, channel].flatten()]
            mean = sum(values) / len(values)
            squares = sum((v - mean) ** 2 for v in values)
            scale = float(weight[channel]) / (squares / len(values) + 1e-5) ** 0.5
            for row in rows:
                out[row, channel] = (images[row, channel] - mean) * scale + float(bias[channel])
            means.append(mean)
            variances.append(squares / (len(values) - 1))
    shape = (groups, images.shape[1])
    return (
        out,
        torch.tensor(means, dtype=torch.float64).view(shape).mean(0),
        torch.tensor(variances, dtype=torch.float64).view(shape).mean(0),
    )


@pytest.mark.parametrize(("batch", "groups"), [(8, 4), (10, 4), (11, 3), (6, 1)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_training_equals_a_loop_over_groups(
    batch: int, groups: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(batch)
    norm = layer(groups)
    before = copy.deepcopy(norm)
    weight, bias = norm.weight.detach(), norm.bias.detach()
    images = torch.randn(batch, 3, 2, 3, dtype=torch.float64).to(memory_format=layout)
    out, mean, variance = naive(images, weight, bias, groups)
    result = norm(images)
    torch.testing.assert_close(result, out)
    assert result.is_contiguous(memory_format=layout)
    torch.testing.assert_close(norm.running_mean, 0.9 * before.running_mean + 0.1 * mean)
    torch.testing.assert_close(norm.running_var, 0.9 * before.running_var + 0.1 * variance)
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    "sizes", [[2, 2, 2, 2], [3, 3, 2, 2], [4, 4, 3], [5], [3, 2], [2, 3, 3]], ids=str
)
@pytest.mark.parametrize("shape", [(3, 2, 3), (3, 1, 1), (1, 2, 2), (4,)], ids=str)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_groups_in_one_operation_equal_loops(
    at_once: bool, sizes: list[int], shape: tuple[int, ...], layout: torch.memory_format
) -> None:
    if len(shape) == 1 and layout == torch.channels_last:
        layout = torch.contiguous_format
    torch.manual_seed(len(sizes))
    images = torch.randn(sum(sizes), *shape, dtype=torch.float64).to(memory_format=layout)
    weight, bias = torch.randn(2, shape[0], dtype=torch.float64)
    out, statistics = by_groups(images, sizes, weight, bias, 1e-5, at_once=at_once)
    begin = 0
    for group, size in enumerate(sizes):
        chunk = images[begin : begin + size].reshape(size, shape[0], -1)
        expected, mean, variance = naive(chunk[..., None], weight, bias, 1)
        torch.testing.assert_close(out[begin : begin + size], expected.view(size, *shape))
        torch.testing.assert_close(statistics[:, group], torch.stack([mean, variance]))
        begin += size
    assert out.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("count", [16, 19])
def test_gradients_of_groups_in_one_operation(count: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    images = torch.randn(count, 5, 3, 4, dtype=torch.float64).to(memory_format=layout)
    upstream = torch.randn_like(images)
    weights = torch.randn(2, 5, dtype=torch.float64)
    found = []
    for at_once in (False, True):
        batch, weight, bias = (each.clone().requires_grad_() for each in (images, *weights))
        out, _ = by_groups(batch, group_sizes(count, 8), weight, bias, 1e-5, at_once=at_once)
        found.append(torch.autograd.grad(out, [batch, weight, bias], upstream))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)

    def of_few(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return by_groups(images, [3, 2, 2], weight, bias, 1e-5, at_once=True)[0]

    few = images[:7, :, :2, :2].clone(), *weights
    assert torch.autograd.gradcheck(of_few, [each.requires_grad_() for each in few])


def test_the_number_of_operations_does_not_grow_with_groups() -> None:
    """8 groups were 8 launches, forwards and backwards."""

    def run(groups: int) -> None:
        images = torch.randn(32, 4, 3, 3, requires_grad=True)
        weight, bias = (torch.ones(4, requires_grad=True) for _ in range(2))
        sizes = group_sizes(32, groups)
        out, _ = by_groups(images, sizes, weight, bias, 1e-5, at_once=True)
        out.sum().backward()

    assert operations(lambda: run(2)) == operations(lambda: run(16))


def test_gradients() -> None:
    norm = layer(3)
    images = torch.randn(7, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (images,))


def test_groups_do_not_see_each_other() -> None:
    norm = layer(2)
    images = torch.randn(8, 3, 2, 2, dtype=torch.float64)
    changed = images.clone()
    changed[:4] += torch.randn(4, 3, 2, 2, dtype=torch.float64)
    before, after = norm(images), norm(changed)
    assert torch.equal(before[4:], after[4:])
    assert not torch.allclose(before[:4], after[:4])


def test_evaluation_is_plain_batch_norm() -> None:
    norm = layer(4).eval()
    images = torch.randn(8, 3, 2, 2, dtype=torch.float64)
    plain = nn.BatchNorm2d(3).double().eval()
    plain.load_state_dict(norm.state_dict())
    assert torch.equal(norm(images), plain(images))


@pytest.mark.parametrize(("count", "groups"), [(8, 8), (10, 4), (3, 2), (512, 8)])
def test_group_sizes_are_tensor_splits(count: int, groups: int) -> None:
    assert group_sizes(count, groups) == [len(g) for g in torch.arange(count).tensor_split(groups)]


def test_a_small_batch_keeps_two_images_in_a_group() -> None:
    norm = layer(8)
    images = torch.randn(5, 3, 1, 1, dtype=torch.float64)
    out, _, _ = naive(images, norm.weight.detach(), norm.bias.detach(), 2)
    torch.testing.assert_close(norm(images), out)


def test_replacing_keeps_weights_statistics_and_the_generator() -> None:
    backbone = TwoLayerBackbone()
    backbone(torch.randn(4, 3, 6, 6))
    before = copy.deepcopy(backbone.state_dict())
    state = torch.get_rng_state()
    split_batch_norm(backbone, 4)
    assert isinstance(backbone.bn, SplitBatchNorm2d)
    assert torch.equal(torch.get_rng_state(), state)
    after = backbone.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_every_layer_of_a_residual_network_is_replaced() -> None:
    from unlearn_ray.models.resnet import ResNet18

    backbone = ResNet18(width=4).build(32)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    split_batch_norm(backbone, 8)
    assert norms == 20
    assert sum(isinstance(module, SplitBatchNorm2d) for module in backbone.modules()) == norms
