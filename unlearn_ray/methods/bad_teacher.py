"""Bad teacher: forget images are learnt from a model that knows nothing, others from the original.

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

    The teacher of a forget image is a freshly initialised model, that of a retain image the
    original, from which the student starts; logits are softened by the temperature. Only the
    first retain_fraction of the retain set is seen. The mean over classes is the authors' code's;
    the paper sums over them, which is all but the same to Adam.

    Defaults are those of SSD's port: Adam at 1e-4 without weight decay, one epoch, 30 % of the
    retain set. Search learning_rate in [1e-5, 1e-2] and epochs up to 10.

    Attributes:
        retain_fraction: share of the retain set that the student sees.
        temperature: what divides logits.
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

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        """Both teachers."""
        return _Teachers(bad=task.samples.new_model(), good=model)

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """One phase over the forget set and a part of the retain set."""
        seen = int(self.retain_fraction * task.retain_size)
        return [replace(phase, retain_limit=seen) for phase in super().phases(model, task)]

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """Each image's divergence from its teacher."""
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
    """Whom the student learns forget images from, and whom the others."""

    def __init__(self, bad: nn.Module, good: nn.Module) -> None:
        super().__init__()
        self.bad, self.good = frozen_copy(bad), frozen_copy(good)
