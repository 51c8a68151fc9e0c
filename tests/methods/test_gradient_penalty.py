"""Every term against loops in float64, its derivative against differences, and what it does."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.methods.problem import (
    COMPUTE,
    FAMILY,
    RANDOM,
    SEED,
    accuracy,
    data,
    new_model,
    original,
    run,
)  # fmt: skip
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.registry import find, parts
from unlearn_ray.data.augmentation import normalise
from unlearn_ray.data.base import Dataset
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.families.base import ClassifierFamily, Family
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Task
from unlearn_ray.methods.gradient_penalty import GradientPenalty, interpolates, penalties
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.models.vit_small import ViTSmall
from unlearn_ray.testing.toy import ToySamples, TwoLayerBackbone, random_batch
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.unlearning import unlearn

FAMILIES = list(parts(Family))
SCALARS = ("norm", "mean", "max")
# Only the penalty; only the length.
PENALTY = GradientPenalty(alpha=0, beta=1, epochs=3, batch_size=24, learning_rate=0.01)
LENGTH = replace(PENALTY, beta=0, gamma=1)


def model_of(family: Family, backbone: nn.Module | None = None) -> nn.Module:
    """In training mode, with statistics and normalisations off their first values."""
    torch.manual_seed(0)
    model = family.build(backbone or TwoLayerBackbone(), 10).double()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.3)
            layer.running_var.uniform_(0.5, 2)
        if isinstance(layer, nn.BatchNorm2d | nn.LayerNorm):
            # A row that a fresh layer has normalised has always the same mean and norm.
            nn.init.normal_(layer.weight, mean=1, std=0.5)
    return model.train()


def batch_of(family: Family, members: int = 5, non_members: int | None = 5) -> Batch:
    """A retain batch and its companions: a forget batch and perhaps non-members."""
    sizes = [size for size in (members, non_members) if size is not None]
    companions = tuple(
        random_batch(
            size, range(size) if number == 0 else (), seed=3 + number, views=family.views,
            dtype=torch.float64,
        )
        for number, size in enumerate(sizes)
    )  # fmt: skip
    return replace(random_batch(6, views=family.views, dtype=torch.float64), companions=companions)


def loss_of(method: GradientPenalty, family: Family, model: nn.Module, batch: Batch) -> Tensor:
    task = Task(family, ToySamples(90, 10, image_size=6, dtype=torch.float64))
    return method.loss(model, batch, task)


def plain_output(family: Family, model: nn.Module, image: Tensor) -> Tensor:
    """f of one image, written out without a layer's forward."""
    net = model.backbone
    hidden = functional.conv2d(image[None], net.conv.weight, padding=1)[0]
    mean, variance = (value[:, None, None] for value in (net.bn.running_mean, net.bn.running_var))
    scale, shift = (value[:, None, None] for value in (net.bn.weight, net.bn.bias))
    hidden = (hidden - mean) / (variance + net.bn.eps) ** 0.5 * scale + shift
    features = net.linear.weight @ hidden.clamp(min=0).mean(dim=(1, 2)) + net.linear.bias
    if not isinstance(family, ClassifierFamily):
        return features
    return model.classifier.weight @ features + model.classifier.bias


def plain_length(tensor: Tensor) -> float:
    return math.sqrt(math.fsum(value**2 for value in tensor.flatten().tolist()))


def plain_penalty(family: Family, model: nn.Module, image: Tensor, scalar: str) -> float:
    image = image.clone().requires_grad_()
    found = plain_output(family, model, image)
    number = {"norm": sum(entry**2 for entry in found) ** 0.5, "mean": sum(found) / len(found),
              "max": max(found)}[scalar]  # fmt: skip
    (gradient,) = torch.autograd.grad(number, image)
    return (plain_length(gradient) - 1) ** 2


