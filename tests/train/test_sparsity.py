"""Which weights are pruned, against naive computations; and that an update leaves them at zero."""

from __future__ import annotations

import copy
import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.train.test_unlearning import SPLIT, data
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.errors import BadInput
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.schema import schema
from unlearn_ray.families.base import Family
from unlearn_ray.families.moco import MoCo
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Phase, Task, TrainingMethod
from unlearn_ray.methods.shared import frozen_copy
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.models.vit_small import ViTSmall
from unlearn_ray.testing.toy import TwoLayerBackbone
from unlearn_ray.train import sparsity
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.sparsity import (
    Masks,
    Sparsity,
    apply_masks,
    keeper,
    magnitude_masks,
    masks_of,
    prunable,
    synflow_masks,
)
from unlearn_ray.train.training import train_from_scratch
from unlearn_ray.train.unlearning import unlearn

COMPUTE = Compute.cpu()


def sparse_model(fraction: float = 0.6, family: Family | None = None) -> nn.Module:
    """A model whose smallest initial weights are pruned."""
    torch.manual_seed(0)
    model = (family or Supervised()).build(TwoLayerBackbone(), 10)
    model.sparsity = Masks(model.backbone)
    model.sparsity.set(magnitude_masks(model, fraction))
    apply_masks(model)
    return model


def pruned(model: nn.Module) -> Tensor:
    """All weights of the backbone that are to be zero."""
    masks = model.sparsity.by_parameter()
    return torch.cat([model.backbone.get_parameter(n)[~kept] for n, kept in masks.items()])


# What can be pruned


def test_convolutions_of_a_resnet_are_pruned_and_nothing_else() -> None:
    backbone = ResNet8(width=4).build(8)
    convolutions = {n for n, m in backbone.named_modules() if isinstance(m, nn.Conv2d)}
    assert set(prunable(backbone)) == {f"{name}.weight" for name in convolutions}
    assert len(convolutions) == 1 + 3 * 2 + 2


def test_matrices_of_a_transformer_are_pruned_and_embeddings_are_not() -> None:
    names = set(prunable(ViTSmall(patch=4, layers=1, heads=2, width=8).build(8)))
    assert {name.rsplit(".", 2)[-2] for name in names} == {
        "conv_proj", "self_attention", "out_proj", "0", "3",
    }  # fmt: skip
    assert sum("in_proj_weight" in name for name in names) == 1
    assert not any("bias" in name or "embedding" in name or "token" in name for name in names)


# Magnitude


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.95])
def test_the_smallest_weights_of_all_layers_are_pruned(fraction: float) -> None:
    torch.manual_seed(1)
    model = Supervised().build(TwoLayerBackbone(), 10)
    masks = magnitude_masks(model, fraction)
    assert list(masks) == ["conv.weight", "linear.weight"]
    sizes = sorted(
        (abs(w), name, position)
        for name in masks
        for position, w in enumerate(model.backbone.get_parameter(name).flatten().tolist())
    )
    gone = {(name, place) for _, name, place in sizes[: round(fraction * len(sizes))]}
    found = {
        (name, place)
        for name, kept in masks.items()
        for place, stays in enumerate(kept.flatten().tolist())
        if not stays
    }
    assert found == gone


def test_what_is_pruned_stays_pruned_even_where_a_kept_weight_is_zero() -> None:
    model = sparse_model(0.3)
    before = {name: kept.clone() for name, kept in model.sparsity.by_parameter().items()}
    with torch.no_grad():
        for weight in prunable(model.backbone).values():
            weight.zero_()
    after = magnitude_masks(model, 0.5)
    assert not any(bool((after[name] & ~kept).any()) for name, kept in before.items())
    total = sum(kept.numel() for kept in after.values())
    assert sum(int((~kept).sum()) for kept in after.values()) == round(0.5 * total)


@pytest.mark.parametrize(("fraction", "left"), [(0.9999, "none"), (1e-6, "all")])
def test_some_weights_stay_and_some_go(fraction: float, left: str) -> None:
    model = Supervised().build(TwoLayerBackbone(), 10)
    for choose in (magnitude_masks, partial(synflow_masks, image_size=6)):
        why = f"would leave {left} of the 192 weights that can be pruned"
        with pytest.raises(BadInput, match=why):
            choose(model, fraction=fraction)


