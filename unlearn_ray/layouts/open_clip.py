"""open_clip's CLIP, of an image and a text tower."""

from __future__ import annotations

from unlearn_ray.families.clip import CLIP
from unlearn_ray.layouts.counterpart import BACKBONE, Counterpart, Ours
from unlearn_ray.models.open_clip import OpenCLIP

IMAGE, TEXT, SCALE = f"{BACKBONE}tower.", "text.transformer.", "log_scale"


def counterpart(ours: Ours) -> Counterpart:
    """The model of open_clip that computes the same.

    `open_clip.create_model` makes the same where the text tower has its architecture's sizes.

    Raises:
        ConfigError: open_clip has none.
    """
    model, family = ours.model, ours.family
    if not isinstance(family, CLIP) or not isinstance(model, OpenCLIP):
        raise ours.none_in("open_clip", "it has only its own image towers with a text tower")
    config, _, text = model.configuration()
    quick = bool(config.get("quick_gelu"))
    if (family.activation == "quick_gelu") != quick:
        wanted = "quick_gelu" if quick else "gelu"
        raise ours.none_in("open_clip", f"the image tower has {wanted}, and the text tower not")
    sizes = {
        "context_length": family.context_length,
        "vocab_size": text.vocab_size,
        "width": family.text_width,
        "heads": family.text_heads,
        "layers": family.text_layers,
    }
    body = {
        **{f"visual.{name}": own for name, own in ours.below(IMAGE).items()},
        **ours.below(TEXT),
        "logit_scale": SCALE,
    }
    return Counterpart(
        library="open_clip",
        constructor="CLIP",
        arguments={
            "embed_dim": config["embed_dim"],
            "vision_cfg": {**config["vision_cfg"], "image_size": ours.info.image_size},
            "text_cfg": sizes,
            "quick_gelu": quick,
        },
        body=body,
        head={},
        left_out=ours.others(body),
    )
