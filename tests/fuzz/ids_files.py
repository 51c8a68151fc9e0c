"""Ids files, as editors, spreadsheets, databases and enemies write them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tests.fuzz.values import TEXT, WHOLE, Raw
from unlearn_ray.core.registry import find
from unlearn_ray.data.base import DatasetInfo, ForgetSet

ENCODINGS = (
    *["utf-8"] * 20,
    *("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"),
    *("latin-1", "cp1252", "cp437", "shift_jis", "utf-7"),
)
ENDS = (
    *["\n"] * 20,
    "\r\n",
    "\r\n",
    "\r",
    "\u2028",
    "\x85",
    "\x0b",
    "\x00",
    "\n\n",
    ",",
    " ",
    "\t",
)

_NAMED = tuple(
    [f"cat/{number:02}.png" for number in range(20)]
    + ["größe/ä.png", "中/文.png", "a b/c d.png", "#x/1.png", "1/2.png", "2/1.png", "3", "07", "-1"]
)
DATASETS = (
    DatasetInfo(1437, 360, tuple("0123456789"), 16),
    DatasetInfo(len(_NAMED), 5, ("1", "2", "cat"), 16, sample_names=_NAMED),
    DatasetInfo(1, 1, ("a", "b"), 16),
    DatasetInfo(2, 1, (), 16),
)

# Some are digits to Python that are none to a reader.
_ODD = (
    *("1.0", "1e2", "+1", "-0", "\u0663", "\uff11", "0x1", "1_0", "1,2", '"1"', "'1'", "# x"),
    *(
        "1 # x",
        "1 2",
        "1;2",
        "0" * 400,
        "cat",
        "cat/",
        "/cat/01.png",
        "../cat/01.png",
        "CAT/01.png",
    ),
)


@dataclass(frozen=True)
class IdsInput:
    """An ids file, or something that is none, for a dataset.

    Attributes:
        data: of the file; None is a file that is no regular one, `kind`.
        dataset: which one of `DATASETS`.
        validation: how many samples are kept out.
        kind: what there is instead of a file, or the path.
    """

    data: bytes | None
    dataset: int
    validation: int
    kind: str = "file"

    def smaller(self) -> Iterator[IdsInput]:
        """With a piece left out."""
        size = len(self.data or b"") // 2
        while self.data and size:
            for start in range(0, len(self.data), size):
                yield replace(self, data=self.data[:start] + self.data[start + size :])
            size //= 2

    def show(self) -> str:
        """As a person could type it."""
        data = None if self.data is None else self.data[:600]
        return f"dataset {self.dataset}, validation {self.validation}, {self.kind}: {data!r}"


def draw_ids(draw: random.Random) -> IdsInput:
    """A list, mostly of samples that there are."""
    dataset = draw.randrange(len(DATASETS))
    validation = draw.choice((0, 0, 1, 100))
    if not draw.randrange(30):
        kinds = ("fifo", "folder", "missing", "/dev/zero", "/dev/null", "~nosuchuser", "\x00")
        return IdsInput(None, dataset, validation, draw.choice((*kinds, "\udcff", "a" * 300)))
    info = DATASETS[dataset]
    odd = draw.choice((0.0, 0.0, 0.2))
    words = [_word(draw, info, odd) for _ in range(draw.choice((0, 1, 2, 5, 5, 30, 3000)))]
    end = draw.choice(ENDS)
    text = end.join(words) + draw.choice(("", end, end * 2, "\x1a"))
    if not draw.randrange(5):
        at = draw.randrange(len(text) + 1)
        text = text[:at] + draw.choice(TEXT) + text[at:]
    data = text.encode(draw.choice(ENCODINGS), "replace")
    if not draw.randrange(6):
        at = draw.randrange(len(data) + 1)
        data = data[:at] + bytes([draw.randrange(256)]) + data[at + draw.randrange(3) :]
    return IdsInput(data, dataset, validation)


def _word(draw: random.Random, info: DatasetInfo, odd: float) -> str:
    if draw.random() >= odd:
        known = info.sample_names or [str(number) for number in range(info.train_size)]
        word = draw.choice(known)
    else:
        number = draw.choice(WHOLE)
        word = draw.choice([*TEXT, *_ODD, number.text if isinstance(number, Raw) else str(number)])
    around = (" {} ", "\t{}", "{}  # why", '"{}"', "{}") if draw.random() < odd else ("{}",)
    return draw.choice(around).format(word)


class IdsJudge:
    """Looks the samples up; of those that are taken, each must be one that was named."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "a folder").mkdir()
        os.mkfifo(folder / "fifo")

    def __call__(self, given: IdsInput) -> None:
        info = DATASETS[given.dataset]
        ids = find(ForgetSet, "ids")(file=self._path(given))
        ids.check(info, min(given.validation, info.train_size - 1))
        named = ids.named_ids()
        assert named is not None
        assert len(named), "accepted, and names nothing"
        assert named.dtype == np.int64
        assert named.min() >= 0
        assert named.max() < info.train_size
        assert ids.identity() == ids.identity()
        order = np.random.RandomState(0).permutation(info.train_size)
        assert set(ids.select(order, np.zeros(info.train_size, dtype=np.int64))) == set(named)

    def _path(self, given: IdsInput) -> str:
        if given.data is not None:
            path = self.folder / "ids.txt"
            path.write_bytes(given.data)
            return str(path)
        inside = {"fifo": "fifo", "folder": "a folder", "missing": "none"}
        return str(self.folder / inside[given.kind]) if given.kind in inside else given.kind
