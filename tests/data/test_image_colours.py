"""Every mode and depth of image, against what numpy says of the values that were written."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.data.raw_images import GRAY, GRAY_ALPHA, PALETTE, RGB, RGB_ALPHA, png, tiff
from unlearn_ray.core.errors import DataError
from unlearn_ray.data.image_colours import MODES, averageable, shown
from unlearn_ray.data.image_decoding import decode_image

SIZE = 8
STEPS = np.arange(SIZE * SIZE).reshape(SIZE, SIZE)
NOISE = np.random.RandomState(0)


def decoded(data: bytes) -> np.ndarray:
    """At its own size, so that nothing is resampled."""
    return decode_image(data, Path("image"), SIZE, "stretch").astype(float)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def gray(levels: np.ndarray) -> np.ndarray:
    return np.repeat(np.rint(levels)[..., None], 3, axis=2)


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colours * share + 255 * (1 - share)


# PNG


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_gray_png(depth: int, interlaced: bool) -> None:
    white = (1 << depth) - 1
    values = STEPS * 1021 % (white + 1)
    levels = values * (255 / white)
    assert np.array_equal(decoded(png(values, depth, GRAY, interlaced=interlaced)), gray(levels))
    # One level is transparent, and every pixel of it lies on white.
    clear = values[3, 4]
    data = png(values, depth, GRAY, (b"tRNS", struct.pack(">H", clear)), interlaced=interlaced)
    assert np.array_equal(decoded(data), gray(np.where(values == clear, 255, levels)))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("kind", [RGB, GRAY_ALPHA, RGB_ALPHA])
def test_colours_and_transparency_of_png(kind: int, depth: int) -> None:
    white = (1 << depth) - 1
    channels = {RGB: 3, GRAY_ALPHA: 2, RGB_ALPHA: 4}[kind]
    values = NOISE.randint(0, white + 1, (SIZE, SIZE, channels))
    shown = values * (255 / white)
    if kind == GRAY_ALPHA:
        shown = shown[..., [0, 0, 0, 1]]
    expected = shown if kind == RGB else on_white(shown[..., :3], shown[..., 3])
    # Of 16 bits, Pillow keeps the upper 8; what is nearly transparent is rounded twice.
    off = np.abs(decoded(png(values, depth, kind)) - expected)
    assert off.max() <= (0 if (kind, depth) == (RGB, 8) else 2)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_of_png(depth: int) -> None:
    entries = 1 << depth
    values = STEPS % entries
    colours = NOISE.randint(0, 256, (entries, 3), dtype=np.uint8)
    alpha = NOISE.randint(0, 256, entries, dtype=np.uint8)
    palette = (b"PLTE", colours.tobytes())
    assert np.array_equal(decoded(png(values, depth, PALETTE, palette)), colours[values])
    data = png(values, depth, PALETTE, palette, (b"tRNS", alpha.tobytes()))
    assert np.abs(decoded(data) - on_white(colours[values], alpha[values])).max() <= 2
    only = png(values, depth, PALETTE, palette, (b"tRNS", b"\xff\0"))
    assert np.array_equal(decoded(only), np.where((values == 1)[..., None], 255, colours[values]))


def test_one_transparent_colour_of_png() -> None:
    values = NOISE.randint(0, 256, (SIZE, SIZE, 3))
    clear = (b"tRNS", struct.pack(">HHH", *values[2, 5]))
    expected = values.astype(float)
    expected[2, 5] = 255
    assert np.array_equal(decoded(png(values, 8, RGB, clear)), expected)
    with pytest.raises(
        DataError, match=r"transparent colour has 16 bits .*; save it with an alpha"
    ):
        decoded(png(values * 257, 16, RGB, (b"tRNS", struct.pack(">HHH", 0, 1, 2))))


# TIFF


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16, 32])
def test_unsigned_gray_tiff(bits: int, order: str, negative: bool) -> None:
    white = (1 << bits) - 1
    values = (STEPS * (white // 63 or 1) % (white + 1)).astype(np.uint64)
    if bits in (1, 2, 4, 12):
        digits = (values.reshape(-1, 1) >> np.arange(bits - 1, -1, -1, dtype=np.uint64)) & 1
        data = np.packbits(digits.astype(np.uint8).reshape(-1)).tobytes()
    else:
        data = values.astype(f"{order}u{bits // 8}").tobytes()
    file = tiff(data, SIZE, SIZE, (bits,), 0 if negative else 1, order=order)
    levels = np.rint(values * (255 / white))
    # What Pillow has no mode for is refused, and the others are right.
    if (bits, order, negative) in (
        (16, ">", True), (12, "<", True), (12, ">", True), (12, ">", False),
        (32, "<", True), (32, ">", True), (32, ">", False),
    ):  # fmt: skip
        with pytest.raises(
            DataError, match=r"it is TIFF, but damaged or of an unsupported variant"
        ):
            decoded(file)
    else:
        assert np.array_equal(decoded(file), gray(255 - levels if negative else levels))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_signed_integers_are_refused(bits: int, order: str) -> None:
    data = (STEPS - 32).astype(f"{order}i{bits // 8}").tobytes()
    with pytest.raises(DataError, match=r"image: holds signed integers, .*; save it with 8 or 16"):
        decoded(tiff(data, SIZE, SIZE, (bits,), 1, {339: (2,)}, order))


def floats(values: np.ndarray, photometric: int = 1) -> bytes:
    data = values.astype("<f4").tobytes()
    return tiff(data, SIZE, SIZE, (32,), photometric, {339: (3,)})


def test_floating_point_from_0_to_1() -> None:
    values = STEPS / 63
    assert np.array_equal(decoded(floats(values)), gray(values * 255))
    assert np.array_equal(decoded(floats(values, 0)), 255 - gray(values * 255))
    # An image need not reach white, and arithmetic may miss it by a little.
    assert np.array_equal(decoded(floats(values / 2)), gray(values / 2 * 255))
    assert np.array_equal(decoded(floats(values * 1.001)), gray(values * 255.255).clip(0, 255))
    anymap = b"Pf\n8 8\n-1.0\n" + (STEPS[::-1] / 63).astype("<f4").tobytes()
    assert np.array_equal(decoded(anymap), gray(values * 255))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (STEPS / 63 * 65535, r"values from 0 to 65535, and only 0 to 1 .*; divide them by the"),
        (STEPS / 63 * 1.5, r"values from 0 to 1.5, "),
        (STEPS - 32.0, r"values from -32 to 31, "),
        (np.where(STEPS == 9, np.nan, 0.5), r"not finite; replace them"),
        (np.where(STEPS == 9, np.inf, 0.5), r"not finite; replace them"),
    ],
)
def test_floating_point_without_a_scale(values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=rf"image: holds floating-point .*{message}"):
        decoded(floats(values))


def test_colour_spaces_of_tiff() -> None:
    values = NOISE.randint(0, 256, (SIZE, SIZE, 4), dtype=np.uint8)
    inks = values.astype(float)
    off = decoded(tiff(values.tobytes(), SIZE, SIZE, (8,) * 4, 5)) - (
        (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    )
    assert np.abs(off).max() <= 1
    three = values[..., :3]
    luma, blue, red = (three[..., n].astype(float) - (0, 128, 128)[n] for n in range(3))
    rgb = np.stack(
        (luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue), axis=2
    )
    full = tiff(three.tobytes(), SIZE, SIZE, (8,) * 3, 6, {530: (1, 1)})
    assert np.abs(decoded(full) - rgb.clip(0, 255)).max() <= 1
    with pytest.raises(DataError, match=r"uncompressed YCbCr at less than full resolution"):
        decoded(tiff(three.tobytes(), SIZE, SIZE, (8,) * 3, 6))
    extra = tiff(values.tobytes(), SIZE, SIZE, (8,) * 4, 2, {338: (0,)})
    assert np.array_equal(decoded(extra), three)


def test_lab_tiff() -> None:
    # From sRGB to CIELab (D50, as ICC profiles have it), and back by the decoder.
    rgb = NOISE.randint(0, 256, (SIZE, SIZE, 3)) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169],
         [0.0139322, 0.0971045, 0.7141733]]
    )  # fmt: skip
    xyz = linear @ to_xyz.T / np.array([0.96422, 1.0, 0.82521])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    light, a, b = 116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])
    signed = np.stack((np.rint(light * 2.55), np.rint(a) % 256, np.rint(b) % 256), axis=2)
    data = tiff(signed.astype(np.uint8).tobytes(), SIZE, SIZE, (8,) * 3, 8)
    # A step of a or b is several levels of a dark channel.
    off = np.abs(decoded(data) - rgb * 255)
    assert off.mean() < 2
    assert off.max() < 25


def test_premultiplied_alpha() -> None:
    alpha = NOISE.randint(1, 256, (SIZE, SIZE))
    colours = NOISE.randint(0, 256, (SIZE, SIZE, 3))
    times = np.rint(colours * alpha[..., None] / 255)
    data = np.concatenate((times, alpha[..., None]), axis=2).astype(np.uint8).tobytes()
    off = decoded(tiff(data, SIZE, SIZE, (8,) * 4, 2, {338: (1,)})) - on_white(colours, alpha)
    assert np.abs(off).max() <= 2


# The others


@pytest.mark.parametrize("white", [1, 7, 255, 1000, 65535])
def test_gray_anymap(white: int) -> None:
    values = STEPS * 1021 % (white + 1)
    raw = values.astype(">u2" if white > 255 else "u1").tobytes()
    plain = " ".join(map(str, values.reshape(-1))).encode()
    for data in (b"P5 8 8 %d\n" % white + raw, b"P2 8 8 %d\n" % white + plain):
        assert np.abs(decoded(data) - gray(values * (255 / white))).max() <= 1


def test_cmyk_jpeg_is_not_a_negative() -> None:
    inks = np.broadcast_to(np.array([0, 200, 240, 30], np.uint8), (SIZE, SIZE, 4))
    data = saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=100, subsampling=0)
    # Adobe writes ink as 255 - ink, and so does Pillow.
    expected = (255 - np.array([0, 200, 240])) * (255 - 30) / 255
    assert np.abs(decoded(data) - expected).max() <= 4


@pytest.mark.parametrize("alpha", [0, 90, 255])
def test_bitmap_with_a_fourth_byte(alpha: int) -> None:
    values = NOISE.randint(0, 256, (SIZE, SIZE, 4), dtype=np.uint8)
    values[..., 3] = alpha
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    head = struct.pack("<IiiHHIIiiII", 108, SIZE, -SIZE, 1, 32, 3, 256, 0, 0, 0, 0)
    header = (head + masks).ljust(108, b"\0")
    pixels = values[..., [2, 1, 0, 3]].tobytes()
    data = b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + header + pixels
    # Where all of it is 0, it was left so by who knew nothing of transparency.
    seen = values[..., :3] if alpha == 0 else on_white(values[..., :3], values[..., 3])
    assert np.abs(decoded(data) - seen).max() <= 2


def test_gif_on_white_and_its_first_frame() -> None:
    colours = np.array([[10, 20, 30], [200, 100, 50], [1, 2, 3], [4, 5, 6]], np.uint8)
    first = Image.fromarray((STEPS % 4).astype(np.uint8), "P")
    first.putpalette(colours.tobytes())
    second = Image.new("RGB", (SIZE, SIZE), (255, 0, 0))
    data = saved(first, "GIF", save_all=True, append_images=[second], transparency=2)
    expected = colours[STEPS % 4].astype(float)
    expected[STEPS % 4 == 2] = 255
    assert np.array_equal(decoded(data), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF", "GIF", "MPO"])
def test_the_first_of_several_frames(kind: str) -> None:
    frames = [Image.new("RGB", (SIZE, SIZE), c) for c in ((200, 40, 90), (0, 255, 0), (0, 0, 255))]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **lossless)
    assert np.abs(decoded(data) - (200, 40, 90)).max() <= 3


# What lies under a transparent pixel is not seen, whatever holds it.


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF", "JPEG2000"])
def test_transparent_red_is_white(kind: str) -> None:
    image = Image.new("RGBA", (SIZE, SIZE), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (4, 0, 8, 8))
    exact: Any = {
        "WEBP": {"lossless": True, "exact": True},
        "AVIF": {"quality": 100},
    }.get(kind, {})
    found = decoded(saved(image, kind, **exact))
    assert found[:, :3].min() >= 250
    assert np.abs(found[:, 5:] - (0, 0, 255)).max() <= 5


def swapped(profile: bytes) -> bytes:
    """Of sRGB, a profile whose red and green are each other's, under another name."""
    table = profile.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")
    return table.replace("sRGB".encode("utf-16be"), "swap".encode("utf-16be"))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF"])
