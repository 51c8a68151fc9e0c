"""Forget the samples that an erasure request names."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from unlearn_ray.core.errors import DataError, did_you_mean
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import DatasetInfo, ForgetSet


@register("ids")
@schema
class Ids(ForgetSet):
    """Samples named one by one in a file, as an erasure request does.

    The file holds one sample per line: its id (its number in the training set, from 0), or,
    where the dataset's samples are files, the file's name relative to train/ (of captioned
    images: as in the captions' file). What stands after a #, and empty lines, are left out. A
    sample named twice is forgotten once. Samples of the validation set were never trained on
    and are left out of the split.

    Attributes:
        file: path of the file, read once, where the sweep is planned.
    """

    file: str

    def identity(self) -> dict[str, Any]:
        """The ids in the file, never its path."""
        text = "\n".join(map(str, self._ids().tolist()))
        return {"name": self.name, "sha256": hashlib.sha256(text.encode()).hexdigest()}

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """Look file names up; every id must exist, and something must be left to retain."""
        known = {name: number for number, name in enumerate(info.sample_names)}
        found = {self._id(line, word, known, info.train_size) for line, word in self._words}
        if len(found) >= info.train_size - validation_size:
            raise DataError(
                f"{self.file} names {len(found):,} samples",
                "which leaves nothing to retain: models are trained on "
                f"{info.train_size - validation_size:,}",
                "name fewer samples",
            )
        # A frozen part may still remember what it looked up: it is a function of its fields.
        self.__dict__["_checked"] = np.array(sorted(found), dtype=np.int64)

    def select(
        self, order: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " train"]
    ) -> Int64[np.ndarray, " m"]:
        """The named samples among those trained on."""
        return order[np.isin(order, self._ids())]

    def named_ids(self) -> Int64[np.ndarray, " k"]:
        """Every sample that the file names, sorted."""
        return self._ids()

    def _ids(self) -> Int64[np.ndarray, " k"]:
        if "_checked" in self.__dict__:
            checked: Int64[np.ndarray, " k"] = self.__dict__["_checked"]
            return checked
        return np.array(
            sorted({self._number(line, word, "") for line, word in self._words}), dtype=np.int64
        )

    @cached_property
    def _words(self) -> tuple[tuple[int, str], ...]:
        try:
            text = Path(self.file).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"file = {self.file}",
                f"cannot be read: {getattr(error, 'strerror', None) or error}",
                "give a text file with one sample id per line",
            ) from error
        lines = (
            (number, line.split("#")[0].strip()) for number, line in enumerate(text.split("\n"), 1)
        )
        words = tuple((number, word) for number, word in lines if word)
        if not words:
            raise DataError(
                f"file = {self.file}", "names no sample", "write one sample id per line"
            )
        return words

    def _id(self, line: int, word: str, known: dict[str, int], train_size: int) -> int:
        if word in known:
            return known[word]
        remedy = did_you_mean(word, known) if len(known) <= 10_000 else "see train_files.txt"
        number = self._number(line, word, remedy if known else "")
        if not 0 <= number < train_size:
            raise DataError(
                f"{self.file}:{line}: {number}",
                f"the training set has {train_size:,} samples",
                f"give ids from 0 to {train_size - 1}",
            )
        return number

    def _number(self, line: int, word: str, remedy: str) -> int:
        try:
            return int(word)
        except ValueError:
            raise DataError(
                f"{self.file}:{line}: {word}",
                "neither a sample id nor the name of a training file",
                remedy or "write one sample id per line",
            ) from None
