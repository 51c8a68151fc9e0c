"""SimSiam against loops in float64: heads, loss, the stop-gradient and what it prevents."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.families import naive
from tests.families.collapse import (
    COLLAPSED,
    effective_rank,
    model_of,
    rank_after_training,
)
from unlearn_ray.core.batch import Batch
from unlearn_ray.families.base import AnchorLosses
from unlearn_ray.families.similarity import crossed_cosines
from unlearn_ray.families.simsiam import SimSiam, SimSiamModel
from unlearn_ray.testing.toy import TwoLayerBackbone, random_batch

SMALL = SimSiam(projection_size=7, bottleneck_size=3)


def small_model(family: SimSiam = SMALL) -> SimSiamModel:
    torch.manual_seed(0)
    model = family.build(TwoLayerBackbone(), 10).double()
    assert isinstance(model, SimSiamModel)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad and not name.startswith("backbone"):
                weight.add_(0.3 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_loss_equals_loops(layers: int) -> None:
    family = SimSiam(projection_size=7, projection_layers=layers, bottleneck_size=3)
    model = small_model(family)
    batch = random_batch(6, (0, 3), dtype=torch.float64)
    projected, predicted = [], []
    for view in range(2):
        features = copy.deepcopy(model.backbone)(batch.views[view])
        projected.append(naive.head(model.projection, features))
        predicted.append(naive.head(model.prediction, torch.tensor(projected[view])))
    losses = family.anchor_losses(model, batch)
    for image in range(6):
        first = naive.cosine(predicted[0][image], projected[1][image])
        second = naive.cosine(predicted[1][image], projected[0][image])
        assert losses.loss[image].item() == pytest.approx(-(first + second) / 2, abs=1e-6)
    assert losses.is_forget.tolist() == [True, False, False, True, False, False]


def test_projections_get_no_gradient() -> None:
    """The gradient is that of predictions towards constants."""
    model = small_model()
    batch = random_batch(6, dtype=torch.float64)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    constants = [copy.deepcopy(model)(batch.view(view)).detach() for view in range(2)]
    predicted = [model.prediction(model(batch.view(view))) for view in range(2)]
    cosines = [
        nn.functional.cosine_similarity(predicted[view], constants[1 - view]).mean()
        for view in range(2)
    ]
    expected = torch.autograd.grad(-(cosines[0] + cosines[1]) / 2, weights)
    found = torch.autograd.grad(SMALL.criterion(model, batch), weights)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_figures_of_the_paper() -> None:
    model = SimSiam().build(TwoLayerBackbone(feature_size=512), 10)
    shapes = [tuple(w.shape) for w in model.projection.parameters() if w.dim() == 2]
    assert shapes == [(2048, 512), (2048, 2048)]
    shapes = [tuple(w.shape) for w in model.prediction.parameters() if w.dim() == 2]
    assert shapes == [(512, 2048), (2048, 512)]
    assert isinstance(model.projection[-1], nn.BatchNorm1d)
    assert isinstance(model.prediction[-1], nn.Linear)


def test_the_last_batch_norm_has_neither_scale_nor_shift() -> None:
    model = small_model()
    SMALL.criterion(model, random_batch(8, dtype=torch.float64)).backward()
    untrained = {name for name, weight in model.named_parameters() if weight.grad is None}
    assert untrained == {"projection.4.weight", "projection.4.bias"}
    assert bool((model.projection[4].weight == 1).all())
    assert not model.projection[4].bias.any()


def test_loss_is_float32_under_autocast() -> None:
    model = small_model().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = SMALL.anchor_losses(model, random_batch(8))
    assert losses.loss.dtype == torch.float32
    assert bool((losses.loss.abs() <= 1).all())


class WithoutStop(SimSiam):
    """Its projections get gradients, too."""

    def anchor_losses(self, model: nn.Module, batch: Batch) -> AnchorLosses:
        projected = [model(batch.view(view)) for view in range(2)]
        predicted = [model.prediction(rows) for rows in projected]
        return AnchorLosses(-crossed_cosines(predicted, projected) / 2, batch.is_forget)


def test_features_keep_their_rank_where_controls_collapse() -> None:
    sizes = {"projection_size": 32, "bottleneck_size": 16}
    family, without_stop = SimSiam(**sizes), WithoutStop(**sizes)
    without_predictor = model_of(family)
    without_predictor.prediction = nn.Identity()
    # After eight, one without the stop-gradient is sometimes on its way.
    assert rank_after_training(family, model_of(family), epochs=12) > COLLAPSED
    assert rank_after_training(without_stop, model_of(family), epochs=12) < COLLAPSED
    assert rank_after_training(family, without_predictor, epochs=12) < COLLAPSED


def test_effective_rank() -> None:
    assert effective_rank(3 * torch.eye(5)) == pytest.approx(5)
    assert effective_rank(torch.ones(9, 4)) == pytest.approx(1)
    assert effective_rank(torch.tensor([[1.0, 2.0], [-2.0, -4.0]])) == pytest.approx(1)
    # A constant and rounding.
    noise = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    assert effective_rank(torch.ones(50, 8) + 1e-6 * noise) < 1.001
