"""Convert an image of any mode, depth and profile to the colours that a viewer shows.

Images are converted to a mode whose values may be averaged, resized, and then converted to sRGB:
applying the profile last is cheaper and changes little.

- Transparent pixels are put on white.
- Integers of more than 8 bits are scaled by the full range of their depth, floating-point
  numbers by [0, 1], the only range that all programs agree on.
- Colours with an embedded ICC profile become sRGB. A profile that is damaged or of another colour
  space is ignored, as viewers do.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms

_WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_GRAY = ("1", "L", "LA", "La")
_COLOURS = ("RGB", "RGBX", "RGBA", "RGBa", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV")
MODES = (*_WIDE, *_GRAY, *_COLOURS)

_BAND_PIXELS = 1 << 20
_TO_8_BITS = "save it with 8 or 16 bits, unsigned"

# Tags of TIFF.
_BITS, _PHOTOMETRIC, _SUBSAMPLING, _SAMPLE_FORMAT = 258, 262, 530, 339
_SIGNED, _WHITE_IS_ZERO = 2, 0


class Refused(Exception):
    """The image's colours have no agreed meaning.

    Args:
        reason: why not.
        remedy: what to do about it.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy


def check_colours(image: Image.Image) -> None:
    """Refuse what the header alone shows to be unusable.

    Raises:
        Refused: signed integers, or a mode or layout without an agreed meaning.
    """
    if image.mode not in MODES:
        raise Refused(f"its mode {image.mode} is not known", "save it as RGB")
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        if _SIGNED in tags.get(_SAMPLE_FORMAT, ()):
            raise Refused("holds signed integers, which have no agreed scale", _TO_8_BITS)
        if image.mode == "YCbCr" and tags.get(_SUBSAMPLING, (2, 2)) != (1, 1):
            raise Refused("holds uncompressed YCbCr at less than full resolution", "save it as RGB")
    if _raw_mode(image).startswith("RGB;16") and "transparency" in image.info:
        raise Refused(
            "its transparent colour has 16 bits a channel, of which only 8 are read",
            "save it with an alpha channel",
        )


def _raw_mode(image: Image.Image) -> str:
    tile = getattr(image, "tile", None)
    given = tile[0][3] if tile else ""
    return str(given[0] if isinstance(given, tuple) and given else given)


def transparent_level(image: Image.Image) -> None:
    """Scale the transparent gray level of a 2- or 4-bit PNG like its pixels."""
    depth = {"L;2": 2, "L;4": 4}.get(_raw_mode(image))
    if image.format == "PNG" and depth and "transparency" in image.info:
        image.info["transparency"] *= 255 // ((1 << depth) - 1)


def averageable(image: Image.Image) -> Image.Image:
    """Convert a loaded image to L, LA, RGB, RGBA, or CMYK (with a profile) for resizing.

    Raises:
        Refused: floating-point values outside [0, 1].
    """
    if image.mode in _WIDE:
        return _eight_bits(image)
    mode = "L" if image.mode in _GRAY else "RGB"
    if image.has_transparency_data and not _all_clear_bitmap(image):
        mode += "A"
    elif image.mode == "CMYK" and _profile(image.info.get("icc_profile"), "CMYK"):
        mode = "CMYK"
    # Converting copies, even to the same mode.
    return image if image.mode == mode else image.convert(mode)


def _all_clear_bitmap(image: Image.Image) -> bool:
    """Whether the fourth byte of a BMP was left at 0, which does not mean a transparent image."""
    if image.format not in ("BMP", "DIB") or image.mode != "RGBA":
        return False
    return image.getchannel("A").getextrema()[1] == 0


def _eight_bits(image: Image.Image) -> Image.Image:
    """8-bit gray, band by band: the image may be too large for copies in a wider type."""
    tags: Any = getattr(image, "tag_v2", {})
    white = _white(image, tags)
    negative = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    clear = image.info.get("transparency")
    shown = Image.new("L" if clear is None else "LA", image.size)
    for top, band in _bands(image):
        if image.mode == "F":
            _check_range(band)
        elif image.mode == "I" and white > 65535:
            band = band.view(np.uint32)
        levels = np.rint(band * (255 / white)).clip(0, 255).astype(np.uint8)
        if negative:
            levels = 255 - levels
        part = Image.fromarray(levels)
        if clear is not None:
            part.putalpha(Image.fromarray(np.where(band == clear, 0, 255).astype(np.uint8)))
        shown.paste(part, (0, top))
    return shown


def _white(image: Image.Image, tags: Any) -> float:
    """The value that means white."""
    if image.mode == "F":
        return 1.0
    if image.mode == "I" and image.format == "TIFF":
        return float((1 << 32) - 1)
    # Pillow scales all other depths to 16 bits.
    return 4095.0 if tags.get(_BITS) == (12,) else 65535.0


def _check_range(values: np.ndarray) -> None:
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise Refused("holds floating-point values that are not finite", "replace them")
    # Values that round to black or white are rounding errors, not another scale.
    if low < -0.5 / 255 or high > 255.5 / 255:
        raise Refused(
            f"holds floating-point values from {low:g} to {high:g}, and only 0 to 1 is known to "
            "mean black to white",
            "divide them by the value of white, or save them as integers of 8 or 16 bits",
        )


def _bands(image: Image.Image) -> Iterator[tuple[int, np.ndarray]]:
    width, height = image.size
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield top, np.asarray(image.crop((0, top, width, min(top + rows, height))))


def shown(image: Image.Image, icc: bytes | None) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels in sRGB, on white.

    Args:
        image: from `averageable`, of any size.
        icc: the file's embedded ICC profile.
    """
    alpha = None
    if image.mode in ("LA", "RGBA"):
        alpha = np.asarray(image.getchannel("A"), dtype=np.float32)[..., None] / 255
        image = image.convert(image.mode[:-1])
    transform = _transform(icc, image.mode)
    image = transform.apply(image) if transform is not None else image.convert("RGB")
    pixels = np.asarray(image)
    if alpha is None:
        return pixels
    return np.rint(pixels * alpha + 255 * (1 - alpha)).astype(np.uint8)


@lru_cache(maxsize=16)
def _transform(icc: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The conversion to sRGB; None if none is needed."""
    profile = _profile(icc, mode)
    if profile is None:
        return None
    try:
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return None
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except ImageCms.PyCMSError:
        return None


def _profile(icc: bytes | None, mode: str) -> ImageCms.ImageCmsProfile | None:
    """The profile, if it can be read and fits the mode."""
    if not icc:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    except OSError:
        return None
    space = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}[mode]
    return profile if profile.profile.xcolor_space.strip() == space else None
