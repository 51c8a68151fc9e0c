"""Adversarial unlearning's equations against loops, its schedule, and what it leaves."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.methods.exact import CLASSES, prepared, small_model, small_task
from tests.methods.problem import CLASS, RANDOM, Outcome, original, run
from tests.restarts import Kept, stop_at_report
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.errors import StopRequested
from unlearn_ray.core.schema import schema
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods import observation
from unlearn_ray.methods.adversarial import Adversarial
from unlearn_ray.methods.attacker import Attacker, Observed, Pair, membership_loss
from unlearn_ray.methods.base import Phase, Task
from unlearn_ray.methods.observation import barlow_twins, by_batch_statistics, observe
from unlearn_ray.methods.shared import drawn_seed
from unlearn_ray.testing.toy import random_batch
from unlearn_ray.train import loop

FAMILY = Supervised()
SMALL = Adversarial(draws=3)
QUICK = Adversarial(epochs=2, batch_size=24, draws=2, pretraining_epochs=2, class_iterations=4)


def part(size: int, seed: int) -> Batch:
    batch = random_batch(size, views=1, image_size=4, seed=seed, dtype=torch.float64)
    return replace(batch, labels=batch.labels % CLASSES)


def batch_of(retain: int = 6, forget: int = 5, validation: int = 4) -> Batch:
    return replace(part(retain, 0), companions=(part(forget, 1), part(validation, 2)))


def seen_by(model: nn.Module, batch: Batch, through: bool = True) -> Pair:
    return observe(
        model, FAMILY, batch.companions, torch.Generator().manual_seed(4),
        draws=3, scale=1e-3, through=through,
    )  # fmt: skip


def cross_entropy(logits: list[float], label: int) -> float:
    return math.log(math.fsum(map(math.exp, logits))) - logits[label]


def by_batch(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits where batch norm takes the batch's own statistics."""
    twin = copy.deepcopy(model).train()
    with torch.no_grad():
        features = twin.backbone(images)
        return features, twin.classifier(features)


def naive_observed(model: nn.Module, batch: Batch, count: int, noise: torch.Generator) -> Observed:
    images = batch.views[0][:count]
    features, logits = by_batch(model, images)
    changes = torch.zeros_like(logits)
    for _ in range(3):
        drawn = torch.randn(images.shape, generator=noise)
        moved = images.clone()
        for channel, deviation in enumerate(FAMILY.augmentation.std):
            # Noise of 1e-3 in pixels, before the normalisation divided by the deviation.
            moved[:, channel] += 1e-3 * drawn[:, channel] / deviation
        _, noisy = by_batch(model, moved)
        for row in range(count):
            for label in range(CLASSES):
                changes[row, label] += abs(noisy[row, label] - logits[row, label]) / 1e-3 / 3
    return Observed(logits, changes, features, batch.labels[:count])


def naive_twins(first: Tensor, second: Tensor, off_diagonal: float) -> float:
    count, size = first.shape

    def standardised(features: Tensor) -> list[list[float]]:
        columns = []
        for column in features.T.tolist():
            mean = math.fsum(column) / count
            variance = math.fsum((value - mean) ** 2 for value in column) / count
            columns.append([(value - mean) / math.sqrt(variance + 1e-5) for value in column])
        return columns

    ones, others = standardised(first), standardised(second)
    total = 0.0
    for i in range(size):
        for j in range(size):
            c = math.fsum(a * b for a, b in zip(ones[i], others[j], strict=True)) / count
            total += (1 - c) ** 2 if i == j else off_diagonal * c**2
    return total


def naive_attack(attacker: nn.Module, seen: Pair, labels: tuple[int, int]) -> float:
    losses = []
    for observed, label in zip(seen, labels, strict=True):
        for row in range(len(observed.labels)):
            shown = torch.zeros(3, CLASSES, dtype=torch.float64)
            for k in range(CLASSES):
                shown[0, k] = observed.logits[row, k]
                shown[1, k] = 1.0 if int(observed.labels[row]) == k else 0.0
                shown[2, k] = observed.sensitivity[row, k]
            losses.append(cross_entropy(attacker(shown[None])[0].tolist(), label))
    return math.fsum(losses) / len(losses)


