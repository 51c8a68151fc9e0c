"""Boundary Shrink: give every forget image the class on the other side of its nearest boundary.

Chen et al., "Boundary Unlearning: Rapid Forgetting of Deep Networks via Shifting the Decision
Boundary", CVPR 2023, with the official code's settings.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows, own_rows
from unlearn_ray.core.ranges import Ranges, log_uniform
from unlearn_ray.core.recipe import LastBatch
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    schema,
)
from unlearn_ray.families.similarity import full_precision, precise
from unlearn_ray.methods.base import ClassifierMethod, Task, TrainingMethod, TrainsOn
from unlearn_ray.methods.shared import frozen_copy


@register("boundary_shrink")
@schema
class BoundaryShrink(ClassifierMethod, TrainingMethod):
    """L = cross-entropy of forget images with the original's class of their adversarial copies.

    The attack is one FGSM step on the frozen original w0, on pixels in [0, 1] that are rounded
    to multiples of 1/255, as the images are:

        x' = clip(x + epsilon * sign(grad_x CE(w0(x), y)), 0, 1),    y' = argmax w0(x').

    The paper defines y' as the nearest incorrect class; in its code y' is y if the attack fails,
    which reinforces what should be forgotten. The retain set is not used.

    Attributes:
        epsilon: step size, for pixels in [0, 1].
        incorrect: whether y' is the argmax over the other classes only (the paper) or over all
            classes (its code).
    """

    revision: ClassVar[int] = 2
    trains_on: ClassVar[TrainsOn] = "forget"

    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 1e-5
    weight_decay: NonNegativeFloat = 0.0
    epochs: NonNegativeInt = 10
    last_batch: LastBatch | None = "keep"
    epsilon: UnitInterval = 0.1
    incorrect: bool = False

    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(1e-5, 1e-2),
    }

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        """The frozen original."""
        return frozen_copy(model)

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """Cross-entropy with the nearest other class."""
        with full_precision(batch.labels):
            images = batch.view(0)
        labels = self.nearest(task, images, batch.labels[own_rows(batch.size)])
        logits = gather_rows(model(images), batch.size)
        with full_precision(logits):
            return functional.cross_entropy(precise(logits), gather_rows(labels, batch.size))

    def nearest(
        self, task: Task, images: Float[Tensor, "n 3 height width"], labels: Int[Tensor, " n"]
    ) -> Int[Tensor, " n"]:
        """The original's predictions for the attacked images."""
        augmentation = task.family.augmentation
        # Filled on the device: an iteration copies only what differs from the last one's.
        mean, deviation = (
            torch.stack([images.new_full((1, 1), value) for value in values])
            for values in (augmentation.mean, augmentation.std)
        )
        original = task.state
        own = functional.one_hot(labels, task.samples.num_classes).bool()
        # Signs of gradients would be lost in half precision.
        with full_precision(images), torch.enable_grad():
            attacked = images.detach().clone().requires_grad_()
            logits = precise(original(attacked))
            # Cross-entropy's gradient divided by 1 - p(y), which rounds to 0 if p(y) is near 1.
            others = logits.masked_fill(own, -torch.inf).logsumexp(dim=1)
            odds = others - logits.gather(1, labels[:, None])[:, 0]
            sign = torch.autograd.grad(odds.sum(), attacked)[0].sign()
        with full_precision(images), torch.no_grad():
            pixels = images * deviation + mean + self.epsilon * sign
            rounded = (pixels.clamp(0, 1) * 255).round() / 255
            found: Tensor = original((rounded - mean) / deviation)
        return (found.masked_fill(own, -torch.inf) if self.incorrect else found).argmax(dim=1)
