"""Images: good files of many formats and modes, cut, with bytes changed, and with huge headers."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unlearn_ray.data.image_files import decode, list_images

SIZE = 8
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")
FORMATS = (
    *("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM", "TGA", "ICO", "PCX", "DDS"),
    *("JPEG2000", "IM", "MSP", "SPIDER", "XBM", "DIB", "EPS", "PDF", "ICNS", "MPO", "QOI"),
    *("BLP", "SGI"),
)


@dataclass(frozen=True)
class ImageInput:
    """A file in a class folder.

    Attributes:
        data: of the file; None is what is none, `name`.
        name: of the file.
        about: where it comes from.
    """

    data: bytes | None
    name: str
    about: str

    def smaller(self) -> Iterator[ImageInput]:
        """Cut."""
        if self.data:
            for kept in (len(self.data) // 2, len(self.data) - 1):
                yield replace(self, data=self.data[:kept])

    def show(self) -> str:
        """A way to make it again."""
        data = self.data if self.data is None or len(self.data) < 400 else self.data[:400]
        return f"{self.about}, as {self.name!r}: {data!r}"


@cache
def good() -> dict[str, bytes]:
    """Files that Pillow itself has written, by format and mode."""
    Image.init()
    pixels = np.random.RandomState(0).randint(0, 256, (13, 11, 3), dtype=np.uint8)
    found: dict[str, bytes] = {}
    for mode in MODES:
        for name in FORMATS:
            data = _saved(pixels, mode, name)
            if data is not None:
                found[f"{name} {mode}"] = data
    return found | _by_hand()


def _saved(pixels: Any, mode: str, name: str) -> bytes | None:
    buffer = io.BytesIO()
    try:
        image = Image.fromarray(pixels)
        image = image.convert("L").convert(mode) if mode[0] in "IF1" else image.convert(mode)
        image.save(buffer, name)
    except Exception:
        return None
    return buffer.getvalue()


def _by_hand() -> dict[str, bytes]:
    """What Pillow does not write: 16 bits of each channel, huge sizes, many frames, no pixels."""
    huge = {
        f"PNG of {w} x {h}, {bits} bits, colour {colour}": png(w, h, bits, colour)
        for w, h in ((1, 1), (3, 70_000), (8000, 8000), (20_000, 20_000), (2**31 - 1, 1), (0, 5))
        for bits, colour in ((8, 2), (16, 2), (16, 0), (16, 6), (1, 3))
    }
    exif = Image.Exif()
    frames = [Image.new("L", (9, 9), value) for value in (0, 255)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    more = {"GIF of two frames": buffer.getvalue()}
    for orientation in (*range(10), 65535):
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        Image.new("RGB", (9, 5), "red").save(buffer, "JPEG", exif=exif)
        more[f"JPEG, orientation {orientation}"] = buffer.getvalue()
    for value in (0.0, 1.0, 255.0, 65535.0, -1.0, float("nan"), float("inf"), 1e38):
        buffer = io.BytesIO()
        Image.fromarray(np.full((5, 5), value, dtype=np.float32)).save(buffer, "TIFF")
        more[f"TIFF of floats {value}"] = buffer.getvalue()
    texts = {"empty": b"", "text": b"no image\n", "zeros": bytes(5000), "svg": b"<svg></svg>"}
    return huge | more | texts


def png(width: int, height: int, bits: int, colour: int, rows: int = 200) -> bytes:
    """A PNG whose header says what is given, with few bytes of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = bytes(1 + min(width * channels * bits // 8 + 1, 1 << 20))
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(range(6))) if colour == 3 else b""
    pixels = zlib.compress(row * min(height, rows), 9)
    whole = chunk(b"IHDR", head) + palette + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + whole


def draw_image(draw: random.Random) -> ImageInput:
    """A file, mostly a damaged one."""
    if not draw.randrange(40):
        kind = draw.choice(("fifo", "folder", "dangling link", "device", "loop"))
        return ImageInput(None, kind, kind)
    about = draw.choice(sorted(good()))
    data = good()[about]
    for _ in range(draw.choice((0, 1, 1, 2, 5))):
        data, done = draw.choice(DAMAGES)(draw, data)
        about = f"{about}, {done}"
    names = [*["0.png"] * 8, "0.jpg", "x", "a b.tif", "é.png", "\udcff.png", "a\nb.png", "x" * 240]
    return ImageInput(data, draw.choice(names), about)


Damage = Callable[[random.Random, bytes], tuple[bytes, str]]


def _cut(draw: random.Random, data: bytes) -> tuple[bytes, str]:
    kept = draw.randrange(len(data) + 1)
    return data[:kept], f"cut to {kept}"


def _flip(draw: random.Random, data: bytes) -> tuple[bytes, str]:
    # Headers decide most.
    at = draw.randrange(min(len(data), draw.choice((16, 64, 1 << 20))) or 1)
    value = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
    return data[:at] + bytes([value]) + data[at + 1 :], f"byte {at} is {value}"


def _field(draw: random.Random, data: bytes) -> tuple[bytes, str]:
    at = draw.randrange(min(len(data), 64) or 1)
    number = draw.choice((0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF))
    packed = struct.pack(draw.choice(("<I", ">I")), number)
    return data[:at] + packed + data[at + 4 :], f"{number:#x} at {at}"


def _insert(draw: random.Random, data: bytes) -> tuple[bytes, str]:
    at, count = draw.randrange(len(data) + 1), draw.choice((1, 100, 5000))
    return data[:at] + draw.randbytes(count) + data[at:], f"{count} bytes more at {at}"


def _spliced(draw: random.Random, data: bytes) -> tuple[bytes, str]:
    other = draw.choice(sorted(good()))
    at = draw.randrange(min(len(data), 4000) + 1)
    return data[:at] + good()[other][at:], f"from {at} on as {other}"


DAMAGES: tuple[Damage, ...] = (_cut, _flip, _flip, _field, _field, _insert, _spliced)


class ImageJudge:
    """Lists and decodes a folder of one image, as a sweep does before anything is spent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    def __call__(self, given: ImageInput) -> None:
        self.number += 1
        root = self.folder / f"{self.number}"
        top = root / "train" / "cat"
        top.mkdir(parents=True)
        path = top / given.name
        try:
            _put(path, given)
            files = list_images(root, "train")
            images, digests = decode(root, files, SIZE)
        finally:
            for each in sorted(root.rglob("*"), reverse=True):
                each.rmdir() if each.is_dir() and not each.is_symlink() else each.unlink()
            root.rmdir()
        assert images.shape == (len(files), SIZE, SIZE, 3)
        assert images.dtype == np.uint8
        assert len(digests) == len(files)


def _put(path: Path, given: ImageInput) -> None:
    if given.data is not None:
        path.write_bytes(given.data)
    elif given.name == "fifo":
        os.mkfifo(path)
    elif given.name == "folder":
        path.mkdir()
    elif given.name == "device":
        path.symlink_to("/dev/zero")
    elif given.name == "loop":
        path.symlink_to(path.parent)
    else:
        path.symlink_to("nothing")
