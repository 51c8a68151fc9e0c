"""BYOL against loops in float64: loss, target, schedule, and what keeps it from collapsing."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.families import naive
from tests.families.collapse import COLLAPSED, digits, model_of, rank_after_training
from tests.train.test_loop import Memory
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.families.byol import BYOL, BYOLModel
from unlearn_ray.testing.toy import TwoLayerBackbone, random_batch
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.training import train_from_scratch

SMALL = BYOL(hidden_size=7, projection_size=4)
TRAINED = ("backbone", "projection", "prediction")


def small_model(family: BYOL = SMALL) -> BYOLModel:
    """In float64; the target differs from the online network, as in the middle of training."""
    torch.manual_seed(0)
    model = family.build(TwoLayerBackbone(), 10).double()
    assert isinstance(model, BYOLModel)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model


def pairs(model: BYOLModel) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Weights of the target, each with its counterpart."""
    return [
        (weight, model.get_parameter(name.removeprefix("target_")))
        for name, weight in model.named_parameters()
        if name.startswith("target_")
    ]


def test_loss_equals_loops() -> None:
    model = small_model()
    batch = replace(random_batch(6, (0, 3), dtype=torch.float64), done=0.25)
    moved = copy.deepcopy(model)
    momentum = 1 - (1 - 0.99) * (math.cos(math.pi / 4) + 1) / 2
    with torch.no_grad():
        for target, online in pairs(moved):
            target.copy_(momentum * target + (1 - momentum) * online)
    predicted, targets = [], []
    for view in range(2):
        features = moved.backbone(batch.views[view])
        projected = torch.tensor(naive.head(moved.projection, features))
        predicted.append(naive.head(moved.prediction, projected))
        features = moved.target_backbone(batch.views[view])
        targets.append(naive.head(moved.target_projection, features))
    losses = SMALL.anchor_losses(model, batch)
    for image in range(6):
        expected = 0.0
        for view in range(2):
            one, other = (naive.unit(rows[image]) for rows in (predicted[view], targets[1 - view]))
            # The squared distance of unit vectors, as the paper has it.
            expected += sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
        assert losses.loss[image].item() == pytest.approx(expected, abs=1e-6)
    assert losses.is_forget.tolist() == [True, False, False, True, False, False]


def test_target_follows_once_per_call_by_the_schedule() -> None:
    family = BYOL(hidden_size=7, projection_size=4, momentum=0.8)
    model = small_model(family)
    for number in range(5):
        before = [target.clone() for target, _ in pairs(model)]
        batch = replace(random_batch(6, dtype=torch.float64), done=number / 5)
        family.criterion(model, batch)
        momentum = 1 - 0.2 * (math.cos(math.pi * number / 5) + 1) / 2
        for old, (target, online) in zip(before, pairs(model), strict=True):
            torch.testing.assert_close(target, momentum * old + (1 - momentum) * online)
            assert not torch.equal(target, old)


def test_schedule_goes_from_momentum_to_one() -> None:
    assert BYOL().momentum_at(0) == pytest.approx(0.99)
    assert BYOL().momentum_at(0.5) == pytest.approx(0.995)
    assert BYOL().momentum_at(1) == 1
    momenta = [BYOL(momentum=0.9).momentum_at(step / 20) for step in range(21)]
    assert momenta == sorted(momenta)


def test_target_starts_equal_and_is_never_trained() -> None:
    model = SMALL.build(TwoLayerBackbone(), 10)
    assert all(torch.equal(target, online) for target, online in pairs(model))
    SMALL.criterion(model, random_batch(8)).backward()
    # Moving towards an equal is no move, to the bit.
    assert all(torch.equal(target, online) for target, online in pairs(model))
    for name, weight in model.named_parameters():
        assert weight.requires_grad == name.startswith(TRAINED)
        assert (weight.grad is not None) == weight.requires_grad


@pytest.mark.parametrize("frozen", ["eval", "no_grad"])
def test_looking_leaves_the_target(frozen: str) -> None:
    model = small_model().train(frozen != "eval")
    before = copy.deepcopy(model.state_dict())
    with torch.set_grad_enabled(frozen == "eval"):
        SMALL.anchor_losses(model, random_batch(6, dtype=torch.float64))
    kept = [name for name, _ in model.named_parameters()] if model.training else list(before)
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in kept)


def test_batch_statistics_of_the_target_are_its_own() -> None:
    model = small_model()
    SMALL.anchor_losses(model, random_batch(6, dtype=torch.float64))
    assert int(model.target_backbone.bn.num_batches_tracked) == 2
    assert int(model.backbone.bn.num_batches_tracked) == 2
    statistics = (model.target_backbone.bn.running_mean, model.backbone.bn.running_mean)
    assert not torch.equal(*statistics)


def test_figures() -> None:
    model = BYOL().build(TwoLayerBackbone(feature_size=512), 10)
    shapes = [tuple(w.shape) for w in model.projection.parameters() if w.dim() == 2]
    assert shapes == [(4096, 512), (256, 4096)]
    shapes = [tuple(w.shape) for w in model.prediction.parameters() if w.dim() == 2]
    assert shapes == [(4096, 256), (256, 4096)]
    assert isinstance(model.projection[-1], nn.Linear)
    assert isinstance(model.prediction[-1], nn.Linear)


def test_loss_is_float32_under_autocast() -> None:
    model = small_model().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = SMALL.anchor_losses(model, random_batch(8))
    assert losses.loss.dtype == torch.float32
    assert bool(((losses.loss >= 0) & (losses.loss <= 8)).all())


def test_a_resumed_training_ends_with_the_same_bits() -> None:
    """With all that depends on how far it is: momentum, rate, LARS."""
    recipe = Recipe(
        optimizer="lars", epochs=4, batch_size=16, learning_rate=1.0, warmup_epochs=1
    )  # fmt: skip

    def train(family: BYOL, memory: Memory) -> BYOLModel:
        model = model_of(SMALL)
        train_from_scratch(
            model, family, recipe, digits(), np.arange(48), seed=1, compute=Compute.cpu(),
            checkpoints=memory,
        )  # fmt: skip
        assert isinstance(model, BYOLModel)
        return model

    whole, memory = train(SMALL, Memory()), Memory()
    with pytest.raises(KeyboardInterrupt):
        train(Dies(hidden_size=7, projection_size=4), memory)
    assert len(memory.saved) == 6
    resumed = train(SMALL, memory)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


class Dies(BYOL):
    """At half of its iterations."""

    def momentum_at(self, progress: float) -> float:
        if progress >= 0.5:
            raise KeyboardInterrupt
        return super().momentum_at(progress)


def test_features_keep_their_rank_where_the_control_collapses() -> None:
    family = BYOL(hidden_size=64, projection_size=16)
    without_predictor = model_of(family)
    without_predictor.prediction = nn.Identity()
    assert rank_after_training(family, model_of(family)) > COLLAPSED
    assert rank_after_training(family, without_predictor) < COLLAPSED
