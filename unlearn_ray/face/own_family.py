"""A module of one's own as a family, and its inputs as an augmentation that leaves them alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.errors import BadInput, listed
from unlearn_ray.core.modes import in_eval_mode
from unlearn_ray.core.schema import schema
from unlearn_ray.data.augmentation import Augmentation
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.data.view_parameters import ViewParameters
from unlearn_ray.families.supervised import Supervised


@schema
class AsGiven(Augmentation):
    """No augmentation: images are inputs of the model already, of any shape and any channels."""

    mean: tuple[float, ...] = (0.0,)  # type: ignore[assignment]
    std: tuple[float, ...] = (1.0,)  # type: ignore[assignment]

    def sample(self, count: int, image_size: int, generator: torch.Generator) -> ViewParameters:
        """Nothing is drawn."""
        return ViewParameters(count)

    def apply(
        self,
        images: Tensor,
        parameters: ViewParameters,
        ids: Tensor | None = None,
        rows: slice | Tensor = slice(None),
    ) -> Tensor:
        """The images themselves."""
        return images[rows] if ids is None else images[ids[rows]]

    def plain(self, images: Tensor) -> Tensor:
        """The images themselves."""
        return images


@schema
class OwnFamily(Supervised):
    """A classifier of one's own: `model(images)` are logits, the criterion is cross-entropy.

    Attributes:
        last_layer: the name of the submodule, linear, that computes the logits; methods that use
            the model's features take its inputs. None if there is no such layer.
    """

    name: ClassVar[str] = "your model"

    last_layer: str | None = None
    augmentation: Augmentation = AsGiven()

    def classifier(self, model: nn.Module) -> nn.Linear:
        """The last layer.

        Raises:
            BadInput: there is none.
        """
        if self.last_layer is None:
            raise BadInput(
                "the model",
                "this method needs the inputs of a last, linear layer, and no nn.Linear in the "
                "model computes its outputs",
                "let the model end in one, or choose another method",
            )
        return cast(nn.Linear, model.get_submodule(self.last_layer))

    def represent(self, model: nn.Module, images: Tensor) -> Float[Tensor, "n d"]:
        """The inputs of the last layer."""
        seen: list[Tensor] = []
        layer = self.classifier(model)
        with layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
            model(images)
        return seen[-1]

    def classify(
        self, model: nn.Module, represented: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n classes"]:
        """Logits of the last layer's inputs."""
        return cast(Tensor, self.classifier(model)(represented))


@schema
class Removed(ForgetSet):
    """The samples to forget, which the caller names."""

    name: ClassVar[str] = "this forget set"


@schema
class RemovedClasses(Removed):
    """The same, if the retain set has none of their classes."""

    whole_classes: ClassVar[bool] = True


@torch.no_grad()
def last_layer_of(model: nn.Module, images: Tensor) -> str | None:
    """The name of the linear layer whose outputs are those of the model; None without one.

    Args:
        model: a classifier.
        images: a few of its inputs, on its device.
    """
    outputs: dict[str, Any] = {}
    linear = {name: one for name, one in model.named_modules() if isinstance(one, nn.Linear)}

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _, __, output: outputs.__setitem__(name, output)

    hooks = [layer.register_forward_hook(keep(name)) for name, layer in linear.items()]
    try:
        with in_eval_mode(model):
            logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return next(
        (name for name, output in outputs.items() if name and torch.equal(output, logits)), None
    )


def freshly_initialised(model: nn.Module) -> nn.Module:
    """Reset every layer of `model`, in place, as layers do when they are made.

    Raises:
        BadInput: a parameter belongs to no layer that can reset itself.
    """
    fixed = [
        f"{name}.{parameter}".lstrip(".")
        for name, module in model.named_modules()
        if not hasattr(module, "reset_parameters")
        for parameter, _ in module.named_parameters(recurse=False)
    ]
    if fixed:
        raise BadInput(
            f"parameters {listed(fixed)}",
            "this method needs a freshly initialised model, and their modules have no "
            "reset_parameters()",
            "give unlearn(..., new_model=...), a function that makes one",
        )
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if reset is not None:
            reset()
    return model
