"""Random labels: train on forget images with random labels, and on retain images with their own.

Golatkar et al., "Eternal Sunshine of the Spotless Net", CVPR 2020; Graves et al., "Amnesiac
Machine Learning", AAAI 2021; as in the code of Fan et al., "SalUn", ICLR 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Ranges, log_uniform
from unlearn_ray.core.recipe import LastBatch
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import NonNegativeInt, PositiveFloat, PositiveInt, schema
from unlearn_ray.core.transfer import to_device
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
    """L = cross-entropy, with a random label instead of a forget image's own.

    SalUn's code has two forms:

    - CIFAR-10, SVHN: each epoch is a pass over the forget set, then one over the retain set, and
      labels are redrawn in every batch (`redrawn`).
    - CIFAR-100, Tiny ImageNet: both sets are mixed, and labels are drawn once.

    It draws from all classes; its paper and Graves et al. exclude an image's own (`never_own`).
    Here every pass "apart" starts with a new optimizer, without momentum; the code keeps one.

    Attributes:
        passes: over forget and retain set "apart", in turn, or over both "mixed".
        redrawn: whether labels are redrawn whenever an image is seen, or drawn once.
        never_own: whether the random label is never the image's own.
    """

    revision: ClassVar[int] = 2

    batch_size: PositiveInt = 256
    learning_rate: PositiveFloat = 0.013
    epochs: NonNegativeInt = 10
    last_batch: LastBatch | None = "keep"
    passes: Literal["apart", "mixed"] = "apart"
    redrawn: bool = False
    never_own: bool = False

    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(1e-3, 0.1),
    }

    def own_batches(self) -> OwnBatches:
        """Batches of each set, or of both together."""
        if self.epochs == 0:
            return ()
        if self.passes == "mixed":
            return (("all", self.batch_size),)
        return (("forget", self.batch_size), ("retain", self.batch_size))

    def prepare(self, model: nn.Module, task: Task) -> RandomLabels:
        """The random labels, by sample id."""
        samples = task.samples
        last = max(int(samples.ids(part).max()) for part in ("forget", "retain"))
        own = samples.labels("forget")
        labels = torch.zeros(last + 1, dtype=own.dtype, device=own.device)
        drawn = self._drawn(own, task, samples.generator("random labels"))
        labels[samples.ids("forget")] = self._labels(own, to_device(drawn, own.device), task)
        return RandomLabels(labels)

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """Two phases per epoch, or one phase over both sets."""
        if self.passes == "mixed":
            return super().phases(model, task)
        return [
            Phase(self.recipe.alone(epoch), part, self.loss)
            for epoch in range(self.epochs)
            for part in ("forget", "retain")
        ]

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """Cross-entropy of a batch of one set or both."""
        drawn = task.state_of(RandomLabels).labels[batch.ids]
        if self.redrawn:
            drawn = batch.drawn(partial(self._drawn, batch.labels, task))
            drawn = self._labels(batch.labels, drawn, task)
        labels = torch.where(batch.is_forget, drawn, batch.labels)
        logits = classifier_family(task).batch_logits(model, batch)
        return functional.cross_entropy(precise(logits), labels)

    def _drawn(
        self, own: Int[Tensor, " n"], task: Task, generator: torch.Generator
    ) -> Int[Tensor, " n"]:
        classes = task.samples.num_classes - self.never_own
        return torch.randint(classes, own.shape, generator=generator)

    def _labels(
        self, own: Int[Tensor, " n"], drawn: Int[Tensor, " n"], task: Task
    ) -> Int[Tensor, " n"]:
        return (own + 1 + drawn) % task.samples.num_classes if self.never_own else drawn


class RandomLabels(nn.Module):
    """The random labels, by sample id."""

    labels: Int[Tensor, " samples"]

    def __init__(self, labels: Int[Tensor, " samples"]) -> None:
        super().__init__()
        self.register_buffer("labels", labels)
