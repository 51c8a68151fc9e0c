"""A model as a classifier of images: one module from network input to logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.families.base import ClassifierFamily, Family, Prompts
from unlearn_ray.measure.features import finite, frozen


@dataclass(frozen=True)
class Classifying:
    """A module that maps network input to logits, and its last linear layer.

    Attributes:
        module: on the device; holds the model's own weights.
        last: a part of it.
    """

    module: nn.Module
    last: nn.Linear

    @contextmanager
    def inputs_of_last(self) -> Iterator[Callable[[Tensor], Tensor]]:
        """A function from network input to the inputs of the last layer, within the context."""
        seen: list[Tensor] = []

        def inputs(images: Tensor) -> Tensor:
            self.module(images)
            return seen.pop()

        hook = self.last.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        try:
            yield inputs
        finally:
            hook.remove()

    def weights_of_last(self) -> tuple[Float[Tensor, "classes d"], Float[Tensor, " classes"]]:
        """Weights and bias of the last layer, on the CPU; zeros if it has no bias."""
        weights, bias = self.last.weight.detach().float().cpu(), self.last.bias
        return weights, weights.new_zeros(len(weights)) if bias is None else bias.detach().cpu()


class _WithLinear(nn.Module):
    """A model with a linear layer on a representation of its own, times a factor."""

    def __init__(
        self,
        model: nn.Module,
        represent: Callable[[nn.Module, Tensor], Tensor],
        linear: nn.Linear,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.linear = linear
        self._represent = represent
        self._scale = scale

    def forward(self, images: Float[Tensor, "n 3 height width"]) -> Float[Tensor, "n classes"]:
        represented = self._represent(self.model, images)
        with torch.autocast(represented.device.type, enabled=False):
            logits: Tensor = self._scale * self.linear(represented.float())
        return logits


def classifying(
    model: nn.Module,
    family: Family,
    prompts: Prompts | None,
    probe: Callable[[], nn.Linear],
) -> Classifying:
    """A model as a classifier: itself, with the embeddings of class prompts, or with a probe.

    Args:
        model: of the family, on the device.
        family: of the model.
        prompts: of all classes, for a family that reads captions; embedded now, and constant.
        probe: makes the linear layer of a model that neither classifies nor reads captions.

    Raises:
        NonFiniteLoss: an embedding of a prompt is NaN or infinite.
    """
    if isinstance(family, ClassifierFamily):
        return Classifying(model, family.classifier(model))
    if not family.reads_captions:
        linear = probe()
        return Classifying(_WithLinear(model, _features, linear), linear)
    assert prompts is not None
    with frozen(model):
        classes = finite(prompts.embedded(family, model).float(), f"{len(prompts.tokens)} prompts")
    linear = nn.Linear(classes.shape[1], classes.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(classes, requires_grad=False)
    module = _WithLinear(model, family.embed_images, linear, family.cosine_scale(model))
    return Classifying(module, linear)


def random_linear(model: nn.Module, num_classes: int, seed: int) -> nn.Linear:
    """A randomly initialised linear layer on a model's features, on its device."""
    backbone = model.get_submodule("backbone")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = nn.Linear(cast(int, backbone.feature_size), num_classes)
    return linear.to(next(backbone.parameters()).device)


def _features(model: nn.Module, images: Tensor) -> Tensor:
    features: Tensor = model.get_submodule("backbone")(images)
    return features
