"""Discriminative adversarial unlearning: a minimax game against a membership attacker.

Sharma et al., "Discriminative Adversarial Unlearning", 2024 (arXiv 2402.06864).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Ranges, log_uniform
from unlearn_ray.core.recipe import LastBatch, Player
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
    OwnBatches,
    PartName,
    Phase,
    Source,
    Task,
    TrainingMethod,
    classifier_family,
    criterion,
)
from unlearn_ray.methods.observation import barlow_twins, observe
from unlearn_ray.methods.shared import seeded_globally


@register("adversarial")
@schema
class Adversarial(ClassifierMethod, TrainingMethod):
    """L = CE(retain) + attack_weight * CE(A(forget, validation), swapped) + twins_weight * BT.

    The attacker A is pretrained on members against the validation set. In every iteration A then
    minimises CE(A(forget, validation), member or not), and the model minimises L, with A's labels
    swapped. A sees a token per class (`methods/attacker.py`); BT is the Barlow Twins loss between
    the features of both batches, paired in batch order. In class unlearning (the retain set lacks
    all classes of the forget set) only the first iterations are adversarial, and the rest is
    fine-tuning, with fresh momentum.

    Where the paper is silent, this follows the authors' code:

    - gradients flow through the sensitivity;
    - forget and validation batches each use their own batch statistics;
    - in class unlearning, the validation set has all classes.

    It differs from that code:

    - these batches and their noisy copies neither update running statistics nor have dropout;
    - all images are augmented alike;
    - BT divides by the biased deviation plus an epsilon;
    - each run pretrains its own A: on CIFAR-10 for about the code's 1000 updates of 256 images,
      on smaller data for fewer.

    CIFAR-100 takes 5 epochs, sparse models 20 class_iterations.

    Attributes:
        class_learning_rate: of the adversarial iterations in class unlearning.
        class_iterations: maximum number of these iterations.
        attack_weight: weight of the attacker's cross-entropy.
        twins_weight: weight of BT.
        off_diagonal: weight of BT's correlations between different features.
        draws: noisy copies per image, whose logits give the sensitivity.
        scale: deviation of that noise, for pixels in [0, 1].
        through_sensitivity: whether gradients flow through it; if not, updates cost half as much.
        attacker_learning_rate: of its updates, by Adam.
        pretraining_epochs: of the attacker, on retain and forget set.
    """

    revision: ClassVar[int] = 2
    tiny: ClassVar[Fields] = {**TrainingMethod.tiny, "pretraining_epochs": 1, "draws": 2}

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

    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(1e-3, 0.1),
        "class_learning_rate": log_uniform(1e-3, 0.1),
        "attack_weight": log_uniform(0.1, 3),
        "twins_weight": log_uniform(1e-4, 1e-2),
    }

    def extra_data(self) -> tuple[Source, ...]:
        """Non-members."""
        return ("validation",)

    def own_batches(self) -> OwnBatches:
        """Each of the three sets uses its own batch statistics."""
        parts: tuple[PartName, ...] = ("retain", "forget", "validation")
        return tuple((part, self.batch_size) for part in parts) if self.epochs else ()

    def images_kept(self) -> tuple[int, int]:
        """The retain batch; both others in float32, with one noisy copy at a time if it is seen."""
        sets = 2 + self.through_sensitivity
        return (self.batch_size, sets * self.batch_size) if self.epochs else (0, 0)

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        """The attacker."""
        with seeded_globally(task.samples.generator("attacker"), torch.device("cpu")):
            attacker = Attacker(task.samples.num_classes)
        return attacker.to(next(model.parameters()).dtype)

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """Attacker pretraining, adversarial and fine-tuning phase, unless without iterations."""
        recipe = self.recipe
        attack = replace(
            recipe, optimizer="adam", learning_rate=self.attacker_learning_rate, weight_decay=0,
            epochs=self.pretraining_epochs, schedule="constant",
        )  # fmt: skip
        in_turn = recipe
        layout = recipe.layout(task.retain_size, task.family.last_batch)
        updates, rest = self.epochs * layout.batches, 0
        if set(task.samples.labels("forget").tolist()) <= set(task.samples.forgotten_classes):
            in_turn = replace(recipe, learning_rate=self.class_learning_rate)
            rest = max(0, updates - self.class_iterations)
        phases = [
            Phase(attack, "all", self.pretraining_loss, ("validation",), module=task.state),
            Phase(in_turn, "retain", self.loss, ("forget", "validation"),
                  iterations=updates - rest,
                  opponent=Player(task.state, attack, self.attacker_loss)),
            Phase(recipe, "retain", criterion, iterations=rest),
        ]  # fmt: skip
        counts = (self.pretraining_epochs, updates - rest, rest) if self.epochs else (0, 0, 0)
        return [phase for phase, count in zip(phases, counts, strict=True) if count]

    def pretraining_loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """The attacker's loss in pretraining: a batch of members against the validation set."""
        with torch.no_grad():
            seen = self._observed(model, (batch, *batch.companions), batch, task)
        return membership_loss(task.state, seen, batch.generator)

    def attacker_loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """The attacker's loss: the forget set against the validation set."""
        attacker = task.state_of(Attacker)
        attacker.seen = self._observed(model, batch.companions, batch, task)
        return membership_loss(attacker, attacker.seen, batch.generator)

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """L, on the observations that the attacker was just updated with."""
        attacker = task.state_of(Attacker)
        seen = attacker.seen or self._observed(model, batch.companions, batch, task)
        attacker.seen = None
        forget, unseen = (each.features for each in seen)
        retain = task.family.criterion(model, batch)
        twins = barlow_twins(forget, unseen, self.off_diagonal)
        fooled = membership_loss(attacker, seen, batch.generator, swapped=True)
        return retain + self.attack_weight * fooled + self.twins_weight * twins

    def _observed(
        self, model: nn.Module, sets: tuple[Batch, ...], batch: Batch, task: Task
    ) -> Pair:
        return observe(
            model, classifier_family(task), sets, batch.generator,
            draws=self.draws, scale=self.scale, through=self.through_sensitivity,
        )  # fmt: skip
