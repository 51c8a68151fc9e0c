"""scikit-learn's handwritten digits, with generated captions that describe their looks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import Captions, DatasetInfo, ImageData, prompts_of
from unlearn_ray.data.datasets.digits import Digits

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_STROKES = ("thin", "medium", "bold")
_SHAPES = ("narrow", "regular", "wide")
_SLANTS = ("leaning left", "standing upright", "leaning right")
_HEAVY = ("top", "bottom")
_SIDES = ("left", "right")


@register("captioned_digits")
@schema
class CaptionedDigits(Digits):
    """The images of `digits`, each with five captions; nothing is downloaded.

    Every caption names the digit and describes one to three properties of the image: how much
    ink it has, how broad it is, which way it leans (each in terciles of the training images), and
    whether more of its ink is at the top or the bottom, on the left or the right. So captions
    differ between images of one digit, and a model can memorise them. Labels and classes are those
    of `digits`, so that a class can be forgotten, too.

        captioned_digits: {image_size: 16}
    """

    def info(self) -> DatasetInfo:
        """That of `digits`."""
        return replace(super().info(), captioned=True)

    def prompts(self) -> Captions:
        """The captions' beginnings, which name only the digit."""
        return prompts_of(
            _DIGITS, ("a {}", "the digit {}", "a handwritten {}", "somebody wrote a {}")
        )

    def load(self, cache: Path) -> ImageData:
        """The images, and captions that describe the original 8 x 8 pixels at any image_size."""
        data, raw = super().load(cache), Digits(image_size=8).load(cache)
        train, test = _Looks(raw.train_images), _Looks(raw.test_images)
        return replace(
            data,
            train_captions=_captions(train, train, data.train_labels),
            test_captions=_captions(test, train, data.test_labels),
        )


class _Looks:
    """Numeric properties of images, one value of each per image."""

    def __init__(self, images: UInt8[np.ndarray, "n 8 8 3"]) -> None:
        ink = images[..., 0].astype(np.float64)
        down, right = np.mgrid[:8, :8] - 3.5
        self.ink = ink.sum(axis=(1, 2))
        self.down, self.right = (self._mean(ink, place) for place in (down, right))
        across = self._mean(ink, right**2) - self.right**2
        along = self._mean(ink, down * right) - self.down * self.right
        self.breadth = np.sqrt(across)
        # A stroke that leans right is further right where it is further up.
        self.lean = -along

    def _mean(
        self, ink: Float[np.ndarray, "n 8 8"], place: Float[np.ndarray, "8 8"]
    ) -> Float[np.ndarray, " n"]:
        return np.asarray((ink * place).sum(axis=(1, 2)) / self.ink)


def _captions(looks: _Looks, train: _Looks, labels: Int[np.ndarray, " n"]) -> Captions:
    strokes, shapes, slants = (
        np.searchsorted(np.quantile(of_train, (1 / 3, 2 / 3)), own).tolist()
        for own, of_train in (
            (looks.ink, train.ink),
            (looks.breadth, train.breadth),
            (looks.lean, train.lean),
        )
    )
    heavy, sides = ((place > 0).astype(int).tolist() for place in (looks.down, looks.right))
    return tuple(
        _sentences(
            _DIGITS[label], _STROKES[stroke], _SHAPES[shape], _SLANTS[slant], _HEAVY[end],
            _SIDES[side],
        )
        for label, stroke, shape, slant, end, side in zip(
            labels.tolist(), strokes, shapes, slants, heavy, sides, strict=True
        )
    )  # fmt: skip


def _sentences(
    digit: str, stroke: str, shape: str, slant: str, end: str, side: str
) -> tuple[str, ...]:
    return (
        f"a {stroke} {digit}",
        f"the digit {digit}, {shape} and {slant}",
        f"a {shape} handwritten {digit} with more ink at the {end}",
        f"somebody wrote a {digit} in {stroke} strokes, {slant}",
        f"a {stroke} {digit}, {slant}, with more ink on the {side}",
    )
