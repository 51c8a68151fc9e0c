"""LARS against loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.operations import operations
from unlearn_ray.core.recipe import Player, Recipe
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.lars import LARS
from unlearn_ray.train.loop import Iteration, Training, optimise

DECAY, MOMENTUM = 0.1, 0.8


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    return layers.double()


def numbers(tensors: list[Tensor]) -> list[list[float]]:
    return [tensor.flatten().tolist() for tensor in tensors]


def length(values: list[float]) -> float:
    return math.sqrt(sum(value**2 for value in values))


@pytest.mark.parametrize(("coefficient", "clip"), [(0.001, False), (0.02, True), (0.2, True)])
def test_equals_loops(coefficient: float, clip: bool) -> None:
    model = network()
    recipe = Recipe(
        optimizer="lars", epochs=5, batch_size=8, learning_rate=3.0, momentum=MOMENTUM,
        weight_decay=DECAY, warmup_epochs=2, trust=coefficient, clip_trust=clip,
    )  # fmt: skip
    images = torch.randn(8, 3, 3, 3, dtype=torch.float64)
    parameters = list(model.parameters())
    is_matrix = [parameter.dim() > 1 for parameter in parameters]
    assert is_matrix == [True, False, False, False, True, False]
    weights = numbers(parameters)
    velocities = [[0.0] * len(values) for values in weights]
    rates = [0.75, 2.25, *(1.5 * (1 + math.cos(math.pi * epoch / 3)) for epoch in range(3))]

    def loss(iteration: Iteration) -> Tensor:
        """Also makes the step of the loops, from gradients at the same place."""
        value = (model(images[iteration.rows]) ** 3).mean()
        gradients = numbers(list(torch.autograd.grad(value, parameters, retain_graph=True)))
        for layer, gradient in enumerate(gradients):
            w, v = weights[layer], velocities[layer]
            trust, decay = 1.0, 0.0
            if is_matrix[layer]:
                trust = coefficient * length(w) / (length(gradient) + DECAY * length(w))
                if clip:
                    trust = min(1.0, trust / rates[iteration.epoch])
                decay = DECAY
            for i, g in enumerate(gradient):
                v[i] = MOMENTUM * v[i] + trust * (g + decay * w[i])
                w[i] -= rates[iteration.epoch] * v[i]
        return value

    optimise(Training((Player(model, recipe, loss),), count=8, seed=0), Compute.cpu())
    for found, expected in zip(numbers(parameters), weights, strict=True):
        assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("zero", ["weight", "gradient"])
def test_zeros_are_not_scaled(zero: str) -> None:
    weight = nn.Parameter(torch.full((2, 2), 0.0 if zero == "weight" else 3.0))
    weight.grad = torch.full((2, 2), 0.0 if zero == "gradient" else 5.0)
    expected = weight.detach() - 0.5 * (weight.grad + DECAY * weight.detach())
    LARS([weight], lr=0.5, momentum=0.9, weight_decay=DECAY).step()
    assert torch.equal(weight.detach(), expected)


def test_a_layer_without_gradient_stays() -> None:
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([used, unused], lr=0.5, momentum=0.9, weight_decay=DECAY)
    used.grad = torch.ones(2, 2)
    optimizer.step()
    assert torch.equal(unused, torch.ones(2, 2))
    assert unused not in optimizer.state
    # ||w|| = ||g|| = 2: the step is lr * 0.001 * 2 / (2 + 0.1 * 2) * (1 + 0.1).
    torch.testing.assert_close(used.detach(), torch.full((2, 2), 1 - 0.5 * 0.001))


def test_the_step_does_not_depend_on_the_loss_s_scale() -> None:
    def stepped(scale: float) -> Tensor:
        weight = nn.Parameter(torch.tensor([[1.0, -2.0]]))
        weight.grad = scale * torch.tensor([[0.3, 0.4]])
        LARS([weight], lr=1.0, momentum=0.0, weight_decay=0.0).step()
        return weight.detach()

    torch.testing.assert_close(stepped(1e4), stepped(1e-4))


def test_clipped_the_learning_rate_is_the_largest_local_rate() -> None:
    """A public default of BYOL: coefficient 0.02, clipped, at learning rate 1."""

    def moved(lr: float, trust: float, clip: bool) -> float:
        weight = nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
        weight.grad = torch.tensor([[0.0, 0.1]], dtype=torch.float64)
        LARS([weight], lr=lr, momentum=0.0, weight_decay=0.0, trust=trust, clip=clip).step()
        return 4.0 - weight[0, 1].item()

    # The local rate is trust * 5 / 0.1 = 50 trust, the gradient 0.1.
    assert moved(1.0, 0.001, False) == pytest.approx(0.1 * 0.05)
    assert moved(1.0, 0.02, True) == pytest.approx(0.1 * 1.0)
    assert moved(0.5, 0.02, True) == pytest.approx(0.1 * 0.5)
    assert moved(0.5, 0.002, True) == pytest.approx(0.1 * 0.1)
    assert moved(0.5, 0.002, False) == pytest.approx(0.1 * 0.05)


@pytest.mark.parametrize("clip", [False, True])
def test_the_digits_are_those_of_one_layer_after_the_other(clip: bool) -> None:
    model = network().float().to(memory_format=torch.channels_last)
    weights = list(model.parameters())
    expected = [weight.detach().clone() for weight in weights]
    velocities: dict[int, Tensor] = {}
    optimizer = LARS(weights, 0.3, MOMENTUM, DECAY, trust=0.02, clip=clip)
    for number in range(4):
        for layer, (weight, parameter) in enumerate(zip(expected, weights, strict=True)):
            # A layer that joins later has its first velocity when others have moved.
            if number == 0 and layer == 4:
                continue
            gradient = parameter.grad = torch.randn_like(parameter)
            update = gradient
            if weight.dim() > 1:
                trust = 0.02 * weight.norm() / (gradient.norm() + DECAY * weight.norm())
                trust = (trust / 0.3).clamp(max=1) if clip else trust
                update = (gradient + DECAY * weight) * trust
            if layer in velocities:
                velocities[layer].mul_(MOMENTUM).add_(update)
            else:
                velocities[layer] = update.clone()
            weight.sub_(velocities[layer], alpha=0.3)
        optimizer.step()
        for weight, parameter in zip(expected, weights, strict=True):
            assert torch.equal(parameter.detach(), weight)


def test_the_number_of_operations_does_not_grow_with_layers() -> None:
    """Only the products with local rates, one operation here, are one launch per layer on a GPU."""

    def counted(layers: int) -> int:
        weights = [nn.Parameter(torch.randn(3, 2)) for _ in range(layers)]
        optimizer = LARS(weights, 0.3, MOMENTUM, DECAY, trust=0.02, clip=True)
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        optimizer.step()
        return operations(optimizer.step)

    assert counted(2) == counted(20) < 30
