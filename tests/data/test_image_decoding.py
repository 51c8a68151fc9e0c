"""Images upright, cropped or stretched, within bounds; whatever is wrong with one is one error."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import unlearn_ray.core.torchvision_import  # noqa: F401
from tests.data.raw_images import GRAY, RGB, png
from unlearn_ray.core.errors import DataError
from unlearn_ray.data.image_decoding import FORMATS, MEMORY, decode_image, memory_needed

# isort: split
from torchvision.transforms import CenterCrop, Compose, Resize

NOISE = np.random.RandomState(0)


def decoded(data: bytes, size: int = 8, resize: Any = "stretch") -> np.ndarray:
    return decode_image(data, Path("image"), size, resize)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(height: int, width: int) -> np.ndarray:
    return NOISE.randint(0, 256, (height, width, 3), dtype=np.uint8)


# What EXIF says of where the first row and the first column of the stored image are seen.
STORED_AS = {
    1: lambda seen: seen,
    2: lambda seen: seen[:, ::-1],
    3: lambda seen: seen[::-1, ::-1],
    4: lambda seen: seen[::-1],
    5: lambda seen: seen.swapaxes(0, 1),
    6: lambda seen: seen[:, ::-1].swapaxes(0, 1),
    7: lambda seen: seen[::-1, ::-1].swapaxes(0, 1),
    8: lambda seen: seen[::-1].swapaxes(0, 1),
}


def tagged(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "AVIF"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_turned_once_as_exif_says(kind: str, orientation: int) -> None:
    # Four quarters, each of one colour, so that lossy formats keep them.
    quarters = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 250]]], np.uint8)
    seen = quarters.repeat(16, axis=0).repeat(24, axis=1)
    stored = Image.fromarray(np.ascontiguousarray(STORED_AS[orientation](seen)))
    exact: Any = {
        "WEBP": {"lossless": True},
        "JPEG": {"quality": 95, "subsampling": 0},
    }.get(kind, {})
    found = decoded(saved(stored, kind, exif=tagged(orientation), **exact), 2)
    assert np.abs(found.astype(int) - quarters).max() <= 70


@pytest.mark.parametrize("resize", ["crop", "stretch"])
@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (9, 30), (16, 16), (5, 4)])
def test_as_torchvision_resizes_the_upright_image(
    shape: tuple[int, int], orientation: int, resize: str
) -> None:
    seen, size = noise(*shape), 16
    stored = Image.fromarray(np.ascontiguousarray(STORED_AS[orientation](seen)))
    whole = (
        Resize((size, size)) if resize == "stretch" else Compose([Resize(size), CenterCrop(size)])
    )
    expected = np.asarray(whole(Image.fromarray(seen))).astype(int)
    found = decoded(saved(stored, "PNG", exif=tagged(orientation)), size, resize)
    assert np.abs(found - expected).max() <= 1


def test_a_crop_keeps_the_middle_and_a_stretch_the_whole() -> None:
    thirds = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    image = saved(Image.fromarray(thirds.repeat(30, axis=0).repeat(30, axis=1)), "PNG")
    assert (decoded(image, 4, "crop").argmax(axis=2) == 1).all()
    assert decoded(image, 3)[0].argmax(axis=1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("shape", [(1, 1), (1, 10_000), (10_000, 1), (3, 2)])
@pytest.mark.parametrize("resize", ["crop", "stretch"])
def test_the_smallest_and_the_longest(shape: tuple[int, int], resize: str) -> None:
    image = Image.new("RGB", shape, (9, 8, 7))
    assert np.array_equal(decoded(saved(image, "PNG"), 5, resize), np.full((5, 5, 3), (9, 8, 7)))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0garbage, and more of it", b"Exif\0\0II*\0\xff"]
)
def test_damaged_exif_turns_nothing(exif: bytes) -> None:
    image = Image.fromarray(np.full((8, 8, 3), 90, np.uint8))
    assert np.abs(decoded(saved(image, "JPEG", exif=exif)).astype(int) - 90).max() <= 1


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_is_none(orientation: int) -> None:
    values = noise(8, 8)
    data = saved(Image.fromarray(values), "PNG", exif=tagged(orientation))
    assert np.array_equal(decoded(data), values)


# What is refused


def samples() -> dict[str, bytes]:
    image = Image.fromarray(noise(40, 50))
    gray, few = image.convert("L"), image.quantize(64)
    made = {kind: saved(image, kind) for kind in FORMATS if kind != "DIB"}
    made |= {
        f"TIFF {c}": saved(image, "TIFF", compression=c) for c in ("tiff_lzw", "jpeg", "packbits")
    }
    made |= {f"{kind} gray": saved(gray, kind) for kind in ("JPEG", "PNG", "PPM", "TIFF")}
    made |= {f"{kind} palette": saved(few, kind) for kind in ("BMP", "GIF", "PNG", "TIFF")}
    return made | {
        "JPEG progressive": saved(image, "JPEG", progressive=True),
        "WEBP lossless": saved(image, "WEBP", lossless=True),
        "DDS": saved(image, "DDS"),
        "SGI": saved(image, "SGI"),
        "QOI": saved(image, "QOI"),
    }


SAMPLES = samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_truncated_image(name: str) -> None:
    data = SAMPLES[name]
    for length in range(0, len(data) - 2, max(1, len(data) // 40)):
        with pytest.raises(DataError, match=r"^image: ") as caught:
            decoded(data[:length])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_damaged_image_is_decoded_or_named(name: str) -> None:
    data, random = SAMPLES[name], np.random.RandomState(1)
    for _ in range(60):
        damaged = np.frombuffer(data, np.uint8).copy()
        reach = len(data) if random.rand() < 0.5 else min(len(data), 120)
        places = random.randint(0, reach, random.randint(1, 9))
        damaged[places] = random.randint(0, 256, len(places))
        told = outcome(damaged.tobytes())
        assert told is None or (told.subject == "image" and str(told).isprintable())


def outcome(data: bytes) -> DataError | None:
    """The error, if there is one."""
    try:
        memory_needed(io.BytesIO(data), Path("image"), len(data))
        assert decoded(data).shape == (8, 8, 3)
    except DataError as error:
        return error
    return None


@pytest.mark.parametrize("kind", ["DDS", "SGI", "QOI", "TGA", "ICO", "PCX", "EPS"])
def test_a_format_of_which_nothing_is_promised(kind: str) -> None:
    data = saved(Image.fromarray(noise(16, 16)), kind)
    with pytest.raises(
        DataError, match=rf"image: is in the format {kind}, which is not supported; convert"
    ):
        decoded(data)


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg/>", bytes(1000), b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image(data: bytes) -> None:
    with pytest.raises(DataError, match=r"image: cannot be read as an image: "):
        decoded(data)
    with pytest.raises(DataError, match=r"image: cannot be read as an image: "):
        memory_needed(io.BytesIO(data), Path("image"), len(data))


def header(width: int, height: int, kind: int = GRAY, depth: int = 8) -> bytes:
    """A PNG of one pixel that says it has more."""
    data = png(np.zeros((1, 1, 3 if kind == RGB else 1), np.int64), depth, kind)
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return data[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + data[33:]


def test_too_large_is_not_called_damaged() -> None:
    with pytest.raises(DataError, match=r"has 400,000,000 pixels.*; scale it down"):
        memory_needed(io.BytesIO(header(20_000, 20_000)), Path("image"), 100)
    webp = saved(Image.new("L", (8000, 8000)), "JPEG2000")
    with pytest.raises(DataError, match=r"8,000 x 8,000 pixels.* about 1.\d GiB .* than the 1 GiB"):
        memory_needed(io.BytesIO(webp), Path("image"), len(webp))
    # Within the bound, and with it in mind.
    assert memory_needed(io.BytesIO(header(13_000, 13_000)), Path("image"), 100) < MEMORY
    with pytest.raises(DataError, match=r"5.0 GiB of memory"):
        memory_needed(io.BytesIO(header(8, 8)), Path("image"), 5 << 30)


# Of the process, since what getrusage says begins with that of the one that started it.
PEAK = """
    import sys
    from pathlib import Path
    from unlearn_ray.data.image_decoding import decode_image, memory_needed

    def peak():
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    path = Path(sys.argv[1])
    decode_image(Path(sys.argv[2]).read_bytes(), path, 32, "crop")
    before = peak()
    data = path.read_bytes()
    with path.open("rb") as file:
        needed = memory_needed(file, path, len(data))
    decode_image(data, path, 32, "crop")
    print(peak() - before, needed)
