"""NT-Xent against a double loop in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.testing.toy import TwoLayerBackbone, random_batch


def cosine(a: Tensor, b: Tensor) -> float:
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(float(x) ** 2 for x in a) * sum(float(y) ** 2 for y in b))


def model_of(family: SimCLR, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return family.build(TwoLayerBackbone(), 10).double()


def test_pieces_and_criterion_equal_loops() -> None:
    family = SimCLR(temperature=0.4, projection_size=7)
    model = model_of(family)
    batch = random_batch(5, (1, 4), dtype=torch.float64)
    rows = torch.cat([model(view) for view in batch.views]).detach()
    pieces = family.info_nce(model, batch)
    losses = []
    for anchor in range(10):
        other = (anchor + 5) % 10
        terms = [math.exp(cosine(rows[anchor], rows[c]) / 0.4) for c in range(10) if c != anchor]
        positive = cosine(rows[anchor], rows[other]) / 0.4
        assert pieces.positive[anchor].item() == pytest.approx(positive)
        assert pieces.log_sum_exp[anchor].item() == pytest.approx(math.log(sum(terms)))
        losses.append(math.log(sum(terms)) - positive)
        for c in range(10):
            expected = cosine(rows[anchor], rows[c]) / 0.4
            assert pieces.similarities[anchor, c].item() == pytest.approx(expected)
            assert pieces.same_image[anchor, c].item() == (anchor % 5 == c % 5)
    assert family.criterion(model, batch).item() == pytest.approx(sum(losses) / 10)
    expected_forget = [row % 5 in (1, 4) for row in range(10)]
    assert pieces.is_forget.tolist() == pieces.candidate_is_forget.tolist() == expected_forget
    assert pieces.temperature == 0.4


def test_figures_of_the_paper() -> None:
    family = SimCLR()
    assert family.temperature == 0.5
    head = family.build(TwoLayerBackbone(feature_size=512), 10).projection
    shapes = [tuple(weight.shape) for weight in head.parameters()]
    assert shapes == [(512, 512), (512,), (512,), (128, 512), (128,), (128,)]
    assert [type(layer) for layer in head] == [
        nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d,
    ]  # fmt: skip


def test_gradient_equals_finite_differences() -> None:
    family = SimCLR(projection_size=3)
    model = model_of(family)
    batch = random_batch(4, dtype=torch.float64)
    weight = model.backbone.linear.weight
    family.criterion(model, batch).backward()
    for index in [(0, 0), (2, 3), (4, 5)]:
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[index] += step
                values.append(family.criterion(model, batch).item())
                weight[index] -= step
        assert weight.grad[index].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_views_have_their_own_batch_statistics() -> None:
    family = SimCLR()
    model = model_of(family)
    batch = random_batch(6, dtype=torch.float64)
    shifted = random_batch(6, dtype=torch.float64)
    shifted.views[1].add_(10)
    first = family.info_nce(model, batch).similarities[:6, :6]
    second = family.info_nce(model, shifted).similarities[:6, :6]
    assert torch.equal(first, second)


def test_pieces_are_float32_under_autocast() -> None:
    family = SimCLR()
    torch.manual_seed(0)
    model = family.build(TwoLayerBackbone(), 10)
    batch = random_batch(8)
    exact = family.criterion(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pieces = family.info_nce(model, batch)
    assert pieces.similarities.dtype == pieces.log_sum_exp.dtype == torch.float32
    # Rounded features, but rows of length 1: the diagonal is exact only in full precision.
    torch.testing.assert_close(
        pieces.similarities.diagonal(), torch.full((16,), 2.0), rtol=1e-6, atol=1e-6
    )
    assert pieces.losses.loss.mean().item() == pytest.approx(exact.item(), rel=0.02)


def test_seed_determines_the_model() -> None:
    first, again = model_of(SimCLR(), 5), model_of(SimCLR(), 5)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
