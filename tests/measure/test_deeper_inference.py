"""What quantities ask of the model itself: blocks, the last layer, perturbed images, relearning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.measure import test_embeddings as clip
from tests.measure.test_inference import CLASSES, CPU, DATA, SPLIT, resident, split_of, watch
from unlearn_ray.core.recipe import Player, Recipe
from unlearn_ray.data.augmentation import normalise
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.measure import relearning
from unlearn_ray.measure.features import BLOCK
from unlearn_ray.measure.inference import Inference
from unlearn_ray.measure.probe import Probe
from unlearn_ray.testing.toy import TwoLayerBackbone
from unlearn_ray.train.loop import Iteration, Report, Training, optimise

SGD = Recipe(
    batch_size=5, learning_rate=0.1, momentum=0.9, weight_decay=0, schedule="constant",
    last_batch="keep",
)  # fmt: skip


def supervised(seed: int = 1, embedding_size: int | None = None) -> Inference:
    family = Supervised(embedding_size=embedding_size)

    def make(number: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            return family.build(TwoLayerBackbone(), CLASSES)

    return Inference(
        make(seed), DATA, SPLIT, family=family, probe=Probe(), seed=0, compute=CPU, make_model=make
    )


INFERENCES = {
    "supervised": supervised,
    "with a head": lambda: supervised(embedding_size=4),
    "probe": lambda: watch().inference,
    "prompts": lambda: clip.watch().inference,
}
each_kind = pytest.mark.parametrize("kind", INFERENCES)


def test_labels_stand_in_the_order_of_the_ids() -> None:
    inference = watch().inference
    assert torch.equal(inference.labels("forget"), DATA.train_labels[SPLIT.forget])
    assert torch.equal(inference.labels("test"), DATA.test_labels)


@each_kind
def test_the_head_gives_the_logits_up_to_a_factor(kind: str) -> None:
    inference = INFERENCES[kind]()
    head = inference.head("forget", 100)
    logits = head.inputs @ head.weights.T + head.bias
    expected = inference.logits("forget")
    factor = 1.0
    if kind == "prompts":
        factor = float((expected.norm() / logits.norm()).detach())
        torch.testing.assert_close(head.weights.norm(dim=1), torch.ones(CLASSES))
    torch.testing.assert_close(factor * logits, expected, rtol=1e-4, atol=1e-5)


@each_kind
def test_without_noise_perturbed_logits_are_the_logits(kind: str) -> None:
    inference = INFERENCES[kind]()
    found = inference.perturbed_logits("forget", 0, 0, 7)
    torch.testing.assert_close(found, inference.logits("forget")[:7], rtol=1e-4, atol=1e-5)


def unnormalised(batch: Tensor) -> Tensor:
    """The 8-bit levels of network input, (N, H, W, 3)."""
    levels = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(256, 1, 1, 3)
    known = normalise(levels.contiguous())[:, :, 0, 0]
    found = (batch.permute(0, 2, 3, 1)[..., None] - known.T).abs()
    assert float(found.amin(dim=-1).max()) < 1e-5
    return found.argmin(dim=-1)


def test_perturbed_images_are_8_bit_images_in_the_ball() -> None:
    watched = watch()
    watched.inference.perturbed_logits("forget", 9, 0, 12)
    apart = unnormalised(watched.batches[-1]) - DATA.train_images[SPLIT.forget].long()
    assert int(apart.abs().max()) == 9
    # Uniform over 19 levels, where no level is clipped.
    inside = (DATA.train_images[SPLIT.forget] >= 9) & (DATA.train_images[SPLIT.forget] <= 246)
    counts = torch.bincount(apart[inside] + 9, minlength=19).double()
    expected = counts.sum() / 19
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 60  # 18 degrees of freedom: p < 2e-6


def test_models_are_shown_the_same_perturbations_and_draws_differ() -> None:
    first, second = watch(1), watch(2)
    for watched in (first, second):
        watched.inference.features("retain")
        watched.inference.logits("test")
        watched.batches.clear()
    second.inference.perturbed_logits("forget", 4, 3, 12)
    second.batches.clear()
    for watched in (first, second):
        for draw in range(2):
            watched.inference.perturbed_logits("forget", 4, draw, 12)
    assert all(map(torch.equal, first.batches, second.batches))
    assert not torch.equal(first.batches[0], first.batches[1])


def test_fewer_samples_are_the_first_of_more() -> None:
    data, split = resident(2 * BLOCK + 60, 5), split_of(2 * BLOCK + 60, 7)
    inference = watch(data=data, split=split, probe=Probe(epochs=1)).inference
    blocks = inference.block_features("retain", 10**6)
    noisy = inference.perturbed_logits("retain", 8, 0, 10**6)
    assert {len(noisy), *map(len, blocks.values())} == {2 * BLOCK + 50}
    for limit in (1, BLOCK, BLOCK + 1):
        assert torch.equal(inference.perturbed_logits("retain", 8, 0, limit), noisy[:limit])
        fresh = watch(data=data, split=split).inference.block_features("retain", limit)
        assert all(torch.equal(fresh[name], blocks[name][:limit]) for name in blocks)


def test_blocks_are_computed_once() -> None:
    watched = watch()
    first = watched.inference.block_features("forget", 5)
    assert watched.images == 12
    again = watched.inference.block_features("forget", 12)
    assert watched.images == 12
    assert all(torch.equal(first[name], again[name][:5]) for name in first)
    assert torch.equal(again["linear"], watched.inference.features("forget"))


@each_kind
def test_random_logits_are_those_of_no_trained_model(kind: str) -> None:
    inference = INFERENCES[kind]()
    found = inference.random_logits("forget")
    assert found.shape == (12, CLASSES)
    assert torch.equal(found, INFERENCES[kind]().random_logits("forget"))
    assert not torch.allclose(found, inference.logits("forget"))


def test_random_logits_are_the_same_for_all_models_of_a_seed() -> None:
    assert torch.equal(*(supervised(seed).random_logits("forget") for seed in (1, 2)))
    of_probes = [watch(seed).inference.random_logits("forget") for seed in (1, 2)]
    assert torch.equal(*of_probes)
    other = watch(1, evidence_seed=1).inference.random_logits("forget")
    assert not torch.equal(of_probes[0], other)


def test_a_probe_of_given_features_learns_what_is_linear() -> None:
    drawn = torch.Generator().manual_seed(0)
    inputs, others = (torch.randn(n, 4, generator=drawn) for n in (300, 200))
    classes = torch.randn(4, CLASSES, generator=drawn)
    labels, truth = ((rows @ classes).argmax(dim=1) for rows in (inputs, others))
    recipe = Recipe(epochs=30, batch_size=100, learning_rate=1.0, weight_decay=0)
    logits = watch().inference.probe_logits(inputs, labels, others, recipe)
    assert logits.shape == (200, CLASSES)
    assert float((logits.argmax(dim=1) == truth).double().mean()) > 0.9
    shuffled = labels[torch.randperm(300, generator=drawn)]
    guesses = watch().inference.probe_logits(inputs, shuffled, others, recipe).argmax(dim=1)
    assert float((guesses == truth).double().mean()) < 0.7


def naive_losses(inference: Inference, orders: list[Tensor], samples: int) -> list[float]:
    """SGD with momentum by hand, over batches of given rows of the forget set."""
    model = supervised().model.eval()
    images = normalise(DATA.train_images[SPLIT.forget])
    labels = DATA.train_labels[SPLIT.forget]
    speeds = {name: torch.zeros_like(weights) for name, weights in model.named_parameters()}

    def loss(rows: Tensor) -> Tensor:
        return functional.cross_entropy(model(images[rows]), labels[rows])

    losses = [float(loss(torch.arange(samples)).detach())]
    for rows in orders:
        model.zero_grad()
        torch.autograd.backward(loss(rows))
        with torch.no_grad():
            for name, weights in model.named_parameters():
                assert weights.grad is not None
                speeds[name] = 0.9 * speeds[name] + weights.grad
                weights.sub_(0.1 * speeds[name])
        losses.append(float(loss(torch.arange(samples)).detach()))
    return losses


def test_relearning_is_sgd_on_the_forget_set(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[Tensor] = []

    def watched(training: Training, *args: Any, **more: Any) -> Report:
        (player,) = training.players

        def loss(iteration: Iteration) -> Tensor:
            orders.append(iteration.rows)
            return player.loss(iteration)

        seen = Player(player.module, player.recipe, loss)
        changed = Training(
            (seen,), training.count, training.seed, iterations=training.iterations,
            after_update=training.after_update,
        )  # fmt: skip
        return optimise(changed, *args, **more)

    monkeypatch.setattr(relearning, "optimise", watched)
    inference = supervised()
    losses = inference.relearning_losses("forget", SGD, 7, 9)
    assert [len(rows) for rows in orders] == [5, 5, 2, 5, 5, 2, 5]
    assert sorted(torch.cat(orders[:3]).tolist()) == list(range(12))
    assert losses.tolist() == pytest.approx(naive_losses(inference, orders, 9), rel=1e-4)


@each_kind
def test_relearning_lowers_the_loss_and_leaves_the_model(kind: str) -> None:
    inference = INFERENCES[kind]()
    before = {name: value.clone() for name, value in inference.model.state_dict().items()}
    logits = inference.logits("forget")
    descent = replace(SGD, batch_size=12, momentum=0, learning_rate=0.01)
    losses = inference.relearning_losses("forget", descent, 20, 12)
    assert losses.shape == (21,)
    expected = functional.cross_entropy(logits.double(), inference.labels("forget"))
    assert float(losses[0]) == pytest.approx(float(expected), rel=1e-4)
    assert float(losses[-1]) < float(losses[0])
    assert torch.equal(losses, inference.relearning_losses("forget", descent, 20, 12))
    assert all(torch.equal(v, before[n]) for n, v in inference.model.state_dict().items())
    assert all(p.grad is None for p in inference.model.parameters())
    assert torch.equal(logits, INFERENCES[kind]().logits("forget"))


def test_training_flags_come_back() -> None:
    def partly_training(model: nn.Module) -> None:
        model.train()
        model.get_submodule("backbone.bn").eval()

    watched = watch(change=partly_training)
    inference = watched.inference
    assert len(inference.head("forget", 5).inputs) == 5
    inference.block_features("forget", 5)
    inference.perturbed_logits("forget", 2, 0, 5)
    inference.relearning_losses("forget", SGD, 2, 5)
    assert [m.training for m in watched.model.backbone.modules()] == [True, True, False, True]
