"""Influence unlearning: one Newton-like step that removes the forget set's influence.

Izzo et al., "Approximate Data Deletion from Machine Learning Models", AISTATS 2021, after Koh
and Liang, ICML 2017; with WoodFisher's inverse (Singh and Alistarh, NeurIPS 2020) as in Jia et
al., "Model Sparsity Can Simplify Machine Unlearning", NeurIPS 2023.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.ranges import Ranges, log_uniform
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import NonNegativeFloat, PositiveFloat, PositiveInt, schema
from unlearn_ray.methods.base import Samples, Task
from unlearn_ray.methods.shared import (
    OneShot,
    add_flattened,
    conjugate_gradients,
    flattened,
    plain_attention,
    total_gradient,
    trained,
)


@register("influence")
@schema
class Influence(OneShot):
    """w + alpha * (damping * I + F)^-1 v, with g the gradient of an image's cross-entropy:

        v = 1/n * (sum of g over the forget set - n_f / n_r * sum of g over the retain set),
        F = mean over `samples` retain images of g g^T.

    n_f and n_r are the sizes of the sets and n their sum. It costs a pass over both sets for v,
    and at most `iterations` times two passes over `samples` images for the inverse.

    The inverse:

    - "exact" solves the system by conjugate gradients to a relative residual of 1e-5, with a few
      vectors of the model's size in memory, whatever the number of samples.
    - "published" is the recursion of the paper and its code, in which o should be F_i^-1 g_(i + 1)
      but is F_i^-1 g_1: k differs from v only along the first sample's gradient. With N = samples,
      o = g_1, and for each further g: k -= (k.g) / (N + o.g) * o and then o -= (o.g) / (N + o.g)
      * o; its damping is always 1.

    alpha is the most sensitive field.

    Attributes:
        alpha: step size.
        samples: retain images of F, the first in the seed's permuted order.
        damping: added to F's diagonal.
        inverse: how the inverse is applied.
        iterations: maximum number of conjugate gradient iterations.
    """

    tiny: ClassVar[Fields] = {"samples": 16, "iterations": 3}
    idle: ClassVar[Fields | None] = {"alpha": 0}

    alpha: NonNegativeFloat = 0.2
    samples: PositiveInt = 1000
    damping: PositiveFloat = 1.0
    inverse: Literal["exact", "published"] = "exact"
    iterations: PositiveInt = 20

    recommended: ClassVar[Ranges] = {
        "alpha": log_uniform(0.1, 100),
    }

    def finish(self, model: nn.Module, task: Task) -> None:
        """Take the step."""
        if self.alpha == 0:
            return
        parameters = [weight for _, weight in trained(model)]
        vector = self.removed(model, task)
        if self.inverse == "published":
            step = published_product(model, task.samples, vector, self.samples)
        else:
            fisher = partial(fisher_product, model, task.samples, self.samples, self.batch_size)
            step = conjugate_gradients(
                lambda direction: self.damping * direction + fisher(direction),
                vector,
                iterations=self.iterations,
                tolerance=1e-5,
            )
        add_flattened(parameters, self.alpha * step)

    def removed(self, model: nn.Module, task: Task) -> Float[Tensor, " d"]:
        """v."""
        parameters = [weight for _, weight in trained(model)]
        forget, retain = (
            total_gradient(model, task.samples.blocks(part, self.batch_size), parameters)
            for part in ("forget", "retain")
        )
        sizes = task.forget_size + task.retain_size
        return (forget - task.forget_size / task.retain_size * retain) / sizes


def fisher_product(
    model: nn.Module, samples: Samples, limit: int, size: int, vector: Float[Tensor, " d"]
) -> Float[Tensor, " d"]:
    """F times a vector, by one forward-mode and one backward pass.

    Args:
        model: a classifier in eval mode.
        samples: of the task.
        limit: number of retain samples.
        size: of a block of them.
        vector: in the order of the trained parameters.
    """
    names, weights = zip(*trained(model), strict=True)
    values = {name: weight.detach() for name, weight in zip(names, weights, strict=True)}
    pieces = torch.split(vector, [weight.numel() for weight in weights])
    along = {
        name: piece.reshape(weight.shape)
        for name, weight, piece in zip(names, weights, pieces, strict=True)
    }
    total = torch.zeros_like(vector)
    for images, labels in samples.blocks("retain", size, limit):

        def losses(
            values: dict[str, Tensor], images: Tensor = images, labels: Tensor = labels
        ) -> Tensor:
            logits = torch.func.functional_call(model, values, (images,))
            return functional.cross_entropy(logits, labels, reduction="none")

        with plain_attention():
            slopes = torch.func.jvp(losses, (values,), (along,))[1]
            (gradient,) = torch.func.vjp(losses, values)[1](slopes)
        total += flattened(gradient[name] for name in names)
    return total / min(limit, samples.size("retain"))


def published_product(
    model: nn.Module, samples: Samples, vector: Float[Tensor, " d"], limit: int
) -> Float[Tensor, " d"]:
    """The published recursion's k; see `Influence`."""
    parameters = [weight for _, weight in trained(model)]
    count = min(limit, samples.size("retain"))
    product, first = vector.clone(), None
    for block in samples.blocks("retain", size=1, limit=limit):
        gradient = total_gradient(model, [block], parameters)
        if first is None:
            first = gradient
            continue
        along = first @ gradient
        product -= (product @ gradient) / (count + along) * first
        first -= along / (count + along) * first
    return product
