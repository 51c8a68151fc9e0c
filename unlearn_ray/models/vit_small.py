"""ViT-small: torchvision's vision transformer with patches for small images.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; the small size is DeiT-S's
(Touvron et al., ICML 2021): 12 layers, 6 heads, 384 channels.
"""

from __future__ import annotations

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.models.vit import ViT


@register("vit_small")
@schema
class ViTSmall(ViT):
    """ViT-small: 21 million parameters and 384 features at the defaults.

    Attributes:
        patch: side of a patch in pixels; it divides the image size (the paper: 4 at 32 pixels).
    """

    patch: PositiveInt = 4
    heads: PositiveInt = 6
    width: PositiveInt = 384
