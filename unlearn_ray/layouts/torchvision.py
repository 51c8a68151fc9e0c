"""torchvision's ResNets and vision transformers."""

from __future__ import annotations

from typing import Any

from unlearn_ray.layouts.counterpart import BACKBONE, Counterpart, Edit, Library, Ours
from unlearn_ray.models.resnet import ResNet
from unlearn_ray.models.vit import ViT

# Channels of the first stage, which its ResNets cannot change.
_WIDTH = 64
TRANSFORMER = f"{BACKBONE}transformer."


def counterpart(ours: Ours) -> Counterpart:
    """The model of torchvision that computes the same.

    Without a classifier in the family it ends in its features: the last layer is an identity.

    Raises:
        ConfigError: torchvision has none.
    """
    model = ours.model
    if isinstance(model, ResNet):
        return of_resnet(ours, "torchvision", f"models.{model.name}", {})
    if not isinstance(model, ViT):
        raise ours.none_in("torchvision", f"it has no architecture like {model.name}")
    body, head = ours.below(TRANSFORMER), ours.head("torchvision", "heads.head.")
    arguments = {
        "image_size": ours.info.image_size,
        "patch_size": model.patch,
        "num_layers": model.layers,
        "num_heads": model.heads,
        "hidden_dim": model.width,
        "mlp_dim": 4 * model.width,
        "dropout": model.dropout,
    }
    return Counterpart(
        library="torchvision",
        constructor="models.VisionTransformer",
        arguments=arguments | ({"num_classes": ours.classes} if head else {}),
        body=body,
        head=head,
        edits=() if head else (Edit("heads", "Identity"),),
        left_out=ours.others(body, head),
    )


def of_resnet(
    ours: Ours, library: Library, constructor: str, arguments: dict[str, Any]
) -> Counterpart:
    """A ResNet, which torchvision and timm name alike; a CIFAR stem is put in afterwards.

    Raises:
        ConfigError: it has another width than theirs.
    """
    model = ours.model
    assert isinstance(model, ResNet)
    if model.width != _WIDTH:
        raise ours.none_in(library, f"its width is {model.width}, and theirs is {_WIDTH}")
    body, head = ours.below(BACKBONE), ours.head(library, "fc.")
    edits: list[Edit] = []
    if not model.pooled(ours.info.image_size):
        stem = {
            "in_channels": 3, "out_channels": _WIDTH, "kernel_size": 3, "padding": 1, "bias": False,
        }  # fmt: skip
        edits += [Edit("conv1", "Conv2d", stem), Edit("maxpool", "Identity")]
    if not head:
        edits.append(Edit("fc", "Identity"))
    return Counterpart(
        library=library,
        constructor=constructor,
        arguments=arguments | ({"num_classes": ours.classes} if head else {}),
        body=body,
        head=head,
        edits=tuple(edits),
        left_out=ours.others(body, head),
    )
