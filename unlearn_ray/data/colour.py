"""Colour jitter of many images at once, each with its own factors.

Images are planes (3, N, P): red, green and blue of N images of P pixels, float32 in [0, 1],
changed in place. The operations are those of torchvision's tensor path.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# torchvision's weights of luma; they sum to 0.9999.
LUMA = (0.2989, 0.587, 0.114)
TINY = 1e-30


def luma(planes: Float[Tensor, "3 n p"]) -> Float[Tensor, "n p"]:
    """Brightness as the eye sees it (ITU-R 601)."""
    gray = planes[0] * LUMA[0]
    return gray.add_(planes[1], alpha=LUMA[1]).add_(planes[2], alpha=LUMA[2])


@dataclass(frozen=True)
class Blends:
    """Brightness, contrast and saturation of each image, in sequence.

    Each operation is clamp(keep * image + to_gray * luma + to_mean * mean luma): both shares are
    0 for brightness, to_mean is 1 - keep for contrast, to_gray is 1 - keep for saturation. So
    images with different orders of operations are processed in one batch.

    Attributes:
        keep, to_gray, to_mean: (operations, N, 1); None if always 0.
    """

    keep: Float[Tensor, "operations n 1"]
    to_gray: Float[Tensor, "operations n 1"] | None
    to_mean: Float[Tensor, "operations n 1"] | None

    def part(self, operations: slice, images: slice) -> Blends:
        """Some of the operations on some of the images."""
        shares = [
            None if share is None else share[operations, images]
            for share in (self.to_gray, self.to_mean)
        ]
        return Blends(self.keep[operations, images], *shares)

    def apply(self, planes: Float[Tensor, "3 n p"]) -> None:
        """All operations, in place."""
        for operation in range(len(self.keep)):
            mixed = self._mixed_in(planes, operation)
            planes.mul_(self.keep[operation])
            if mixed is not None:
                planes.add_(mixed)
            planes.clamp_(0, 1)

    def _mixed_in(self, planes: Tensor, operation: int) -> Tensor | None:
        if self.to_gray is None and self.to_mean is None:
            return None
        gray = luma(planes)
        if self.to_mean is None:
            assert self.to_gray is not None
            return gray.mul_(self.to_gray[operation])
        mean = gray.mean(dim=1, keepdim=True).mul_(self.to_mean[operation])
        if self.to_gray is None:
            return mean
        return gray.mul_(self.to_gray[operation]).add_(mean)


def shift_hue(planes: Float[Tensor, "3 n p"], shift: Float[Tensor, "n 1"]) -> None:
    """Rotate the hue by `shift` (in turns), in place; saturation and value stay.

    With low and high the minimum and maximum of a pixel's channels and h its hue in sixths of a
    turn, the conversion from HSV is low + (high - low) * w, where w is a ramp of |h - 3| for red,
    of |h - 2| for green and of |h - 4| for blue. So saturation is never needed.
    """
    red, green, blue = planes
    high = torch.maximum(red, green)
    torch.maximum(high, blue, out=high)
    low = torch.minimum(red, green)
    torch.minimum(low, blue, out=low)
    chroma = high - low
    # The hue from the maximum channel. A lerp by 0 or 1 is exact, and far faster than `where`.
    greatest = torch.empty_like(high)
    hue = (red - green).add_(chroma, alpha=4)
    from_green = (blue - red).add_(chroma, alpha=2)
    hue.lerp_(from_green, torch.eq(green, high, out=greatest))
    torch.sub(green, blue, out=from_green)
    hue.lerp_(from_green, torch.eq(red, high, out=greatest))
    # No chroma, no hue: 0 / tiny is 0, and the ramps are multiplied by 0.
    hue.div_(torch.clamp_min(chroma, TINY, out=greatest)).add_(shift * 6)
    hue.sub_(torch.mul(hue, 1 / 6, out=greatest).floor_(), alpha=6)

    torch.sub(hue, 3, out=red)
    torch.addcmul(low.sub_(chroma), chroma, red.abs_().clamp_(1, 2), out=red)
    high.add_(chroma)
    for plane, centre in ((green, 2), (blue, 4)):
        torch.sub(hue, centre, out=plane)
        torch.addcmul(high, chroma, plane.abs_().clamp_(1, 2), value=-1, out=plane)
