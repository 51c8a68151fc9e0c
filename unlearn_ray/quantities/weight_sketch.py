"""Weight sketch: weights, projected to a few numbers that keep distances."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.quantities.base import Inference, Observation, Quantity

# A distance's standard error is at most 1 / sqrt(2 * SIZE) of it: 1.1 %.
SIZE = 4096


@register("weight_sketch")
@schema
class WeightSketch(Quantity):
    """At most 4,096 numbers of each trained parameter tensor, whose distances are the weights'.

    A tensor of more weights w is projected: bucket b holds the sum over b(i) = b of s(i) w_i, with
    b(i) and the sign s(i) = +-1 drawn from a seed that is the same for all models (feature hashing,
    Weinberger et al., ICML 2009; a sparse Johnson-Lindenstrauss projection). The squared distance
    of two sketches is then an unbiased estimate of that of the weights, with variance at most
    2/4096 of its square: a distance's standard error is 1.1 %. Smaller tensors are kept as they
    are. A ResNet-18 takes 0.7 MB.
    """

    kept: ClassVar[bool] = False

    def observe(self, inference: Inference) -> Observation:
        """One array per parameter tensor, by its name, float64."""
        return Observation(
            arrays={
                name: sketch(weights.detach(), name)
                for name, weights in inference.model.named_parameters()
                if weights.requires_grad
            }
        )


def sketch(weights: Float[Tensor, "*shape"], name: str) -> Float64[Tensor, " at_most_4096"]:
    """The sketch of one tensor, on the CPU.

    Args:
        weights: of any shape.
        name: determines the projection.
    """
    flat = weights.double().cpu().flatten()
    if len(flat) <= SIZE:
        return flat
    generator = torch.Generator().manual_seed(stable_seed("weight sketch", name))
    buckets = torch.randint(SIZE, flat.shape, generator=generator)
    signs = torch.randint(2, flat.shape, generator=generator) * 2 - 1
    return torch.bincount(buckets, weights=flat * signs, minlength=SIZE)
