"""Colour jitter of many images at once, each with its own factors.

Images are planes (3, N, P): red, green and blue of N images of P pixels, float32 in [0, 1],
changed in place. The operations are those of torchvision's tensor path.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

# torchvision's weights of luma; they sum to 0.9999.
LUMA = (0.2989, 0.587, 0.114)
_TINY = 1e-30


def luma(planes: Float[Tensor, "3 n p"]) -> Float[Tensor, "n p"]:
    """Brightness as the eye sees it (ITU-R 601)."""
    gray = planes[0] * LUMA[0]
    return gray.add_(planes[1], alpha=LUMA[1]).add_(planes[2], alpha=LUMA[2])


def blend(
    planes: Float[Tensor, "3 n p"],
    keep: Float[Tensor, "n 1"],
    to_gray: Float[Tensor, "n 1"] | None,
    to_mean: Float[Tensor, "n 1"] | None,
) -> None:
    """clamp(keep * image + to_gray * luma + to_mean * mean luma) in place.

    With one of the two shares 1 - keep and the other 0 this is torchvision's
    `adjust_saturation` or `adjust_contrast`; with both 0 it is `adjust_brightness`. So one
    operation serves rows that are at different ones.
    """
    if to_gray is None and to_mean is None:
        planes.mul_(keep).clamp_(0, 1)
        return
    mixed = luma(planes)
    mean = None if to_mean is None else mixed.mean(dim=1, keepdim=True).mul_(to_mean)
    if to_gray is not None:
        mixed.mul_(to_gray)
    if mean is not None:
        mixed = mean if to_gray is None else mixed.add_(mean)
    planes.mul_(keep).add_(mixed).clamp_(0, 1)


def shift_hue(planes: Float[Tensor, "3 n p"], shift: Float[Tensor, "n 1"]) -> None:
    """Turn the hue by `shift` (in turns), in place; saturation and value stay.

    With low and high the least and greatest of a pixel's colours and h its hue in sixths of a
    turn, HSV's way back is low + (high - low) * w, where w is a ramp of |h - 3| for red,
    of |h - 2| for green and of |h - 4| for blue. So saturation is never needed.
    """
    red, green, blue = planes
    high = torch.maximum(red, green)
    torch.maximum(high, blue, out=high)
    low = torch.minimum(red, green)
    torch.minimum(low, blue, out=low)
    chroma = high - low
    hue = (red - green).add_(chroma, alpha=4)
    hue = torch.where(green == high, (blue - red).add_(chroma, alpha=2), hue)
    hue = torch.where(red == high, green - blue, hue)
    # No chroma, no hue: 0 / tiny is 0, and the ramps are multiplied by 0.
    hue.div_(chroma.clamp_min(_TINY)).add_(shift * 6)
    hue.sub_((hue * (1 / 6)).floor_(), alpha=6)

    torch.sub(hue, 3, out=red)
    torch.addcmul(low.sub_(chroma), chroma, red.abs_().clamp_(1, 2), out=red)
    high.add_(chroma)
    for plane, centre in ((green, 2), (blue, 4)):
        torch.sub(hue, centre, out=plane)
        torch.addcmul(high, chroma, plane.abs_().clamp_(1, 2), value=-1, out=plane)