class TestObservation:
    def test_sensitivity_and_the_rest(self) -> None:
        model, batch = small_model(), batch_of()
        noise = torch.Generator().manual_seed(drawn_seed(torch.Generator().manual_seed(4)))
        before = copy.deepcopy(model.state_dict())
        for found, own in zip(seen_by(model, batch), batch.companions, strict=True):
            expected = naive_observed(model, own, 4, noise)
            assert torch.equal(found.labels, own.labels[:4])
            torch.testing.assert_close(found.logits, expected.logits)
            torch.testing.assert_close(found.features, expected.features)
            torch.testing.assert_close(found.sensitivity, expected.sensitivity, rtol=1e-6, atol=0)
            assert bool((found.sensitivity > 0).all())
        for name, value in model.state_dict().items():
            assert name.endswith("num_batches_tracked") or torch.equal(value, before[name])

    def test_repeated_forward_passes_change_no_number(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def update() -> tuple[list[Tensor], dict[str, Tensor], int]:
            model, kept = small_model().float().train(), 0

            def keep(tensor: Tensor) -> Tensor:
                nonlocal kept
                kept += tensor.numel() * tensor.element_size()
                return tensor

            batch = batch_of()
            parts = (replace(each, views=(each.views[0].float(),)) for each in batch.companions)
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                seen = seen_by(model, replace(batch, companions=tuple(parts)))
            # As the loop does, which has moved the running statistics on by then.
            model(torch.zeros(3, 3, 4, 4) + torch.arange(3).view(3, 1, 1, 1))
            sum(each.sensitivity.sum() + each.features.sum() for each in seen).backward()
            gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
            return gradients, model.state_dict(), kept

        repeated = update()
        monkeypatch.setattr(observation, "checkpoint", lambda model, images, **_: model(images))
        kept = update()
        assert len(kept[0]) == len(repeated[0]) > 0
        assert all(map(torch.equal, kept[0], repeated[0]))
        assert kept[1].keys() == repeated[1].keys()
        assert all(torch.equal(kept[1][name], repeated[1][name]) for name in kept[1])
        # Of 1 + 3 forward passes, one is kept.
        assert repeated[2] < 0.5 * kept[2]

    @pytest.mark.parametrize("training", [True, False])
    def test_modes_are_as_before(self, training: bool) -> None:
        model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5), nn.BatchNorm1d(2, momentum=0.3))
        model.train(training)[2].eval()
        with by_batch_statistics(model):
            flags = [module.training for module in model]
        assert flags == [True, False, True]
        assert [module.training for module in model] == [training, training, False]
        assert [model[0].momentum, model[2].momentum] == [0.1, 0.3]

    def test_precision_is_full(self) -> None:
        model, batch = small_model().float(), batch_of()
        batch = replace(
            batch,
            companions=tuple(replace(b, views=(b.views[0].float(),)) for b in batch.companions),
        )
        with torch.autocast("cpu", torch.bfloat16):
            rough = seen_by(model, batch)
        for one, other in zip(rough, seen_by(model, batch), strict=True):
            assert one.logits.dtype == torch.float32
            torch.testing.assert_close(one.sensitivity, other.sensitivity)

    def test_gradients_through_sensitivity(self) -> None:
        model, batch = small_model(), batch_of()
        weight = model.classifier.weight
        for kind, flows in (("sensitivity", False), ("logits", True), ("features", True)):
            values = getattr(seen_by(model, batch, through=False)[0], kind)
            parameter = model.backbone.linear.weight
            (found,) = torch.autograd.grad(values.square().sum(), parameter, allow_unused=True)
            assert bool(found.any()) == flows
        (gradient,) = torch.autograd.grad(seen_by(model, batch)[0].sensitivity.sum(), weight)
        for index in [(0, 0), (1, 2), (3, 3)]:
            values = []
            for step in (1e-5, -1e-5):
                moved = small_model()
                with torch.no_grad():
                    moved.classifier.weight[index] += step
                    values.append(float(seen_by(moved, batch)[0].sensitivity.sum()))
            difference = (values[0] - values[1]) / 2e-5
            assert float(gradient[index]) == pytest.approx(difference, rel=1e-4, abs=1e-6)


