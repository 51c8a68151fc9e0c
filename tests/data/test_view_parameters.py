"""What is drawn follows the law of torchvision's transforms (fixed seeds on both sides)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

import unlearn_ray.core.torchvision_import  # noqa: F401
from unlearn_ray.data.augmentation import Augmentation, contrastive_views, probe_views
from unlearn_ray.data.view_parameters import draw_crop

# isort: split
from torchvision.transforms import ColorJitter, RandomCrop, RandomResizedCrop, RandomRotation

DRAWS = 4000


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def torchvisions_crops(
    count: int, size: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    image = torch.empty(3, size, size)
    torch.manual_seed(1)
    return torch.tensor([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(count)])


def same_law(ours: Tensor, theirs: Tensor) -> bool:
    return bool(stats.ks_2samp(ours.numpy(), theirs.numpy()).pvalue > 0.01)


@pytest.mark.parametrize(
    ("size", "scale", "ratio"),
    [
        (32, (0.1, 1.0), (3 / 4, 4 / 3)),
        (32, (0.6, 1.0), (0.3, 3.0)),  # most tries do not fit
        (224, (0.08, 1.0), (3 / 4, 4 / 3)),
        (32, (0.7, 1.0), (0.4, 0.7)),  # all that fit are upright; the fallback is central
    ],
)
def test_crops(size: int, scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    ours = draw_crop(DRAWS, size, scale, ratio, generator()).double()
    theirs = torchvisions_crops(DRAWS, size, scale, ratio).double()
    for statistic in (
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 3] / box[:, 2],
        lambda box: box[:, 0],
        lambda box: box[:, 1],
        lambda box: box[:, 0] / (size - box[:, 2]).clamp_min(1),
        lambda box: box[:, 0] + box[:, 2],
    ):
        assert same_law(statistic(ours), statistic(theirs))


@pytest.mark.parametrize("ratio", [(0.5, 0.6), (1.7, 2.0), (0.5, 2.0)])
def test_crop_falls_back_to_torchvisions_central_box(ratio: tuple[float, float]) -> None:
    ours = draw_crop(200, 32, (1.0, 1.0), ratio, generator())
    theirs = torchvisions_crops(200, 32, (1.0, 1.0), ratio)
    assert torch.equal(ours.unique(dim=0), theirs.unique(dim=0))


@pytest.mark.parametrize("size", [1, 2, 8])
def test_crops_lie_inside(size: int) -> None:
    top, left, height, width = draw_crop(DRAWS, size, (0.01, 1), (0.3, 3), generator()).unbind(1)
    assert min(top.min(), left.min()) >= 0
    assert min(height.min(), width.min()) >= 1
    assert max((top + height).max(), (left + width).max()) <= size


def test_padded_crops() -> None:
    padded = torch.empty(3, 40, 40)
    torch.manual_seed(1)
    theirs = torch.tensor([RandomCrop.get_params(padded, (32, 32))[:2] for _ in range(DRAWS)])
    ours = probe_views().sample(DRAWS, 32, generator()).shift
    assert ours is not None
    for axis in range(2):
        counts = torch.stack([part[:, axis].bincount(minlength=9) for part in (ours, theirs)])
        assert stats.chi2_contingency(counts.numpy()).pvalue > 0.01


def test_jitter_factors_and_orders() -> None:
    parameters = contrastive_views().sample(DRAWS, 32, generator())
    jitter = ColorJitter(0.4, 0.4, 0.4, 0.1)
    torch.manual_seed(1)
    theirs = [
        ColorJitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        for _ in range(DRAWS)
    ]
    assert parameters.factors is not None
    assert parameters.order is not None
    for operation in range(4):
        factors = torch.tensor([drawn[operation + 1] for drawn in theirs])
        assert same_law(parameters.factors[:, operation], factors)
    orders = list(itertools.permutations(range(4)))
    counts = np.zeros((2, len(orders)))
    for row, drawn in enumerate((parameters.order.tolist(), [d[0].tolist() for d in theirs])):
        for order in drawn:
            counts[row, orders.index(tuple(order))] += 1
    assert counts.min() > 0
    assert stats.chi2_contingency(counts).pvalue > 0.01


@pytest.mark.parametrize("degrees", [15.0, 180.0])
def test_angles(degrees: float) -> None:
    ours = Augmentation(rotation=degrees).sample(DRAWS, 32, generator()).angle
    torch.manual_seed(1)
    transform = RandomRotation(degrees)
    theirs = torch.tensor([transform.get_params(transform.degrees) for _ in range(DRAWS)])
    assert ours is not None
    assert ours.abs().max() <= degrees
    assert same_law(ours, theirs.double())


def test_rates_and_independence() -> None:
    parameters = contrastive_views().sample(20_000, 32, generator())
    flags = [parameters.flip, parameters.jitter, parameters.gray]
    for flag, rate in zip(flags, (0.5, 0.8, 0.2), strict=True):
        assert flag is not None
        assert stats.binomtest(int(flag.sum()), len(flag), rate).pvalue > 0.01
    correlations = np.corrcoef(np.stack([flag.numpy() for flag in flags if flag is not None]))
    assert np.abs(correlations - np.eye(3)).max() < 0.025


def test_rows_and_device() -> None:
    parameters = contrastive_views().sample(10, 16, generator())
    last = parameters.rows(slice(7, None))
    assert last.count == 3
    assert last.crop is not None
    assert parameters.crop is not None
    assert torch.equal(last.crop, parameters.crop[7:])
    moved = last.to("meta")
    assert moved.crop is not None
    assert moved.crop.device.type == "meta"
