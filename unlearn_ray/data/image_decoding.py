"""Decode an image file as a viewer shows it: upright, its first frame, in sRGB, on white."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from unlearn_ray.core.errors import DataError
from unlearn_ray.data.base import Resize
from unlearn_ray.data.image_colours import (
    Refused,
    averageable,
    check_colours,
    shown,
    transparent_level,
)

Box = tuple[float, float, float, float]

# The formats that are tested; Pillow reads others, some by external programs.
FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP",
)  # fmt: skip
# Limit for all images that are decoded concurrently.
MEMORY = 1 << 30

_SMALLER = "scale it down: it is resized to image_size anyway"
_REPAIR = "repair or remove it (names with a leading dot are left out)"
_CONVERT = "convert it to PNG or JPEG"

# Bytes per pixel that decoders need in addition to the image, at most; measured.
_DECODERS = {"AVIF": 10, "GIF": 1, "JPEG2000": 16, "WEBP": 13}
_PROGRESSIVE_JPEG, _TURNED_TIFF = 6, 4
# Bytes per pixel of an image and its conversions until it is resized.
_MODES = {
    "RGBA": 8,
    "1": 2, "L": 1, "P": 5, "RGB": 4, "I": 5, "F": 5,
    "I;16": 3, "I;16B": 3, "I;16L": 3, "I;16N": 3,
}  # fmt: skip
_OTHER_MODES = 12
_ORIENTATION = ExifTags.Base.Orientation

_MIRRORED_COLUMNS, _MIRRORED_ROWS, _ON_ITS_SIDE = {2, 3, 6, 7}, {3, 4, 7, 8}, {5, 6, 7, 8}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns on standard error; here an image is decoded, or refused by name.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


def memory_needed(file: BinaryIO, path: Path, length: int) -> int:
    """Upper bound of the bytes that decoding takes, from the header alone.

    Args:
        file: the image, readable and seekable.
        path: for the error.
        length: of the file in bytes.

    Raises:
        DataError: its format or mode is not supported, or decoding takes more than `MEMORY`.
    """
    with _errors_of(path), _opened(file) as image:
        check_colours(image)
        width, height = image.size
        needed = length + width * height * _bytes_a_pixel(image)
        if needed > MEMORY:
            raise Refused(
                f"has {width:,} x {height:,} pixels, and decoding them takes about "
                f"{needed / 2**30:.1f} GiB of memory, more than the {MEMORY / 2**30:g} GiB allowed",
                _SMALLER,
            )
        return needed


def _bytes_a_pixel(image: Image.Image) -> int:
    extra = _DECODERS.get(image.format or "", 0)
    if image.info.get("progressive"):
        extra = _PROGRESSIVE_JPEG
    if image.format == "TIFF" and image.tag_v2.get(_ORIENTATION, 1) != 1:  # type: ignore[attr-defined]
        extra = _TURNED_TIFF
    if "transparency" in image.info:
        return extra + _OTHER_MODES
    return extra + _MODES.get(image.mode, _OTHER_MODES)


def decode_image(
    data: bytes, path: Path, size: int, resize: Resize
) -> UInt8[np.ndarray, "size size 3"]:
    """Decode an image to RGB of size x size, bilinear with antialiasing.

    Args:
        data: the file's bytes.
        path: for the error.
        size: height and width of the result.
        resize: "crop" (torchvision's Resize and CenterCrop) or "stretch"; see `FileDataset`.

    Raises:
        DataError: it cannot be decoded, or its colours have no agreed meaning.
    """
    with _errors_of(path), _opened(io.BytesIO(data)) as image:
        check_colours(image)
        transparent_level(image)
        image.load()
        turned, profile = _orientation(image), image.info.get("icc_profile")
        sides = image.size[::-1] if turned in _ON_ITS_SIDE else image.size
        whole = (0.0, 0.0, float(sides[0]), float(sides[1]))
        box = _middle(*sides, size) if resize == "crop" else whole
        small = averageable(image).resize(
            (size, size), Image.Resampling.BILINEAR, box=_as_stored(box, sides, turned)
        )
        if turned in _UPRIGHT:
            small = small.transpose(_UPRIGHT[turned])
        return shown(small, profile)


def resized_pixels(
    image: Image.Image, size: int, resize: Resize
) -> UInt8[np.ndarray, "size size 3"]:
    """An image of another library as RGB of size x size; its EXIF data and profile are ignored.

    Args:
        image: of any mode and size.
        size: height and width of the result.
        resize: as of `decode_image`.
    """
    width, height = image.size
    box = _middle(width, height, size) if resize == "crop" else (0.0, 0.0, width, height)
    small = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(small)


def sides_of(data: bytes, path: Path) -> tuple[int, int]:
    """Width and height of an image file, as stored.

    Args:
        data: the file's bytes.
        path: for the error.

    Raises:
        DataError: it is not an image that can be decoded.
    """
    with _errors_of(path), _opened(io.BytesIO(data)) as image:
        return image.size


def _middle(width: int, height: int, size: int) -> Box:
    """The part of an image that becomes the centre crop."""
    short = min(width, height)
    wide, high = size * width // short, size * height // short
    left, top = round((wide - size) / 2), round((high - size) / 2)
    return (
        left * width / wide,
        top * height / high,
        min((left + size) * width / wide, width),
        min((top + size) * height / high, height),
    )


def _as_stored(box: Box, sides: tuple[int, int], turned: int) -> Box:
    """Map a box of the upright image to the image as stored."""
    (width, height), (left, top, right, bottom) = sides, box
    if turned in _MIRRORED_COLUMNS:
        left, right = width - right, width - left
    if turned in _MIRRORED_ROWS:
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if turned in _ON_ITS_SIDE else (left, top, right, bottom)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; for TIFF images, which Pillow has rotated already, it is 1."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        # Viewers ignore damaged EXIF data.
        return 1
    return found if found in _UPRIGHT else 1


@contextmanager
def _opened(file: BinaryIO) -> Iterator[Image.Image]:
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        raise Refused(*_unidentified(file)) from None
    with image:
        yield image


def _unidentified(file: BinaryIO) -> tuple[str, str]:
    """Reason and remedy for a file that could not be opened."""
    file.seek(0)
    beginning = file.read(16)
    for kind in FORMATS:
        accepts = Image.OPEN[kind][1]
        if accepts and accepts(beginning) is True:
            what = f"it is {kind}, but damaged or of an unsupported variant"
            return f"cannot be read as an image: {what}", "repair it, or save it as an 8-bit PNG"
    try:
        with Image.open(file) as image:
            return f"is in the format {image.format}, which is not supported", _CONVERT
    except Exception:
        return "cannot be read as an image: unknown format", _REPAIR


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    try:
        yield
    except Refused as error:
        raise DataError(str(path), error.reason, error.remedy) from error
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))
        count = f"{int(pixels.group()):,}" if pixels else "too many"
        reason = f"has {count} pixels, more than can be decoded"
        raise DataError(str(path), reason, _SMALLER) from error
    except DataError:
        raise
    except Exception as error:
        # Pillow's readers raise any kind of error.
        said = str(error).partition("\n")[0][:100]
        reason = f"cannot be read as an image: {type(error).__name__}"
        reason += f" ({said})" if said.isprintable() and said else ""
        raise DataError(str(path), reason, _REPAIR) from error