class TestAttacker:
    def test_a_token_per_class(self) -> None:
        torch.manual_seed(0)
        attacker = Attacker(CLASSES).double()
        shown = torch.randn(6, 3, CLASSES, dtype=torch.float64) * 4 + 1
        tokens: list[Tensor] = []
        attacker.embed.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0]))
        assert attacker(shown).shape == (6, 2)
        assert tokens[0].shape == (6, CLASSES, 3)
        for kind in range(3):
            for k in range(CLASSES):
                column = shown[:, kind, k].tolist()
                mean = math.fsum(column) / 6
                variance = math.fsum((value - mean) ** 2 for value in column) / 6
                expected = [(value - mean) / math.sqrt(variance + 1e-5) for value in column]
                assert tokens[0][:, k, kind].tolist() == pytest.approx(expected)

    def test_published_network(self) -> None:
        attacker = Attacker(100)
        layers = list(attacker.layers.layers)
        assert len(layers) == 3
        for layer in layers:
            assert (layer.self_attn.num_heads, layer.self_attn.embed_dim) == (4, 64)
            assert (layer.linear1.out_features, layer.dropout.p) == (128, 0.2)
        sizes = [[m.in_features, m.out_features] for m in attacker.head if hasattr(m, "bias")]
        assert sizes == [[6400, 64], [64, 2]]
        assert attacker.norm.num_features == 300

    @pytest.mark.parametrize("swapped", [True, False])
    def test_loss(self, swapped: bool) -> None:
        model, attacker = small_model(), Attacker(CLASSES).double().eval()
        seen = seen_by(model, batch_of())
        loss = membership_loss(attacker, seen, torch.Generator(), swapped=swapped)
        expected = naive_attack(attacker, seen, (0, 1) if swapped else (1, 0))
        assert loss.item() == pytest.approx(expected)
        loss.backward()
        # Its own loss leaves the classifier alone.
        assert (model.classifier.weight.grad is not None) == swapped

    def test_dropout_is_the_generators(self) -> None:
        attacker, seen = Attacker(CLASSES).double(), seen_by(small_model(), batch_of())
        losses: list[Any] = []
        for seed in (0, 0, 1):
            torch.manual_seed(len(losses))
            before = torch.get_rng_state()
            generator = torch.Generator().manual_seed(seed)
            losses.append(membership_loss(attacker, seen, generator).item())
            assert torch.equal(torch.get_rng_state(), before)
        assert losses[0] == losses[1] != losses[2]


class TestBarlowTwins:
    def test_loops(self) -> None:
        noise = torch.Generator().manual_seed(0)
        first, second = torch.randn(2, 7, 4, generator=noise, dtype=torch.float64)
        second = second + 2 * first
        found = barlow_twins(first, second, 0.3)
        assert found.item() == pytest.approx(naive_twins(first, second, 0.3))
        assert barlow_twins(first, first, 0).item() == pytest.approx(0, abs=1e-8)

    def test_a_feature_without_variance_does_no_harm(self) -> None:
        first = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
        first[:, 1] = 2
        first.requires_grad_()
        loss = barlow_twins(first, first.detach(), 5e-3)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(1, abs=0.02)
        assert bool(first.grad.isfinite().all())


