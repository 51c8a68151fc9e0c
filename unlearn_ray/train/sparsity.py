"""Sparse models: pruning a backbone's weights, and keeping them at zero.

The weights of the backbone's convolutions, linear layers and attention projections are pruned
globally, in one ranking. Biases, normalisation, embeddings, and the heads on top of the backbone
(classifier, projection) stay dense. For a ResNet these are the weights that Jia et al., "Model
Sparsity Can Simplify Machine Unlearning", NeurIPS 2023, prune in their code: every convolution.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count, takewhile
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearn_ray.core.errors import BadInput
from unlearn_ray.core.schema import schema

# Frankle and Carbin, "The Lottery Ticket Hypothesis", ICLR 2019: 20 % of the rest per round.
LARGEST_SHARE = 0.2
# Tanaka et al., section 6.
SYNFLOW_ITERATIONS = 100


@schema
class Sparsity:
    """Share of a backbone's weights that are zero, and the pruning method.

    Attributes:
        method: `omp`, one-shot magnitude pruning: the dense model is trained, its smallest weights
            are pruned, and the others trained again from their initial values. `imp`, iterative
            magnitude pruning: the same in rounds, each of which prunes 20 % of the remaining
            weights (the last round fewer), so that 95 % take 14 trainings after the dense one.
            `synflow` prunes at initialisation, without data.
        fraction: share of the weights that are zero.
    """

    method: Literal["omp", "imp", "synflow"]
    fraction: Annotated[float, Field(gt=0, lt=1)]

    @property
    def by_magnitude(self) -> bool:
        """Whether trained weights decide what is pruned."""
        return self.method != "synflow"

    def before(self) -> Sparsity | None:
        """Sparsity of the model whose weights are ranked by magnitude; None: dense."""
        if self.method == "omp":
            return None
        # Rounded, so that a round has the same number on every machine.
        rounds = (round(1 - (1 - LARGEST_SHARE) ** number, 9) for number in count(1))
        earlier = list(takewhile(lambda fraction: fraction < self.fraction, rounds))
        return replace(self, fraction=earlier[-1]) if earlier else None

    def __str__(self) -> str:
        return f"{100 * self.fraction:g} % sparse by {self.method}"


class Masks(nn.Module):
    """Pruning masks of a model's backbone, as part of the state dict.

    One boolean buffer per prunable parameter, true where a weight is kept, with the parameter's
    name in the backbone ("/" for "."); all true initially. They also apply to momentum copies of
    the backbone, so that both are the same network.

    Args:
        backbone: of the model that gets the masks as its submodule `sparsity`.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        for name, weight in prunable(backbone).items():
            self.register_buffer(name.replace(".", "/"), torch.ones_like(weight, dtype=torch.bool))

    def by_parameter(self) -> dict[str, Tensor]:
        """The masks by the name of the parameter within the backbone."""
        return {name.replace("/", "."): kept for name, kept in self.named_buffers()}

    @torch.no_grad()
    def set(self, masks: Mapping[str, Tensor]) -> None:
        """Replace the masks."""
        for name, kept in self.by_parameter().items():
            kept.copy_(masks[name])

    def pairs(self, model: nn.Module) -> Iterator[tuple[nn.Parameter, Tensor]]:
        """Each masked weight of the model, with its mask."""
        shapes = _shapes(model.get_submodule("backbone"))
        for module in model.modules():
            if _shapes(module) == shapes:
                for name, kept in self.by_parameter().items():
                    yield module.get_parameter(name), kept