# Rounds


def test_rounds_of_imp_prune_a_fifth_of_what_is_left() -> None:
    fractions = [0.95]
    earlier: Sparsity | None = Sparsity(method="imp", fraction=0.95)
    while (earlier := earlier.before()) is not None:
        assert earlier.method == "imp"
        fractions.append(earlier.fraction)
    assert len(fractions) == 14
    assert fractions[::-1][:3] == [0.2, 0.36, 0.488]
    left = [1.0, *(1 - fraction for fraction in fractions[::-1])]
    shares = [1 - after / before for before, after in itertools.pairwise(left)]
    assert shares[:-1] == pytest.approx([0.2] * 13)
    assert 0 < shares[-1] <= 0.2


def test_one_shot_and_short_searches_rank_dense_weights() -> None:
    assert Sparsity(method="omp", fraction=0.95).before() is None
    assert Sparsity(method="imp", fraction=0.2).before() is None
    assert Sparsity(method="imp", fraction=0.36).before() == Sparsity(method="imp", fraction=0.2)
    assert not Sparsity(method="synflow", fraction=0.95).by_magnitude


# SynFlow


class Chain(nn.Module):
    """Pixels of a 1 x 1 image through two layers, with batch norm between."""

    def __init__(self, hidden: int = 5, features: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, hidden, 1, bias=False)
        self.bn = nn.BatchNorm2d(hidden)
        self.second = nn.Linear(hidden, features, bias=False)
        self.feature_size = features

    def forward(self, images: Tensor) -> Tensor:
        return self.second(torch.relu(self.bn(self.first(images))).flatten(1))


def chain() -> nn.Module:
    torch.manual_seed(3)
    return Supervised().build(Chain(), 10)