class TestLoss:
    def turns(self, method: Adversarial = SMALL) -> tuple[nn.Module, Task, Phase]:
        model = small_model()
        task = prepared(method, model, small_task())
        task.state.eval()  # Its dropout would be another's in the naive computation.
        _, phase = method.phases(model, task)
        return model.train(), task, phase

    def expected(self, method: Adversarial, model: nn.Module, task: Task, batch: Batch) -> float:
        twin = torch.Generator()
        twin.set_state(batch.generator.get_state())
        noise = torch.Generator().manual_seed(drawn_seed(twin))
        first, second = (naive_observed(model, own, 4, noise) for own in batch.companions)
        _, logits = by_batch(model, batch.views[0])
        errors = [
            cross_entropy(row, label)
            for row, label in zip(logits.tolist(), batch.labels.tolist(), strict=True)
        ]
        return (
            math.fsum(errors) / len(errors)
            + method.attack_weight * naive_attack(task.state, (first, second), (0, 1))
            + method.twins_weight
            * naive_twins(first.features, second.features, method.off_diagonal)
        )

    @pytest.mark.parametrize(
        "method",
        [
            SMALL,
            replace(SMALL, attack_weight=0.3, twins_weight=2.0, off_diagonal=0.7),
            replace(SMALL, through_sensitivity=False),
        ],
        ids=["defaults", "weights", "cheap"],
    )
    def test_model(self, method: Adversarial) -> None:
        model, task, phase = self.turns(method)
        batch = batch_of()
        expected = self.expected(method, model, task, batch)
        assert phase.loss(model, batch, task).item() == pytest.approx(expected)

    def test_gradient_is_that_of_the_loss(self) -> None:
        model, task, phase = self.turns()
        phase.loss(model, batch_of(), task).backward()
        for weight, index in ((model.backbone.linear.weight, (1, 2)), (model.classifier.bias, 3)):
            values = []
            for step in (1e-6, -1e-6):
                moved = copy.deepcopy(model)
                names = {id(each): name for name, each in model.named_parameters()}
                with torch.no_grad():
                    moved.get_parameter(names[id(weight)])[index] += step
                values.append(self.expected(SMALL, moved, task, batch_of()))
            difference = (values[0] - values[1]) / 2e-6
            assert float(weight.grad[index]) == pytest.approx(difference, rel=1e-4, abs=1e-7)

    def test_what_the_attacker_saw_is_not_computed_again(self) -> None:
        model, task, phase = self.turns()
        calls = []
        model.backbone.register_forward_hook(lambda *_: calls.append(1))
        batch = batch_of()
        another, same, afresh = self.turns()
        alone = afresh.loss(another, batch_of(), same)
        loss = phase.opponent.loss(model, batch, task)
        assert len(calls) == 2 * (1 + SMALL.draws)
        found = phase.loss(model, batch, task)
        assert len(calls) == 2 * (1 + SMALL.draws) + 1
        torch.testing.assert_close(found, alone)
        loss.backward()
        assert all(weight.grad is None for weight in model.parameters())
        found.backward()
        assert all(weight.grad is not None for weight in model.parameters())

    def test_attackers(self) -> None:
        model, task, phase = self.turns()
        pretraining, _ = SMALL.phases(model, task)
        for loss, batch, sets in (
            (phase.opponent.loss, batch_of(), slice(1, 3)),
            (pretraining.loss, replace(batch_of(), companions=(part(4, 2),)), slice(0, 2)),
        ):
            noise = torch.Generator()
            noise.set_state(batch.generator.get_state())
            noise = torch.Generator().manual_seed(drawn_seed(noise))
            members, others = (batch, *batch.companions)[sets]
            seen = (
                naive_observed(model, members, 4, noise),
                naive_observed(model, others, 4, noise),
            )
            found = loss(model, batch, task).item()
            assert found == pytest.approx(naive_attack(task.state, seen, (1, 0)))


class TestPhases:
    def phases(self, method: Adversarial, task: Task) -> list[Phase]:
        model = small_model()
        return list(method.phases(model, prepared(method, model, task)))

    def test_samples(self) -> None:
        method = Adversarial(epochs=3, batch_size=5, pretraining_epochs=2)
        first, second = self.phases(method, small_task(12, 5))
        assert (first.trains_on, first.companions) == ("all", ("validation",))
        recipe = first.recipe
        assert isinstance(first.module, Attacker)
        assert (recipe.optimizer, recipe.learning_rate, recipe.weight_decay) == ("adam", 1e-3, 0)
        assert (recipe.epochs, recipe.batch_size, first.iterations) == (2, 5, None)
        assert (second.trains_on, second.companions) == ("retain", ("forget", "validation"))
        # 12 retain samples are 2 batches of 5 and one of 2.
        assert (second.iterations, second.module) == (9, None)
        assert (second.recipe.learning_rate, second.recipe.momentum) == (0.01, 0.9)
        assert isinstance(second.opponent.module, Attacker)
        assert second.opponent.recipe == recipe

    @pytest.mark.parametrize(
        ("limit", "iterations"), [(4, [4, 5]), (9, [9]), (30, [9]), (0, [9])]
    )  # fmt: skip
    def test_classes(self, limit: int, iterations: list[int]) -> None:
        method = Adversarial(epochs=3, batch_size=5, class_iterations=limit)
        _, *found = self.phases(method, small_task(12, 5, forgotten=(2,)))
        assert [phase.iterations for phase in found] == iterations
        rates = {0: [0.01], 4: [0.02, 0.01]}.get(limit, [0.02])
        assert [phase.recipe.learning_rate for phase in found] == rates
        assert (found[-1].opponent is None) == (limit < 9)

    def test_none(self) -> None:
        assert self.phases(Adversarial(epochs=0), small_task()) == []
        assert len(self.phases(Adversarial(pretraining_epochs=0), small_task())) == 1