def prunable(backbone: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a backbone that are pruned, by name."""
    return {
        name: weight
        for prefix, module in backbone.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.MultiheadAttention)
        for name, weight in module.named_parameters(prefix, recurse=False)
        if weight.ndim > 1
    }


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in module.named_parameters()}


def masks_of(model: nn.Module) -> Masks | None:
    """A sparse model's masks; None for a dense one."""
    masks = getattr(model, "sparsity", None)
    return masks if isinstance(masks, Masks) else None


def keeper(module: nn.Module) -> Callable[[], None] | None:
    """A function that resets the pruned weights of all trained sparse models in `module` to zero.

    None if there are none. It refers to parameters, not to their names: recreate it if they may
    have been replaced.
    """
    pairs = [
        pair
        for model in module.modules()
        if (masks := masks_of(model)) and any(w.requires_grad for w in model.parameters())
        for pair in masks.pairs(model)
    ]
    factors: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def keep() -> None:
        # At the first call, since a resumed run restores its masks after `keeper`; of the weights'
        # own type, so that a GPU multiplies all of them at once; and one factor for each weight.
        if not factors:
            for weight, kept in pairs:
                factors[weight] = kept.to(weight) * factors.get(weight, 1)
        torch._foreach_mul_([*factors], [*factors.values()])

    return keep if pairs else None


def apply_masks(module: nn.Module) -> None:
    """Reset pruned weights to zero, once."""
    keep = keeper(module)
    if keep is not None:
        keep()


def magnitude_masks(model: nn.Module, fraction: float) -> dict[str, Tensor]:
    """Masks that keep the weights of largest absolute value, over all layers together.

    Args:
        model: trained; weights that its own masks prune go first.
        fraction: of the weights to prune, including those already pruned.

    Raises:
        BadInput: all weights would be pruned, or none.
    """
    weights = prunable(model.get_submodule("backbone"))
    _check(weights, fraction)
    masks = masks_of(model)
    kept = _all(weights) if masks is None else masks.by_parameter()
    return _largest({n: weight.detach().abs() for n, weight in weights.items()}, kept, fraction)


def synflow_masks(model: nn.Module, image_size: int, fraction: float) -> dict[str, Tensor]:
    """Masks that keep the weights on the strongest paths from pixels to features.

    Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic
    flow", NeurIPS 2020. With R the sum of the features of an image of ones, through absolute
    weights and with batch norm in eval mode, a weight's score is w * dR/dw: the strength of all
    paths through it. In iteration k of n = 100 the lowest are pruned until (1 - fraction)^(k / n)
    are left, and the rest are scored anew. Paths end at the backbone's features, so that
    the masks are the same for every family; float64 holds products over many layers.

    Args:
        model: freshly initialised.
        image_size: height and width of images.
        fraction: of the weights to prune.

    Returns:
        Masks on the CPU.

    Raises:
        BadInput: all weights would be pruned, or none.
    """
    network = copy.deepcopy(model.get_submodule("backbone")).double().eval()
    weights = prunable(network)
    _check(weights, fraction)
    with torch.no_grad():
        for value in network.state_dict().values():
            value.abs_()
    image = next(iter(weights.values())).new_ones(1, 3, image_size, image_size)
    kept = _all(weights)
    for number in range(1, SYNFLOW_ITERATIONS + 1):
        strengths = torch.autograd.grad(network(image).sum(), list(weights.values()))
        scores = {
            name: weight.detach() * strength
            for (name, weight), strength in zip(weights.items(), strengths, strict=True)
        }
        kept = _largest(scores, kept, 1 - (1 - fraction) ** (number / SYNFLOW_ITERATIONS))
        with torch.no_grad():
            for name, weight in weights.items():
                weight.mul_(kept[name])
    return {name: mask.cpu() for name, mask in kept.items()}


def _all(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}


def _largest(
    scores: Mapping[str, Tensor], kept: Mapping[str, Tensor], fraction: float
) -> dict[str, Tensor]:
    """All but the `fraction` of lowest scores; the first of ties go. Pruned weights stay pruned."""
    ranked = [score.masked_fill(~kept[name], -1).reshape(-1) for name, score in scores.items()]
    flat = torch.cat(ranked)
    mask = torch.ones_like(flat, dtype=torch.bool)
    mask[flat.argsort(stable=True)[: round(fraction * len(flat))]] = False
    pieces = mask.split_with_sizes([len(each) for each in ranked])
    return {
        name: piece.view(score.shape)
        for (name, score), piece in zip(scores.items(), pieces, strict=True)
    }


def _check(weights: Mapping[str, Tensor], fraction: float) -> None:
    total = sum(weight.numel() for weight in weights.values())
    if not 0 < round(fraction * total) < total:
        left = "none" if fraction > 0.5 else "all"
        raise BadInput(
            f"sparsity.fraction = {fraction:g}",
            f"would leave {left} of the {total} weights that can be pruned",
            "choose another fraction",
        )