def path_strengths(backbone: Chain, kept: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """By paths: pixel i - hidden unit j - feature k, one after the other."""
    first, second = (
        np.abs(backbone.get_parameter(name).detach().double().numpy()) * kept[name].numpy()
        for name in ("first.weight", "second.weight")
    )
    strengths = {"first.weight": np.zeros_like(first), "second.weight": np.zeros_like(second)}
    for i, j, k in itertools.product(range(3), range(5), range(4)):
        path = first[j, i, 0, 0] * second[k, j] / np.sqrt(1 + backbone.bn.eps)
        strengths["first.weight"][j, i, 0, 0] += path
        strengths["second.weight"][k, j] += path
    return strengths


def test_synflow_prunes_the_weights_of_the_weakest_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    model = chain()
    before = copy.deepcopy(model.state_dict())
    wanted = []
    choose = sparsity._largest

    def check(
        scores: dict[str, Tensor], kept: dict[str, Tensor], fraction: float
    ) -> dict[str, Tensor]:
        expected = path_strengths(model.backbone, kept)
        for name, score in scores.items():
            np.testing.assert_allclose(score.numpy(), expected[name], rtol=1e-12)
        wanted.append(fraction)
        return choose(scores, kept, fraction)

    monkeypatch.setattr(sparsity, "_largest", check)
    masks = synflow_masks(model, 1, 0.8)
    assert wanted == pytest.approx([1 - 0.2 ** (number / 100) for number in range(1, 101)])
    assert sum(int(kept.sum()) for kept in masks.values()) == 35 - 28
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_synflow_keeps_its_fraction_and_paths_through_a_resnet() -> None:
    """A block may be gone: its shortcut leads past it."""
    torch.manual_seed(0)
    model = Supervised().build(ResNet8(width=4).build(8), 10)
    masks = synflow_masks(model, 8, 0.95)
    total = sum(kept.numel() for kept in masks.values())
    assert sum(int(kept.sum()) for kept in masks.values()) == total - round(0.95 * total)
    assert list(masks) == list(prunable(model.backbone))
    backbone = model.backbone.eval()
    with torch.no_grad():
        for name, weight in backbone.named_parameters():
            weight.abs_().mul_(masks.get(name, 1))
    image = torch.ones(1, 3, 8, 8, requires_grad=True)
    backbone(image).sum().backward()
    assert image.grad.max() > 0


# Masks in a model


def test_masks_are_in_the_state_dict_and_are_not_trained() -> None:
    model = sparse_model()
    kept = model.state_dict()["sparsity.conv/weight"]
    assert kept.dtype == torch.bool
    assert not list(model.sparsity.parameters())
    other = sparse_model(0.1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.sparsity.by_parameter()["conv.weight"], kept)
    assert copy.deepcopy(model).sparsity is not model.sparsity


def test_dense_models_have_nothing_to_keep() -> None:
    model = Supervised().build(TwoLayerBackbone(), 10)
    assert masks_of(model) is None
    assert keeper(model) is None


def test_masks_that_a_resumed_run_restores_are_kept() -> None:
    model = sparse_model(0.5)
    keep = keeper(model)
    assert keep is not None
    restored = {name: ~kept for name, kept in model.sparsity.by_parameter().items()}
    model.sparsity.set(restored)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(1)
    keep()
    for name, weight in prunable(model.backbone).items():
        assert torch.equal(weight.bool(), restored[name])


def test_momentum_copies_are_masked_alike() -> None:
    model = sparse_model(family=MoCo(queue_size=8))
    pairs = list(model.sparsity.pairs(model))
    assert len(pairs) == 2 * len(model.sparsity.by_parameter())
    assert all(bool((weight[~kept] == 0).all()) for weight, kept in pairs)
    assert torch.equal(model.key_backbone.conv.weight, model.backbone.conv.weight)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("family", [Supervised(), MoCo(queue_size=8)], ids=lambda f: f.name)
def test_training_keeps_pruned_weights_at_zero(optimizer: str, family: Family) -> None:
    model = sparse_model(family=family)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():  # as a model comes that was not masked yet
        model.backbone.conv.weight.add_(0.1)
    seen = []

    def look(module: nn.Module, _: object) -> None:
        seen.append(bool((pruned(model) == 0).all()))

    model.backbone.register_forward_pre_hook(look)
    recipe = Recipe(
        optimizer=optimizer, epochs=3, batch_size=8, learning_rate=0.1, weight_decay=0.1
    )
    train_from_scratch(model, family, recipe, data(), np.arange(40), seed=0, compute=COMPUTE)
    assert len(seen) == 15
    assert all(seen)
    for weight, kept in model.sparsity.pairs(model):
        assert bool((weight[~kept] == 0).all())
        assert bool((weight[kept] != 0).all())
    after = model.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith("sparsity."))


@schema
class Restless(TrainingMethod):
    """Moves weights wherever a method may, and trains a copy of the model."""

    batch_size: int = 4
    learning_rate: float = 0.1

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        state = nn.Module()
        state.student, state.teacher = copy.deepcopy(model), frozen_copy(model)
        self.move(model)
        return state

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Tensor:
        for one in (model, task.state.student, task.state.teacher):
            assert bool((pruned(one) == 0).all())
        criterion = task.family.criterion
        return criterion(model, batch) + criterion(task.state.student, batch)

    def phases(self, model: nn.Module, task: Task) -> list[Phase]:
        def move() -> None:
            for one in (model, task.state.student):
                assert bool((pruned(one) == 0).all())
                self.move(one)

        return [
            Phase(self.recipe, "all", self.loss, module=module, after_update=move, after=move)
            for module in (None, task.state, None)
        ]

    def finish(self, model: nn.Module, task: Task) -> None:
        assert bool((pruned(model) == 0).all())
        self.move(model)

    @torch.no_grad()
    def move(self, model: nn.Module) -> None:
        model.backbone.conv.weight.add_(0.01)


def test_no_call_of_a_method_moves_pruned_weights() -> None:
    model = sparse_model()
    report = unlearn(
        model, Supervised(), Restless(epochs=2), data(), SPLIT, seed=0, compute=COMPUTE,
        make_model=lambda _: sparse_model(),
    )  # fmt: skip
    assert report.iterations == 3 * 2 * 8
    assert bool((pruned(model) == 0).all())
