"""Forget the samples that an erasure request names."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int64

from unlearn_ray.core.errors import DataError, shown_path
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.core.text_files import lines, read_text
from unlearn_ray.data.base import DatasetInfo, ForgetSet
from unlearn_ray.data.sample_names import SampleNames, Unclear

# Enough for a million long names.
_MOST_BYTES = 1 << 28


@register("ids")
@schema
class Ids(ForgetSet):
    """Samples listed in a file, as an erasure request would name them.

    The file names one sample per line, as the dataset does:

    - images in class folders: file name relative to train/, as cat/07.png;
    - captioned images: image id or file name, as in the caption file;
    - all others: position in the training set, from 0.

    Rules:

    - If samples have names or ids, positions are refused: train_files.txt next to the decoded
      images lists their names by position.
    - An ambiguous line is refused, and with it the whole file.
    - A name with a leading #, blanks at its ends or an unprintable character is written in double
      quotes, as in JSON. Lines that begin with # are comments.
    - A sample named twice is forgotten once.
    - Samples of the validation set were never trained on and are left out.

    Attributes:
        file: its path; read once, when the sweep is planned: UTF-8, or another Unicode encoding
            with a byte order mark.
    """

    reads_labels: ClassVar[bool] = False

    file: str

    def identity(self) -> dict[str, Any]:
        """The samples that the file names, never its path."""
        text = "\n".join(map(str, self.named_ids().tolist()))
        return {"name": self.name, "sha256": hashlib.sha256(text.encode()).hexdigest()}

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """Every line must name one sample, and something must be left to retain."""
        forgotten = self._looked_up(SampleNames(info))
        if len(forgotten) >= info.train_size - validation_size:
            raise DataError(
                f"{shown_path(self.file)} names {len(forgotten):,} samples",
                "which leaves nothing to retain: models are trained on "
                f"{info.train_size - validation_size:,}",
                "name fewer samples",
            )
        # A frozen part may still remember what it looked up: it is a function of its fields.
        self.__dict__["_checked"] = np.array(sorted(forgotten), dtype=np.int64)

    def select(
        self, order: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " train"]
    ) -> Int64[np.ndarray, " m"]:
        """The named samples that are trained on."""
        return order[np.isin(order, self.named_ids())]

    def named_ids(self) -> Int64[np.ndarray, " k"]:
        """Every sample that the file names, sorted.

        Raises:
            DataError: `check` has not looked them up.
        """
        if "_checked" not in self.__dict__:
            raise DataError(
                f"file = {shown_path(self.file)}",
                "its samples are not known until they are looked up in a dataset",
                "call check() first",
            )
        checked: Int64[np.ndarray, " k"] = self.__dict__["_checked"]
        return checked

    def _looked_up(self, names: SampleNames) -> set[int]:
        text = read_text(
            self.file, "file", "give a text file with one sample per line", _MOST_BYTES
        )
        found: set[int] = set()
        unclear: list[str] = []
        total = 0
        for number, line in enumerate(lines(text), 1):
            try:
                sample = names.find_line(line)
            except Unclear as problem:
                unclear.append(f"line {number}: {problem}")
            else:
                if sample is None:
                    continue
                found.add(sample)
            total += 1
        file = f"file = {shown_path(self.file)}"
        if unclear:
            raise names.refusal(file, unclear, f"{total:,} lines")
        if not found:
            raise DataError(file, "names no sample", names.remedy)
        return found
