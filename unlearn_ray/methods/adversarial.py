"""Discriminative adversarial unlearning: against an attacker that tells members from the rest.

Sharma et al., "Discriminative Adversarial Unlearning", 2024 (arXiv 2402.06864).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.recipe import LastBatch
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    schema,
)
from unlearn_ray.methods.attacker import Attacker, Pair, membership_loss
from unlearn_ray.methods.base import (
    ClassifierMethod,
    Opponent,
    OwnBatches,
    PartName,
    Phase,
    Source,
    Task,
    classifier_family,
)
from unlearn_ray.methods.observation import barlow_twins, observe
from unlearn_ray.methods.shared import seeded_globally


@register("adversarial")
@schema
class Adversarial(ClassifierMethod):
    """L = CE(retain) + attack_weight * CE(A(forget, validation), swapped) + twins_weight * BT.

    The attacker A, pretrained on members against the validation set, descends in every iteration
    on CE(A(forget, validation), member or not), and the model then on L, where A's labels are
    swapped. A sees a token per class (`methods/attacker.py`); BT is Barlow Twins' loss between
    the features of both batches, in the order they come. In class unlearning (the retain set
    lacks all classes of the forget set) only the first iterations are such, and the rest is
    fine-tuning, with new momentum.

    What the paper leaves open is as in its authors' code: gradients flow through the sensitivity,
    forget and validation batch are normalised each by its own statistics, and the validation set
    of class unlearning has all classes. Unlike there, they and their noisy copies neither move
    running statistics nor meet dropout, all images are augmented alike, BT divides by the biased
    deviation plus an epsilon, and each run pretrains its own A, for about the code's 1000 updates
    of 256 on CIFAR-10, and for fewer on smaller data.

    CIFAR-100 takes 5 epochs, sparse models 20 class_iterations. Search both learning rates in
    [1e-3, 0.1], attack_weight in [0.1, 3], twins_weight in [1e-4, 1e-2].

    Attributes:
        class_learning_rate: of class unlearning's adversarial iterations.
        class_iterations: how many of them, at most.
        attack_weight: weight of the attacker's cross-entropy.
        twins_weight: weight of BT.
        off_diagonal: weight of its correlations between different features.
        draws: noisy images per image, whose logits give the sensitivity.
        scale: of that noise, for pixels in [0, 1].
        through_sensitivity: whether gradients flow through it; if not, updates cost half as much.
        attacker_learning_rate: of its updates, by Adam.
        pretraining_epochs: of the attacker, on retain and forget set.
    """

    revision: ClassVar[int] = 2
    tiny: ClassVar[Fields] = {**ClassifierMethod.tiny, "pretraining_epochs": 1, "draws": 2}

    epochs: NonNegativeInt = 3
    batch_size: PositiveInt = 256
    learning_rate: PositiveFloat = 0.01
    last_batch: LastBatch | None = "keep"
    class_learning_rate: PositiveFloat = 0.02
    class_iterations: NonNegativeInt = 30
    attack_weight: NonNegativeFloat = 0.9
    twins_weight: NonNegativeFloat = 1e-3
    off_diagonal: NonNegativeFloat = 5e-3
    draws: PositiveInt = 10
    scale: PositiveFloat = 1e-3
    through_sensitivity: bool = True
    attacker_learning_rate: PositiveFloat = 1e-3
    pretraining_epochs: NonNegativeInt = 6

    def others(self) -> tuple[Source, ...]:
        """Who is no member."""
        return ("validation",)

    def own_batches(self) -> OwnBatches:
        """All three sets are normalised each by its own statistics."""
        parts: tuple[PartName, ...] = ("retain", "forget", "validation")
        return tuple((part, self.batch_size) for part in parts) if self.epochs else ()

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        """The attacker."""
        with seeded_globally(task.samples.generator("attacker"), torch.device("cpu")):
            attacker = Attacker(task.samples.num_classes)
        return attacker.to(next(model.parameters()).dtype)

    def phase(self, number: int, model: nn.Module, task: Task) -> Phase | None:
        """Pretraining of the attacker, both in turn, fine-tuning: those that have iterations."""
        attack = replace(
            self, optimizer="adam", learning_rate=self.attacker_learning_rate, weight_decay=0,
            epochs=self.pretraining_epochs, schedule="constant",
        )  # fmt: skip
        turns, recipe = _Turns(self, model, task), self
        layout = self.layout(task.retain_size, task.family.last_batch)
        updates, rest = self.epochs * layout.batches, 0
        if set(task.samples.labels("forget").tolist()) <= set(task.samples.forgotten_classes):
            recipe = replace(self, learning_rate=self.class_learning_rate)
            rest = max(0, updates - self.class_iterations)
        phases = [
            Phase(attack, "all", turns.pretraining_loss, ("validation",), module=task.state),
            Phase(recipe, "retain", turns.loss, ("forget", "validation"), iterations=updates - rest,
                  opponent=Opponent(task.state, attack, turns.attacker_loss)),
            Phase(self, "retain", partial(task.family.criterion, model), iterations=rest),
        ]  # fmt: skip
        counts = (self.pretraining_epochs, updates - rest, rest) if self.epochs else (0, 0, 0)
        kept = [phase for phase, count in zip(phases, counts, strict=True) if count]
        return kept[number] if number < len(kept) else None


@dataclass
class _Turns:
    """What attacker and model descend on; what the one has seen, the other's update needs."""

    method: Adversarial
    model: nn.Module
    task: Task
    seen: Pair | None = None

    def pretraining_loss(self, batch: Batch) -> Float[Tensor, ""]:
        with torch.no_grad():
            seen = self._observed(batch, (batch, *batch.beside))
        return membership_loss(self.task.state, seen, batch.generator)

    def attacker_loss(self, batch: Batch) -> Float[Tensor, ""]:
        self.seen = self._observed(batch, batch.beside)
        return membership_loss(self.task.state, self.seen, batch.generator)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        seen, self.seen = self.seen or self._observed(batch, batch.beside), None
        method, (forget, others) = self.method, (each.features for each in seen)
        retain = self.task.family.criterion(self.model, batch)
        twins = barlow_twins(forget, others, method.off_diagonal)
        fooled = membership_loss(self.task.state, seen, batch.generator, swapped=True)
        return retain + method.attack_weight * fooled + method.twins_weight * twins

    def _observed(self, batch: Batch, sets: tuple[Batch, ...]) -> Pair:
        method, family = self.method, classifier_family(self.task)
        return observe(
            self.model, family, sets, batch.generator,
            draws=method.draws, scale=method.scale, through=method.through_sensitivity,
        )  # fmt: skip
