"""SCRUB: a student moves away from its teacher, the original, on the forget set only.

Kurmanji et al., "Towards Unbounded Machine Unlearning", NeurIPS 2023; with `rewind`, SCRUB+R.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import on_first
from unlearn_ray.core.errors import TrialError
from unlearn_ray.core.ranges import Grid, Ranges, grid, integer, log_uniform
from unlearn_ray.core.recipe import LastBatch
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    schema,
)
from unlearn_ray.families.similarity import precise
from unlearn_ray.methods.base import (
    ClassifierMethod,
    OwnBatches,
    PartName,
    Phase,
    Task,
    TrainingMethod,
    classifier_family,
)
from unlearn_ray.methods.shared import accuracy, divergence, frozen_copy


@register("scrub")
@schema
class SCRUB(ClassifierMethod, TrainingMethod):
    """L = -D over the forget set, in turn with gamma * CE + alpha * D over the retain set.

    D = T^2 * KL(teacher || student), the mean over images, of logits divided by the temperature
    T; CE is the cross-entropy. Each of the first msteps epochs is a pass over the forget set and
    one over the retain set, each later epoch only the latter. SCRUB+R (`rewind`) stores the
    weights of every epoch. At the end it measures the error on validation samples of the forget
    set's classes, and returns to the (first) epoch whose forget error is closest to it.

    Defaults are the authors' at large scale. At small scale they take 10 epochs, Adam, msteps 3,
    alpha 0.5, gamma 1, T 2 and weight decay 0.1; against attacks 5 epochs, msteps 3, alpha 0.5 and
    gamma 1. They keep one optimizer; here each pass has a new one, without momentum.

    Attributes:
        alpha: weight of the retain set's divergence.
        gamma: weight of the retain set's cross-entropy.
        temperature: T.
        msteps: number of epochs with a pass over the forget set.
        forget_batch_size: of that pass; `batch_size` is the retain set's.
        lr_decay_epochs: epochs after which the learning rate is multiplied by lr_decay_rate.
        rewind: whether to return to the best epoch; needs validation samples.
    """

    revision: ClassVar[int] = 2

    epochs: NonNegativeInt = 3
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 5e-4
    last_batch: LastBatch | None = "keep"
    alpha: NonNegativeFloat = 0.001
    gamma: NonNegativeFloat = 0.99
    temperature: PositiveFloat = 4.0
    msteps: NonNegativeInt = 2
    forget_batch_size: PositiveInt = 32
    lr_decay_epochs: tuple[PositiveInt, ...] = (3, 5, 9)
    lr_decay_rate: PositiveFloat = 0.1
    rewind: bool = False

    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(1e-5, 1e-2),
        "alpha": log_uniform(1e-3, 1),
        "msteps": integer(1, 3),
    }
    grids: ClassVar[Mapping[str, Grid]] = {
        # The values of the authors' three settings.
        "paper": {
            "epochs": grid(3, 5, 10),
            "msteps": grid(2, 3),
            "alpha": grid(0.001, 0.5),
            "gamma": grid(0.99, 1),
            "temperature": grid(2, 4),
        },
    }

    def own_batches(self) -> OwnBatches:
        """Batches of each set, each with its own batch size."""
        if self.epochs == 0:
            return ()
        retain: OwnBatches = (("retain", self.batch_size),)
        return (*retain, ("forget", self.forget_batch_size)) if self.msteps else retain

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        """The teacher, and buffers for each epoch's weights; TrialError if rewind is impossible."""
        forget, unseen = (set(task.samples.labels(p).tolist()) for p in ("forget", "validation"))
        if self.rewind and not forget & unseen:
            raise TrialError(
                "scrub.rewind = true",
                "needs validation samples of the forget set's classes, and there are none",
                "hold out more for validation, or set rewind to false",
            )
        return _Kept(model, self.epochs if self.rewind else 0)

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """Per epoch, a pass over the forget set (first epochs only) and one over the retain set."""
        phases = []
        for epoch in range(self.epochs):
            decays = sum(after <= epoch for after in self.lr_decay_epochs)
            recipe = self.recipe.alone(epoch)
            rate = recipe.learning_rate * self.lr_decay_rate**decays
            recipe = replace(recipe, learning_rate=rate)
            if epoch < self.msteps:
                forget = replace(recipe, batch_size=self.forget_batch_size)
                phases.append(Phase(forget, "forget", self.forget_loss))
            keep = partial(task.state_of(_Kept).keep, epoch, model, task)
            after = keep if self.rewind else None
            phases.append(Phase(recipe, "retain", self.loss, after=after))
        return phases

    def forget_loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """-D of a forget batch."""
        return -self._divergence(classifier_family(task).batch_logits(model, batch), batch, task)

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """gamma * CE + alpha * D of a retain batch."""
        logits = classifier_family(task).batch_logits(model, batch)
        entropy = functional.cross_entropy(precise(logits), batch.labels)
        return self.gamma * entropy + self.alpha * self._divergence(logits, batch, task)

    def finish(self, model: nn.Module, task: Task) -> None:
        """Rewind."""
        kept = task.state_of(_Kept)
        if len(kept.snapshots) > 0:
            classes = tuple(set(task.samples.labels("forget").tolist()))
            distances = (kept.errors - _error(model, task, "validation", classes)).abs()
            model.load_state_dict(kept.snapshots[int(distances.argmin())].state_dict())

    def _divergence(self, logits: Tensor, batch: Batch, task: Task) -> Tensor:
        with torch.no_grad():
            teacher = classifier_family(task).batch_logits(task.state_of(_Kept).teacher, batch)
        found = divergence(precise(teacher), precise(logits), self.temperature)
        return self.temperature**2 * found


class _Kept(nn.Module):
    """The teacher, and the weights and forget errors of epochs to return to."""

    errors: Tensor

    def __init__(self, model: nn.Module, epochs: int) -> None:
        super().__init__()
        self.teacher = frozen_copy(model)
        self.snapshots = nn.ModuleList(frozen_copy(model) for _ in range(epochs))
        self.register_buffer("errors", torch.zeros(epochs))

    def keep(self, epoch: int, model: nn.Module, task: Task) -> None:
        self.snapshots[epoch].load_state_dict(model.state_dict())
        self.errors[epoch] = _error(model, task, "forget")


def _error(model: nn.Module, task: Task, part: PartName, classes: tuple[int, ...] = ()) -> float:
    # Worker 0's, since errors may differ by rounding and all must return to the same epoch.
    found = on_first(lambda: accuracy(model, task.samples, part, classes))
    assert found is not None
    return 1 - found
