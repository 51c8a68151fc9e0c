"""PNG and TIFF files written byte by byte: what they hold is known without another program."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np

GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
_ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)


def png(
    values: np.ndarray,
    depth: int,
    kind: int,
    *chunks: tuple[bytes, bytes],
    interlaced: bool = False,
) -> bytes:
    """A PNG of values (H, W) or (H, W, C), each of `depth` bits, with chunks before the pixels."""
    values = values.reshape(*values.shape[:2], _CHANNELS[kind])
    height, width, _ = values.shape
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    lines = b"".join(
        b"\0" + _packed(row.reshape(-1), depth)
        for top, left, down, right in passes
        for row in values[top::down, left::right]
        if row.size
    )
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*part) for part in parts)


def _packed(row: np.ndarray, depth: int) -> bytes:
    if depth == 16:
        return row.astype(">u2").tobytes()
    bits = (row[:, None] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1)).tobytes()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tiff(
    data: bytes,
    width: int,
    height: int,
    bits: tuple[int, ...],
    photometric: int,
    tags: dict[int, tuple[int, ...]] | None = None,
    order: str = "<",
) -> bytes:
    """A TIFF of one uncompressed strip.

    Args:
        data: the pixels' bytes, in the order of the file.
        bits: of each sample.
        tags: further ones, as numbers of 16 bits.
        order: < or >.
    """
    entries: dict[int, tuple[str, tuple[int, ...]]] = {
        256: ("I", (width,)), 257: ("I", (height,)), 258: ("H", bits), 259: ("H", (1,)),
        262: ("H", (photometric,)), 273: ("I", (8,)), 277: ("H", (len(bits),)),
        278: ("I", (height,)), 279: ("I", (len(data),)),
    }  # fmt: skip
    entries |= {tag: ("H", values) for tag, values in (tags or {}).items()}
    start = 8 + len(data) + len(data) % 2
    after = start + 2 + 12 * len(entries) + 4
    directory, rest = struct.pack(f"{order}H", len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > 4:
            place: Any = struct.pack(f"{order}I", after + len(rest))
            rest += packed
        else:
            place = packed.ljust(4, b"\0")
        directory += struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(values)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + data + b"\0" * (len(data) % 2) + directory + b"\0" * 4 + rest
