"""Bad teacher: distil an untrained model on forget images, the original on retain images.

Chundawat et al., "Can Bad Teaching Induce Forgetting?", AAAI 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Ranges, integer, log_uniform
from unlearn_ray.core.recipe import LastBatch, Optimizer
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    schema,
)
from unlearn_ray.families.similarity import precise
from unlearn_ray.methods.base import (
    ClassifierMethod,
    Phase,
    Task,
    TrainingMethod,
    classifier_family,
)
from unlearn_ray.methods.shared import divergence, frozen_copy


@register("bad_teacher")
@schema
class BadTeacher(ClassifierMethod, TrainingMethod):
    """L = KL(teacher || student), the mean over images of both sets and over classes.

    The teacher of a forget image is a randomly initialised model, that of a retain image the
    original, from which the student starts; logits are divided by the temperature. Only the
    first retain_fraction of the retain set is used. The mean over classes follows the authors'
    code; the paper sums over them, which is nearly the same under Adam.

    Defaults are those of SSD's port: Adam at 1e-4 without weight decay, one epoch, 30 % of the
    retain set.

    Attributes:
        retain_fraction: share of the retain set that the student sees.
        temperature: divisor of the logits.
    """

    revision: ClassVar[int] = 2

    optimizer: Optimizer = "adam"
    epochs: NonNegativeInt = 1
    batch_size: PositiveInt = 256
    learning_rate: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.0
    last_batch: LastBatch | None = "keep"
    retain_fraction: UnitInterval = 0.3
    temperature: PositiveFloat = 1.0

    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(1e-5, 1e-2),
        "epochs": integer(1, 10),
    }

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        """Both teachers."""
        return _Teachers(bad=task.samples.new_model(), good=model)

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """One phase over the forget set and a part of the retain set."""
        seen = int(self.retain_fraction * task.retain_size)
        return [replace(phase, retain_limit=seen) for phase in super().phases(model, task)]

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """The mean divergence from each image's teacher."""
        family, teachers = classifier_family(task), task.state_of(_Teachers)
        student = precise(family.batch_logits(model, batch))
        with torch.no_grad():
            bad, good = (
                precise(family.batch_logits(teacher, batch))
                for teacher in (teachers.bad, teachers.good)
            )
        teacher = torch.where(batch.is_forget[:, None], bad, good)
        return divergence(teacher, student, self.temperature) / student.shape[1]


class _Teachers(nn.Module):
    """The teachers of forget images (bad) and of retain images (good)."""

    def __init__(self, bad: nn.Module, good: nn.Module) -> None:
        super().__init__()
        self.bad, self.good = frozen_copy(bad), frozen_copy(good)