@pytest.mark.parametrize("non_members", [5, 3, 8, None], ids=["5", "3", "8", "members"])
@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("name", FAMILIES)
def test_penalty_is_that_of_loops(name: str, scalar: str, non_members: int | None) -> None:
    family = find(Family, name)()
    model, batch = model_of(family), batch_of(family, 5, non_members)
    method = replace(PENALTY, scalar=scalar)
    loss = loss_of(method, family, model, batch)
    forget, *others = batch_of(family, 5, non_members).companions
    drawn = torch.rand(5, generator=forget.generator).tolist()
    expected = []
    for row, u in enumerate(drawn):
        image = forget.view(0)[row]
        if others:
            image = u * image + (1 - u) * others[0].view(0)[row % non_members]
        expected.append(plain_penalty(family, model, image, scalar))
    assert loss.item() == pytest.approx(math.fsum(expected) / 5, rel=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_length_is_that_of_loops(name: str) -> None:
    family = find(Family, name)()
    model, batch = model_of(family), batch_of(family)
    expected = [
        plain_length(plain_output(family, model, image)) for image in batch.companions[0].view(0)
    ]
    found = loss_of(LENGTH, family, model, batch).item()
    assert found == pytest.approx(math.fsum(expected) / 5, rel=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_is_the_weighted_sum(name: str) -> None:
    family = find(Family, name)()

    def term(method: GradientPenalty, model: nn.Module) -> float:
        return loss_of(method, family, model, batch_of(family)).item()

    model = model_of(family)
    criterion = family.criterion(model, batch_of(family)).item()
    assert term(replace(PENALTY, alpha=1, beta=0), model_of(family)) == criterion
    # The criterion comes first and moves the statistics that the other terms see.
    weighted = 0.5 * criterion + 3 * term(PENALTY, model) + 0.2 * term(LENGTH, model)
    found = term(replace(PENALTY, alpha=0.5, beta=3, gamma=0.2), model_of(family))
    assert found == pytest.approx(weighted)


@cache
def networks() -> dict[str, nn.Module]:
    torch.manual_seed(2)
    return {
        "toy": TwoLayerBackbone(),
        "resnet8": ResNet8(width=4).build(8),
        "vit": ViTSmall(patch=4, layers=2, heads=2, width=8).build(8),
    }


@pytest.mark.parametrize("scalar", SCALARS)
@pytest.mark.parametrize("network", networks())
@pytest.mark.parametrize("name", ["supervised", "moco"])
def test_gradient_is_that_of_differences(name: str, network: str, scalar: str) -> None:
    family = find(Family, name)()
    model = model_of(family, copy.deepcopy(networks()[network]))
    images = random_batch(3, views=1, image_size=8, dtype=torch.float64).view(0)
    weights = [
        weight
        for key, weight in model.named_parameters()
        if weight.requires_grad and not key.startswith("projection")
    ]

    def penalty() -> Tensor:
        return penalties(model, family, images, scalar).mean()

    gradients = torch.autograd.grad(penalty(), weights, materialize_grads=True)
    assert any(gradient.abs().max() > 1e-3 for gradient in gradients)
    step, noise = 1e-6, torch.Generator().manual_seed(0)
    for weight, gradient in zip(weights, gradients, strict=True):
        direction = torch.randn(weight.shape, generator=noise, dtype=weight.dtype)
        direction /= direction.norm()
        ends = []
        for sign in (1, -2):
            with torch.no_grad():
                weight.add_(sign * step * direction)
            ends.append(penalty().item())
        with torch.no_grad():
            weight.add_(step * direction)
        slope = (ends[0] - ends[1]) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("method", [PENALTY, LENGTH], ids=["penalty", "length"])
@pytest.mark.parametrize("name", FAMILIES)
def test_statistics_and_training_mode_stay(name: str, method: GradientPenalty) -> None:
    family = find(Family, name)()
    model, batch = model_of(family), batch_of(family)
    before = copy.deepcopy(model.state_dict())
    loss_of(method, family, model, batch).backward()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_an_image_has_its_own_penalty_whatever_is_beside_it() -> None:
    family = Supervised()
    model, images = model_of(family), random_batch(6, dtype=torch.float64).view(0)
    together = penalties(model, family, images, "norm")
    alone = torch.cat([penalties(model, family, image[None], "norm") for image in images])
    torch.testing.assert_close(together, alone)


def test_a_dead_output_has_a_derivative() -> None:
    family = Supervised()
    model = model_of(family)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.zero_()
    loss = loss_of(replace(PENALTY, gamma=1), family, model, batch_of(family))
    loss.backward()
    assert all(bool(weight.grad.isfinite().all()) for weight in model.parameters())


@pytest.mark.parametrize("network", ["toy", "vit"])
def test_a_compiled_encoder_is_differentiated_twice(network: str) -> None:
    family = Supervised()
    model = model_of(family, copy.deepcopy(networks()[network]))
    images = random_batch(3, image_size=8, dtype=torch.float64).view(0)
    expected = penalties(model, family, images, "norm")
    for encoder in model.children():
        encoder.compile(backend="aot_eager")
    found = penalties(model, family, images, "norm")
    assert torch.equal(found, expected)
    found.mean().backward()
    assert all(bool(weight.grad.isfinite().all()) for weight in model.backbone.parameters())


def test_the_penalty_is_of_full_precision_under_autocast() -> None:
    family = Supervised()
    model, images = model_of(family).float(), random_batch(4).view(0)
    expected = penalties(model, family, images, "norm")
    with torch.autocast("cpu", torch.bfloat16):
        found = penalties(model, family, images, "norm")
    assert torch.equal(found, expected)


def test_u_is_drawn_anew_for_every_pair() -> None:
    ones, zeros = (
        Batch((torch.full((400, 3, 1, 1), value),), torch.zeros(400), torch.zeros(400).bool(),
              torch.Generator().manual_seed(1), torch.arange(400))
        for value in (1.0, 0.0)
    )  # fmt: skip
    u = interpolates(ones, zeros)[:, 0, 0, 0].sort().values
    # Kolmogorov-Smirnov, at far less than one in a million.
    assert (u - (torch.arange(400) + 0.5) / 400).abs().max() < 2.7 / 20
    assert torch.equal(interpolates(ones), ones.view(0))


def test_what_it_reads() -> None:
    assert GradientPenalty().extra_data() == ("validation",)
    assert GradientPenalty(non_members=Digits()).extra_data() == (Digits(),)
    for method in (LENGTH, replace(PENALTY, interpolation="members")):
        assert method.extra_data() == ()
        (phase,) = method.phases(nn.Module(), Task(FAMILY, ToySamples(9, 3)))
        assert (phase.trains_on, phase.companions) == ("retain", ("forget",))
    method = replace(PENALTY, criterion_on="all")
    (phase,) = method.phases(nn.Module(), Task(FAMILY, ToySamples(9, 3)))
    assert (phase.trains_on, phase.companions) == ("all", ("forget", "validation"))


@pytest.mark.parametrize(
    "method", [GradientPenalty(epochs=0), replace(LENGTH, gamma=0)], ids=["epochs", "weights"]
)
def test_nothing_leaves_the_original_bit_for_bit(method: GradientPenalty) -> None:
    outcome = run(method, RANDOM)
    assert outcome.report.iterations == 0
    assert outcome.same_as(original())


def measured(model: nn.Module, part: np.ndarray) -> tuple[float, float]:
    """Mean penalty between some images and the validation set, and mean length of the former."""
    means = FAMILY.augmentation.mean, FAMILY.augmentation.std
    members, others = (
        normalise(data().train_images[ids], *means) for ids in (part, RANDOM.validation)
    )
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(len(members), 1, 1, 1, generator=generator)
    images = u * members + (1 - u) * others[torch.arange(len(members)) % len(others)]
    penalty = penalties(model, FAMILY, images, "norm").mean()
    return penalty.item(), model(members).norm(dim=1).mean().item()


def steep() -> nn.Module:
    """The original, whose output changes with an image ten to twenty times as much as it may."""
    model = original()
    while measured(model, RANDOM.forget)[0] < 100:
        with torch.no_grad():
            for weight in model.classifier.parameters():
                weight *= 2
    return model


@pytest.mark.parametrize(("beta", "falls"), [(1, True), (0, False)])
def test_the_penalty_falls_if_it_is_descended_on(beta: float, falls: bool) -> None:
    model = steep()
    before, _ = measured(model, RANDOM.forget)
    method = replace(PENALTY, alpha=1, beta=beta, epochs=10, learning_rate=1e-3)
    unlearn(model, FAMILY, method, data(), RANDOM, seed=SEED, compute=COMPUTE, make_model=new_model)
    assert (measured(model, RANDOM.forget)[0] < 0.1 * before) == falls


def test_outputs_become_short_if_it_is_descended_on() -> None:
    _, before = measured(original(), RANDOM.forget)
    method = replace(LENGTH, alpha=1, epochs=10, learning_rate=0.02)
    assert measured(run(method, RANDOM).model, RANDOM.forget)[1] < 0.5 * before


def test_retain_accuracy_stays() -> None:
    method = replace(PENALTY, alpha=1, beta=0.3, epochs=30, learning_rate=0.005)
    assert accuracy(run(method, RANDOM).model, RANDOM.retain) > 0.9


def test_non_members_of_another_dataset() -> None:
    asked: list[Dataset] = []

    def extra_data(dataset: Dataset) -> ResidentData:
        asked.append(dataset)
        white = torch.full((7, 6, 6, 3), 255, dtype=torch.uint8)
        return replace(data(), train_images=white, train_labels=torch.zeros(7, dtype=torch.int64))

    found = []
    for non_members in ("validation", Digits(image_size=6)):
        model = original()
        unlearn(
            model, FAMILY, replace(PENALTY, non_members=non_members), data(), RANDOM, seed=SEED,
            compute=COMPUTE, make_model=new_model, extra_data=extra_data,
        )  # fmt: skip
        found.append(model.classifier.weight.detach())
    assert asked == [Digits(image_size=6)]
    assert not torch.equal(*found)
