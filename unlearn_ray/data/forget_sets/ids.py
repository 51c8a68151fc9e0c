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

# A million long names.
_MOST_BYTES = 1 << 28


@register("ids")
@schema
class Ids(ForgetSet):
    """Samples named one by one in a file, as an erasure request does.

    The file holds one sample per line, by what the dataset calls it:

    - images in class folders: the file's name relative to train/, as cat/07.png;
    - captioned images: the image id or the file name, as in the captions' file;
    - all others: the position in the training set, from 0.

    Where samples have names or ids, a position is refused: train_files.txt beside the decoded
    images has their names, by position. What could be two samples is refused, too, and so is
    the file as a whole if any line is. A name with a # in front, blanks at its ends or a
    character that does not print is written in double quotes, as in JSON. Lines that begin with
    # are comments. A sample named twice is forgotten once. Samples of the validation set were
    never trained on and are left out of the split.

    Attributes:
        file: path of the file, read once, where the sweep is planned: UTF-8, or another Unicode
            encoding with a byte order mark.
    """

    reads_labels: ClassVar[bool] = False

    file: str

    def identity(self) -> dict[str, Any]:
        """Which samples the file names, never its path."""
        text = "\n".join(map(str, self.named_ids().tolist()))
        return {"name": self.name, "sha256": hashlib.sha256(text.encode()).hexdigest()}

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """Every line must name one sample, and something must be left to retain."""
        found = self._looked_up(SampleNames(info))
        if len(found) >= info.train_size - validation_size:
            raise DataError(
                f"{shown_path(self.file)} names {len(found):,} samples",
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
        return order[np.isin(order, self.named_ids())]

    def named_ids(self) -> Int64[np.ndarray, " k"]:
        """Every sample that the file names, sorted.

        Raises:
            DataError: `check` has not looked them up.
        """
        if "_checked" not in self.__dict__:
            raise DataError(
                f"file = {shown_path(self.file)}",
                "what it names is not known before it was looked up in a dataset",
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