"""
LARGE: dict[str, Any] = {
    "PNG of 16 bits": ("I;16", "PNG", {}, 8000),
    "PNG with alpha": ("RGBA", "PNG", {}, 4000),
    "PNG": ("RGB", "PNG", {}, 4000),
    "palette": ("P", "PNG", {}, 4000),
    "transparent palette": ("P", "PNG", {"transparency": 1}, 4000),
    "JPEG": ("RGB", "JPEG", {}, 4000),
    "progressive JPEG": ("RGB", "JPEG", {"progressive": True}, 4000),
    "CMYK JPEG": ("CMYK", "JPEG", {}, 4000),
    "turned JPEG": ("RGB", "JPEG", {"exif": tagged(6)}, 4000),
    "WEBP": ("RGB", "WEBP", {"method": 0}, 4000),
    "WEBP with alpha": ("RGBA", "WEBP", {"method": 0, "lossless": True}, 4000),
    "AVIF": ("RGB", "AVIF", {"speed": 10}, 3000),
    "JPEG 2000": ("RGB", "JPEG2000", {}, 3000),
    "GIF": ("P", "GIF", {}, 4000),
    "TIFF": ("RGB", "TIFF", {"compression": "tiff_lzw"}, 4000),
    "turned TIFF": ("RGB", "TIFF", {"exif": tagged(6)}, 4000),
    "floating-point TIFF": ("F", "TIFF", {}, 4000),
    "LAB TIFF": ("LAB", "TIFF", {}, 4000),
    "BMP": ("RGB", "BMP", {}, 4000),
}


@pytest.mark.parametrize("name", LARGE)
def test_memory_is_no_more_than_was_said(name: str, tmp_path: Path) -> None:
    mode, kind, options, side = LARGE[name]
    for path, sides in (("large", (side, side)), ("small", (8, 8))):
        Image.new(mode, sides).save(tmp_path / path, kind, **options)
    given = [sys.executable, "-c", textwrap.dedent(PEAK)]
    files = [str(tmp_path / name) for name in ("large", "small")]
    run = subprocess.run([*given, *files], capture_output=True, text=True, check=True)
    taken, needed = map(int, run.stdout.split())
    # Beside the image stands what a band of it needs, some 30 MiB.
    assert taken <= needed + (48 << 20)
    # And it is a bound to be used, not one that forbids what would do.
    assert needed <= 3 * taken + (48 << 20)