def test_colours_of_a_profile(kind: str) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colours = np.broadcast_to(np.array([220, 60, 120], np.uint8), (SIZE, SIZE, 3))
    exact: Any = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
    }.get(kind, {})
    for profile, expected in ((srgb, (220, 60, 120)), (swapped(srgb), (60, 220, 120))):
        data = saved(Image.fromarray(colours), kind, icc_profile=profile, **exact)
        assert np.abs(decoded(data) - expected).max() <= 4


@pytest.mark.parametrize("profile", [b"damaged", b"\0" * 200, "gray"])
def test_a_profile_that_says_nothing_of_these_colours(profile: bytes | str) -> None:
    if profile == "gray":
        made = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    else:
        assert isinstance(profile, bytes)
        made = profile
    values = NOISE.randint(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    assert np.array_equal(decoded(saved(Image.fromarray(values), "PNG", icc_profile=made)), values)


def test_no_mode_of_pillow_is_forgotten() -> None:
    assert set(Image.MODES) <= set(MODES)


@pytest.mark.parametrize("mode", sorted(set(Image.MODES) - {"F", "LAB"}))
def test_modes_in_memory(mode: str) -> None:
    half, colour = 128 / 255, np.array([200.0, 60.0, 120.0])
    inks: dict[str, tuple[int | tuple[int, ...], tuple[float, ...] | np.ndarray]] = {
        "1": (255, (255,) * 3),
        "P": (7, colour),
        "PA": ((7, 128), colour * half + 255 * (1 - half)),
        "LA": ((90, 128), (90 * half + 255 * (1 - half),) * 3),
        "La": ((45, 128), (45 + 255 * (1 - half),) * 3),
        "RGBA": ((200, 60, 120, 128), colour * half + 255 * (1 - half)),
        "RGBa": ((100, 30, 60, 128), np.array([100, 30, 60]) + 255 * (1 - half)),
        "RGBX": ((200, 60, 120, 9), colour),
        "CMYK": ((55, 195, 135, 0), colour),
        "YCbCr": ((109, 134, 193), colour),
        "HSV": ((237, 178, 200), colour),
        "RGB": ((200, 60, 120), colour),
        "L": (90, (90,) * 3),
    }
    ink, expected = inks.get(mode, (90 * 257, (90,) * 3))
    image = Image.new(mode, (3, 2), ink)
    if mode in ("P", "PA"):
        image.putpalette([0] * 21 + [200, 60, 120])
    found = shown(averageable(image), None)
    assert found.shape == (2, 3, 3)
    assert np.abs(found.astype(float) - expected).max() <= 2


def cyan_as_lightness() -> bytes:
    """An ICC profile of CMYK in which cyan is the lightness, and the other inks are nothing."""
    corners = [(255 if corner & 8 else 0, 128, 128) for corner in range(16)]
    straight = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    table += struct.pack(">9i", *(65536 * (n in (0, 4, 8)) for n in range(9)))
    table += straight * 4 + bytes(sum(corners, ())) + straight * 3
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags, data = b"", b""
    for name, content in ((b"A2B0", table), (b"desc", text), (b"wtpt", white)):
        tags += name + struct.pack(">II", 128 + 4 + 36 + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s12s4s", 168 + len(data), b"", 0x2400000, b"prtr", b"CMYK",
                       b"Lab ", bytes(12), b"acsp")  # fmt: skip
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", 3) + tags + data


def test_inks_of_a_profile() -> None:
    cyan = NOISE.randint(0, 256, (SIZE, SIZE))
    inks = np.stack((cyan, *NOISE.randint(0, 256, (3, SIZE, SIZE))), axis=2).astype(np.uint8)
    data = saved(Image.fromarray(inks, "CMYK"), "TIFF", icc_profile=cyan_as_lightness())
    lightness = cyan / 2.55
    bright = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    seen = np.where(bright > 0.0031308, 1.055 * bright ** (1 / 2.4) - 0.055, 12.92 * bright)
    assert np.abs(decoded(data) - gray(seen * 255)).max() <= 3
