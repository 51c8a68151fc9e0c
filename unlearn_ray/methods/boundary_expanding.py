"""Boundary Expanding: map the forget set to an extra class, and then drop that class.

Chen et al., "Boundary Unlearning: Rapid Forgetting of Deep Networks via Shifting the Decision
Boundary", CVPR 2023, with the official code's settings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Grid, Ranges, choice, log_uniform
from unlearn_ray.core.recipe import LastBatch
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    schema,
)
from unlearn_ray.families.similarity import full_precision, precise
from unlearn_ray.methods.base import (
    ClassifierMethod,
    Task,
    TrainingMethod,
    TrainsOn,
    classifier_family,
)


@register("boundary_expanding")
@schema
class BoundaryExpanding(ClassifierMethod, TrainingMethod):
    """L = cross-entropy of forget images with class C of a classifier of C + 1 classes.

    The new row of weights is drawn as in the official code, from a normal distribution with
    deviation sqrt(2 / (inputs + C + 1)), and its bias is 0. After training the row is removed, so
    that images of class C fall to the class with the next largest logit. The retain set is not
    used.
    """

    revision: ClassVar[int] = 2
    trains_on: ClassVar[TrainsOn] = "forget"

    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 1e-5
    weight_decay: NonNegativeFloat = 0.0
    epochs: NonNegativeInt = 10
    last_batch: LastBatch | None = "keep"

    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(1e-5, 1e-3),
    }
    grids: ClassVar[Mapping[str, Grid]] = {
        "paper": {"optimizer": choice("sgd", "adam"), "learning_rate": 1e-5},
    }

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        """No state; the model gets one more class."""
        layer = classifier_family(task).classifier(model)
        generator = task.samples.generator("boundary_expanding")
        deviation = math.sqrt(2 / (layer.in_features + layer.out_features + 1))
        row = torch.randn(1, layer.in_features, generator=generator) * deviation
        weight, bias = layer.weight.detach(), layer.bias.detach()
        _replace(layer, torch.cat([weight, row.to(weight)]), torch.cat([bias, bias.new_zeros(1)]))
        return nn.Module()

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """Cross-entropy with the last class."""
        logits = classifier_family(task).batch_logits(model, batch)
        with full_precision(logits):
            last = torch.full_like(batch.labels, logits.shape[1] - 1)
            return functional.cross_entropy(precise(logits), last)

    def finish(self, model: nn.Module, task: Task) -> None:
        """Remove the extra class."""
        layer = classifier_family(task).classifier(model)
        _replace(layer, layer.weight.detach()[:-1].clone(), layer.bias.detach()[:-1].clone())


def _replace(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    layer.out_features = weight.shape[0]