@cache
def undisturbed() -> Outcome:
    return run(QUICK, CLASS)


def test_published_settings() -> None:
    method = Adversarial()
    assert (method.epochs, method.batch_size, method.momentum) == (3, 256, 0.9)
    assert (method.learning_rate, method.class_learning_rate) == (0.01, 0.02)
    assert (method.weight_decay, method.schedule, method.class_iterations) == (5e-4, "constant", 30)
    assert (method.attack_weight, method.twins_weight, method.off_diagonal) == (0.9, 1e-3, 5e-3)
    assert (method.draws, method.scale, method.attacker_learning_rate) == (10, 1e-3, 1e-3)
    # 1000 updates, on 45,000 images.
    assert method.recipe.layout(45_000).batches * method.pretraining_epochs == 1056
    assert method.extra_data() == ("validation",)
    reason = Adversarial.unsupported(SimCLR(), Random())
    assert reason == "adversarial needs a classifier; simclr has none"


class TestRuns:
    def test_pretraining_tells_members_from_the_rest(self) -> None:
        losses: list[Tensor] = []

        @schema
        class Pretraining(Adversarial):
            """Ends there."""

            def phases(self, model: nn.Module, task: Task) -> list[Phase]:
                phase, *_ = super().phases(model, task)

                def noted(model: nn.Module, batch: Batch, task: Task) -> Tensor:
                    losses.append(phase.loss(model, batch, task))
                    return losses[-1]

                return [replace(phase, loss=noted)]

        left = run(Pretraining(batch_size=40, draws=2, pretraining_epochs=25), RANDOM)
        found = [float(loss.detach()) for loss in losses]
        assert len(found) == 100
        assert sum(found[-20:]) / 20 < min(math.log(2), sum(found[:5]) / 5 - 0.03)
        for name, value in original().state_dict().items():
            assert name.endswith("num_batches_tracked") or torch.equal(value, left.weights[name])

    def test_samples(self) -> None:
        """The attacker pushes only forget samples; without it, both sets' losses grow alike."""
        method = replace(QUICK, epochs=20, attack_weight=0.5, pretraining_epochs=8)
        left, alone = (run(each, RANDOM) for each in (method, replace(method, attack_weight=0)))
        assert left.grown(RANDOM.forget) > 1.1 * left.grown(RANDOM.retain)
        assert alone.grown(RANDOM.forget) < 1.05 * alone.grown(RANDOM.retain)
        assert left.accuracy(RANDOM.retain) > 0.9

    def test_a_class(self) -> None:
        method = replace(QUICK, epochs=5, class_iterations=15, class_learning_rate=0.03)
        left = run(method, CLASS)
        # Fine-tuning on the other classes alone makes it 1.4 times.
        assert left.grown(CLASS.forget) > 3 * left.grown(CLASS.retain)
        assert left.accuracy(CLASS.retain) > 0.9

    def test_zero_epochs_leave_every_bit(self) -> None:
        for split in (RANDOM, CLASS):
            left = run(replace(QUICK, epochs=0), split)
            assert left.same_as(original())
            assert left.report.iterations == 0

    # 12 updates of the attacker, 4 in turn, 8 of fine-tuning; a phase's end tells once more.
    @pytest.mark.parametrize("stopped_at", [3, 12, 13, 14, 16, 18, 19, 24])
    def test_a_restart_changes_nothing(
        self, stopped_at: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
        expected = undisturbed()
        assert expected.report.iterations == 12 + 4 + 8
        kept = Kept()
        with pytest.raises(StopRequested):
            run(QUICK, CLASS, kept, stop_at_report(stopped_at))
        assert run(QUICK, CLASS, kept).same_as(expected.model)

    def test_what_a_run_draws_is_its_own(self) -> None:
        torch.manual_seed(1)
        first = run(QUICK, RANDOM)
        torch.manual_seed(2)
        assert run(QUICK, RANDOM).same_as(first.model)
        assert not first.same_as(original())
