"""timm's models: its ResNets and vision transformers as our own, and any other as it is."""

from __future__ import annotations

from functools import partial
from typing import Any

from unlearn_ray.layouts.counterpart import (
    BACKBONE,
    Counterpart,
    Ours,
    constructed,
    replaced,
    shapes_of,
)
from unlearn_ray.layouts.torchvision import TRANSFORMER, of_resnet
from unlearn_ray.models.resnet import ResNet
from unlearn_ray.models.timm import Timm
from unlearn_ray.models.vit import ViT

# torchvision's words of a vision transformer, and timm's.
_WORDS = (
    ("class_token", "cls_token"),
    ("conv_proj.", "patch_embed.proj."),
    ("encoder.pos_embedding", "pos_embed"),
    ("encoder.layers.encoder_layer_", "blocks."),
    ("encoder.ln.", "norm."),
    (".ln_1.", ".norm1."),
    (".ln_2.", ".norm2."),
    (".self_attention.in_proj_", ".attn.qkv."),
    (".self_attention.out_proj.", ".attn.proj."),
    (".mlp.0.", ".mlp.fc1."),
    (".mlp.3.", ".mlp.fc2."),
)


def counterpart(ours: Ours) -> Counterpart:
    """The model of timm that computes the same, in eval mode.

    Without a classifier in the family it ends in its features (`num_classes=0`).

    Raises:
        ConfigError: timm has none.
    """
    model = ours.model
    if isinstance(model, ResNet):
        return of_resnet(ours, "timm", "create_model", {"model_name": model.name})
    if isinstance(model, Timm):
        return _as_it_is(ours, model)
    if not isinstance(model, ViT):
        raise ours.none_in("timm", f"it has no architecture like {model.name}")
    below = ours.below(TRANSFORMER)
    body = {theirs: below[name] for theirs, name in replaced(below, _WORDS).items()}
    head = ours.head("timm", "head.")
    arguments = {
        "model_name": "vit_base_patch32_224",
        "img_size": ours.info.image_size,
        "patch_size": model.patch,
        "embed_dim": model.width,
        "depth": model.layers,
        "num_heads": model.heads,
        "num_classes": ours.classes if head else 0,
    }
    return _created(ours, arguments, body, head)


def _created(
    ours: Ours, arguments: dict[str, Any], body: dict[str, str], head: dict[str, str]
) -> Counterpart:
    return Counterpart(
        library="timm",
        constructor="create_model",
        arguments=arguments,
        body=body,
        head=head,
        left_out=ours.others(body, head),
    )


def _as_it_is(ours: Ours, model: Timm) -> Counterpart:
    """An architecture that is timm's own, whose names ours keeps."""
    body = ours.below(f"{BACKBONE}network.")
    arguments: dict[str, Any] = {
        "model_name": model.architecture, **model.arguments(ours.info.image_size)
    }  # fmt: skip
    head = ours.head("timm", "")
    if head:
        arguments["num_classes"] = ours.classes
        classifier = _classifier(ours, arguments, body)
        head = {f"{classifier}{name}": own for name, own in head.items()}
    return _created(ours, arguments, body, head)


def _classifier(ours: Ours, arguments: dict[str, Any], body: dict[str, str]) -> str:
    """The prefix of the classifier: the only layer that timm's model has and ours lacks."""
    theirs = shapes_of(partial(constructed, "timm", "create_model", arguments))
    more = sorted(theirs.keys() - body.keys())
    prefix = more[0].removesuffix("bias") if more else ""
    if more != [f"{prefix}bias", f"{prefix}weight"] or body.keys() - theirs.keys():
        raise ours.none_in("timm", "its classifier there is not one linear layer on our features")
    return prefix
