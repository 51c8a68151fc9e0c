"""UNSIR: impair the model with noise that maximises a class's error, then repair the rest.

Tarun et al., "Fast Yet Effective Machine Unlearning", TNNLS 2023; with their notebook's settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows, own_rows
from unlearn_ray.core.ranges import Ranges, log_uniform
from unlearn_ray.core.recipe import LastBatch, Optimizer, Recipe
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    schema,
)
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.families.base import Family
from unlearn_ray.families.similarity import full_precision, precise
from unlearn_ray.methods.base import (
    ClassifierMethod,
    Phase,
    Task,
    TrainingMethod,
    TrainsOn,
    criterion,
)


@register("unsir")
@schema
class Unsir(ClassifierMethod, TrainingMethod):
    """Three phases, for whole classes: noise, impair, repair.

    Noise: for each forgotten class c a batch of normalised images N_c, from N(0, 1), descends on
    -CE(w0(N_c), c) + noise_penalty * mean ||x||^2, with the frozen original w0 in eval mode.
    Impair: w descends on the cross-entropy of retain images mixed with noise labelled c. Repair:
    w descends on that of retain images alone.

    As in the notebook, an impair epoch is one shuffled pass over samples_per_class images of each
    retained class, or all there are, and noise_batches repetitions of the noise_size noise images
    of each forgotten class. The notebook, unlike the paper and this code, keeps the original in
    training mode and labels all noise class 0.

    Attributes:
        epochs: of impair and of repair, each.
        repair_learning_rate: of repair; `learning_rate` is impair's.
        samples_per_class: retain images per class and epoch, the first in the seed's permuted
            order.
        noise_size: noise images per forgotten class.
        noise_batches: repetitions of each of them in an impair epoch.
        noise_steps, noise_learning_rate: of the noise's updates, by Adam.
        noise_penalty: weight of the squared norm of noise images.
    """

    revision: ClassVar[int] = 2
    trains_on: ClassVar[TrainsOn] = "retain"
    tiny: ClassVar[Fields] = {
        **TrainingMethod.tiny, "noise_size": 8, "noise_batches": 1, "noise_steps": 2
    }  # fmt: skip

    optimizer: Optimizer = "adam"
    epochs: NonNegativeInt = 1
    batch_size: PositiveInt = 256
    learning_rate: PositiveFloat = 0.02
    weight_decay: NonNegativeFloat = 0.0
    last_batch: LastBatch | None = "keep"
    repair_learning_rate: PositiveFloat = 0.01
    samples_per_class: PositiveInt = 1000
    noise_size: PositiveInt = 256
    noise_batches: PositiveInt = 20
    noise_steps: PositiveInt = 40
    noise_learning_rate: PositiveFloat = 0.1
    noise_penalty: NonNegativeFloat = 0.1

    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(1e-4, 0.02),
        "repair_learning_rate": log_uniform(1e-4, 0.02),
    }

    @classmethod
    def unsupported(cls, family: Family, forget_set: ForgetSet) -> str | None:
        """Refuses sample unlearning: noise replaces a class that the retain set lacks."""
        if not forget_set.whole_classes:
            return f"{cls.name} forgets whole classes; the forget set {forget_set.name} does not"
        return super().unsupported(family, forget_set)

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        """The noise of all forgotten classes, one after the other."""
        labels = torch.tensor(task.samples.forgotten_classes).repeat_interleave(self.noise_size)
        image = next(iter(task.samples.blocks("forget", size=1)))[0][0]
        noise = torch.randn(*labels.shape, *image.shape, generator=task.samples.generator("unsir"))
        return _Noise(noise.to(next(model.parameters()).dtype), labels)

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """Noise, impair, repair."""
        # The noise phase repeats one batch of all forget images, and does not use its content.
        steps = Recipe(
            optimizer="adam", epochs=1, batch_size=task.forget_size, weight_decay=0,
            learning_rate=self.noise_learning_rate, schedule="constant",
        )  # fmt: skip
        added = self.noise_batches * self.noise_size * len(task.samples.forgotten_classes)
        milder = replace(self.recipe, learning_rate=self.repair_learning_rate)
        limit = self.samples_per_class
        phases = [
            Phase(steps, "forget", self.noise_loss, repeats=self.noise_steps, module=task.state,
                  training=False),
            Phase(self.recipe, "retain", self.loss, retain_per_class=limit, added=added),
            Phase(milder, "retain", criterion, retain_per_class=limit),
        ]  # fmt: skip
        return phases if self.epochs else []

    def noise_loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """The sum of all classes' noise losses."""
        noise = task.state_of(_Noise)
        count = len(noise.labels)
        logits = gather_rows(model(noise.images[own_rows(count)]), count)
        with full_precision(logits):
            error = functional.cross_entropy(precise(logits), noise.labels)
            length = noise.images.square().sum(dim=(1, 2, 3)).mean()
            return (self.noise_penalty * length - error) * (count / self.noise_size)

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """Cross-entropy of retain images and noise."""
        assert batch.added is not None
        noise = task.state_of(_Noise)
        drawn = batch.added % len(noise.labels)
        count = batch.size + len(drawn)
        own = own_rows(count)
        retain = slice(min(own.start, batch.size), min(own.stop, batch.size))
        rest = slice(max(own.start - batch.size, 0), max(own.stop - batch.size, 0))
        images = [noise.images.detach()[drawn[rest]]]
        if retain.start < retain.stop:
            images.insert(0, batch.views[0][retain])
        logits = gather_rows(model(torch.cat(images)), count)
        with full_precision(logits):
            labels = torch.cat([batch.labels, noise.labels[drawn]])
            return functional.cross_entropy(precise(logits), labels)


class _Noise(nn.Module):
    labels: Tensor

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images)
        self.register_buffer("labels", labels)
