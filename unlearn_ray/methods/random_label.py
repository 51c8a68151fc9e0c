"""Random labels: forget images are taught labels drawn at random, retain images their own.

Golatkar et al., "Eternal Sunshine of the Spotless Net", CVPR 2020; Graves et al., "Amnesiac
Machine Learning", AAAI 2021; as in the code of Fan et al., "SalUn", ICLR 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.recipe import LastBatch
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import NonNegativeInt, PositiveFloat, PositiveInt, schema
from unlearn_ray.families.similarity import precise
from unlearn_ray.methods.base import (
    ClassifierMethod,
    OwnBatches,
    Phase,
    Task,
    TrainingMethod,
    classifier_family,
)


@register("random_label")
@schema
class RandomLabel(ClassifierMethod, TrainingMethod):
    """L = cross-entropy, with a drawn label in the place of a forget image's own.

    SalUn's code has two forms. For CIFAR-10 and SVHN each epoch is a pass over the forget set and
    then one over the retain set, and labels are drawn anew in every batch (`redrawn`); for
    CIFAR-100 and Tiny ImageNet both sets are mixed and labels drawn once. It draws among all
    classes; its paper and Graves et al. leave out an image's own (`never_own`). Passes "apart"
    begin with a new optimizer each, so that no momentum is carried over; the code keeps one.

    Search learning_rate in [1e-3, 0.1].

    Attributes:
        passes: over forget and retain set "apart", in turn, or over both "mixed".
        redrawn: whether labels are drawn anew whenever an image is seen, or once.
        never_own: whether the label drawn is never the image's own.
    """

    revision: ClassVar[int] = 2

    batch_size: PositiveInt = 256
    learning_rate: PositiveFloat = 0.013
    epochs: NonNegativeInt = 10
    last_batch: LastBatch | None = "keep"
    passes: Literal["apart", "mixed"] = "apart"
    redrawn: bool = False
    never_own: bool = False

    def own_batches(self) -> OwnBatches:
        """Over each set, or over both together."""
        if self.epochs == 0:
            return ()
        if self.passes == "mixed":
            return (("all", self.batch_size),)
        return (("forget", self.batch_size), ("retain", self.batch_size))

    def prepare(self, model: nn.Module, task: Task) -> RandomLabels:
        """The labels drawn, by the id of the sample."""
        samples = task.samples
        last = max(int(samples.ids(part).max()) for part in ("forget", "retain"))
        own = samples.labels("forget")
        labels = torch.zeros(last + 1, dtype=own.dtype, device=own.device)
        labels[samples.ids("forget")] = self._drawn(own, task, samples.generator("random labels"))
        return RandomLabels(labels)

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """Two passes an epoch, or one phase over both sets."""
        if self.passes == "mixed":
            return super().phases(model, task)
        return [
            Phase(self.recipe.alone(epoch), part, self.loss)
            for epoch in range(self.epochs)
            for part in ("forget", "retain")
        ]

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """Cross-entropy of a batch of either set or both."""
        drawn = task.state_of(RandomLabels).labels[batch.ids]
        if self.redrawn:
            drawn = self._drawn(batch.labels, task, batch.generator)
        labels = torch.where(batch.is_forget, drawn, batch.labels)
        logits = classifier_family(task).batch_logits(model, batch)
        return functional.cross_entropy(precise(logits), labels)

    def _drawn(
        self, own: Int[Tensor, " n"], task: Task, generator: torch.Generator
    ) -> Int[Tensor, " n"]:
        classes = task.samples.num_classes
        drawn = torch.randint(classes - self.never_own, own.shape, generator=generator)
        drawn = drawn.to(own.device, non_blocking=True)
        return (own + 1 + drawn) % classes if self.never_own else drawn


class RandomLabels(nn.Module):
    """The labels drawn, by the id of the sample."""

    labels: Int[Tensor, " samples"]

    def __init__(self, labels: Int[Tensor, " samples"]) -> None:
        super().__init__()
        self.register_buffer("labels", labels)
