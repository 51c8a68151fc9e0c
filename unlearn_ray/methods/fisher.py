"""Fisher forgetting: add noise to the weights that the retain set is least sensitive to.

Golatkar et al., "Eternal Sunshine of the Spotless Net: Selective Forgetting in Deep Networks",
CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from unlearn_ray.core.modes import in_eval_mode
from unlearn_ray.core.ranges import Grid, Ranges, log_uniform
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import NonNegativeFloat, PositiveInt, schema
from unlearn_ray.methods.base import Task, classifier_family
from unlearn_ray.methods.shared import Blocks, OneShot, plain_attention, trained

# From the authors' code: added to F, and the bounds of its inverse.
SMALLEST, LARGEST, LARGEST_LAST = 1e-8, 1e3, 1e2
FORGOTTEN_VARIANCE = 1e-4
LOUDER = 10.0


@register("fisher")
@schema
class Fisher(OneShot):
    """w + sigma * n with n from N(0, 1) and sigma^2 = alpha * min(1 / (F + 1e-8), 1e3).

    F is the exact diagonal of the Fisher information of the retain set:

        F_j = mean over x of sum over y of p(y | x) * (d log p(y | x) / d w_j)^2.

    The rest follows the authors' code:

    - the bound is 1e2 in the last layer;
    - sigma^2 is averaged over a weight's input channels, and 10 times as large in the last layer
      and in vectors (biases, batch norm);
    - the last layer's rows of classes that the retain set lacks become noise of variance 1e-3
      around 0, for any alpha except 0, which changes nothing at all.

    It costs one forward and `classes` backward passes per image.

    Attributes:
        alpha: strength of the noise.
        samples: retain images of the mean F: the first in the seed's permuted order.
        batch_size: gradients held in memory at once, each as large as the model.
    """

    tiny: ClassVar[Fields] = {"samples": 8}
    idle: ClassVar[Fields | None] = {"alpha": 0}

    batch_size: PositiveInt = 16
    alpha: NonNegativeFloat = 1e-6
    samples: PositiveInt = 1000

    recommended: ClassVar[Ranges] = {
        "alpha": log_uniform(1e-9, 1e-5),
    }
    grids: ClassVar[Mapping[str, Grid]] = {
        # As published with SCRUB.
        "paper": {"alpha": log_uniform(1e-7, 1e-6)},
    }

    def finish(self, model: nn.Module, task: Task) -> None:
        """Add the noise."""
        if self.alpha == 0:
            return
        blocks = task.samples.blocks("retain", size=1, limit=self.samples)
        information = diagonal(model, blocks, self.batch_size)
        generator = task.samples.generator("fisher")
        layer = classifier_family(task).classifier(model)
        forgotten = list(task.samples.forgotten_classes)
        for name, weight in trained(model):
            last = any(weight is own for own in layer.parameters())
            variance = self.variance(information[name], last=last)
            mean = weight.detach().clone()
            if last:
                mean[forgotten] = 0
                variance[forgotten] = FORGOTTEN_VARIANCE * LOUDER
            noise = torch.randn(weight.shape, generator=generator).to(weight)
            with torch.no_grad():
                weight.copy_(mean + variance.sqrt() * noise)

    def variance(self, information: Tensor, *, last: bool) -> Tensor:
        """sigma^2 of a parameter, from its part of F; `last` is the last layer."""
        inverse = (1 / (information + SMALLEST)).clamp(max=LARGEST_LAST if last else LARGEST)
        variance = self.alpha * inverse
        if variance.ndim > 1:
            variance = variance.mean(dim=1, keepdim=True).expand_as(information).clone()
        return variance * LOUDER if last or variance.ndim == 1 else variance


def diagonal(model: nn.Module, blocks: Blocks, held: int) -> dict[str, Tensor]:
    """F of every trained parameter, by name.

    Args:
        model: a classifier.
        blocks: of one image each.
        held: gradients held in memory at once.
    """
    parameters = dict(trained(model))
    sums = {name: torch.zeros_like(value) for name, value in parameters.items()}
    images = 0
    with in_eval_mode(model), plain_attention():
        for image, _ in blocks:
            logs = model(image)[0].log_softmax(dim=0)
            every = torch.eye(len(logs), dtype=logs.dtype, device=logs.device)
            for classes in torch.split(every, held):
                shares = classes @ logs.detach().exp()
                gradients = torch.autograd.grad(
                    logs,
                    list(parameters.values()),
                    classes,
                    retain_graph=True,
                    is_grads_batched=True,
                    materialize_grads=True,
                )
                for name, gradient in zip(parameters, gradients, strict=True):
                    sums[name] += torch.einsum("c,c...->...", shares, gradient**2)
            images += 1
    return {name: value / images for name, value in sums.items()}
