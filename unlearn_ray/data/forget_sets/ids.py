"""Forget the samples that an erasure request names."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from jaxtyping import Int64
from pydantic import Strict, model_validator

from unlearn_ray.core.errors import DataError, shown_path
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.core.text_files import lines, read_text
from unlearn_ray.core.words import counted
from unlearn_ray.data.base import DatasetInfo, ForgetSet, digest_of
from unlearn_ray.data.sample_names import SampleNames, Unclear
from unlearn_ray.data.user_files import UserMap, samples_of_users

User = Annotated[int, Strict()] | Annotated[str, Strict()]

# Enough for a million long names.
_MOST_BYTES = 1 << 28


@register("ids")
@schema
class Ids(ForgetSet):
    """Samples named one by one, or all samples of some users, as in an erasure request.

    A file names one sample per line, as the dataset does:

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
    - No named sample is in a validation set, so that all are forgotten under every seed.
    - Users are written as in the map; every row of theirs must name a training sample, and no
      sample may be another user's, too.

    Attributes:
        file: its path; read once, when the sweep is planned: UTF-8, or another Unicode encoding
            with a byte order mark.
        map: instead of a file, a CSV table of users and their samples:
            {csv: users.csv, key: user_id, value: file}.
        users: those of the map whose samples are forgotten: a file with one user per line, or a
            list.
    """

    # Named samples used to be left out where they were drawn for validation.
    revision: ClassVar[int] = 2
    reads_labels: ClassVar[bool] = False
    unshown: ClassVar[frozenset[str]] = frozenset({"map", "users"})

    file: str | None = None
    map: UserMap | None = None
    users: str | tuple[User, ...] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Ids:
        if (self.map is None) != (self.users is None):
            raise ValueError("map and users need each other: give both, or a file")
        if (self.file is None) == (self.map is None):
            raise ValueError("give a file, or map and users")
        return self

    def identity(self) -> dict[str, Any]:
        """The samples that are named, never a path or a user."""
        return {"name": self.name, "sha256": digest_of(self.named_ids().tolist())}

    def check(self, info: DatasetInfo, validation_size: int) -> None:
        """Every word must name one sample, and something must be left to retain."""
        names = SampleNames(info)
        if self.file is not None:
            forgotten, users = self._looked_up(self.file, names), None
        else:
            assert self.map is not None
            assert self.users is not None
            forgotten, users = samples_of_users(self.map, self.users, names)
        if len(forgotten) >= info.train_size - validation_size:
            raise DataError(
                f"{self._source} names {len(forgotten):,} samples",
                "which leaves nothing to retain: models are trained on "
                f"{info.train_size - validation_size:,}",
                "name fewer samples, or hold out fewer for validation",
            )
        # A frozen part may still remember what it looked up: it is a function of its fields.
        self.__dict__["_checked"] = np.array(sorted(forgotten), dtype=np.int64)
        self.__dict__["_users"] = users

    def note(self) -> str | None:
        """How many users were looked up."""
        users: int | None = self.__dict__.get("_users")
        return None if users is None else f"all samples of {counted(users, 'user')}"

    def select(
        self, order: Int64[np.ndarray, " n"], labels: Int64[np.ndarray, " train"]
    ) -> Int64[np.ndarray, " m"]:
        """The named samples that are trained on."""
        return order[np.isin(order, self.named_ids())]

    def named_ids(self) -> Int64[np.ndarray, " k"]:
        """Every named sample, sorted.

        Raises:
            DataError: `check` has not looked them up.
        """
        if "_checked" not in self.__dict__:
            raise DataError(
                self._source,
                "its samples are not known until they are looked up in a dataset",
                "call check() first",
            )
        checked: Int64[np.ndarray, " k"] = self.__dict__["_checked"]
        return checked

    @property
    def _source(self) -> str:
        return f"file = {shown_path(self.file)}" if self.map is None else self.map.shown

    def _looked_up(self, path: str, names: SampleNames) -> set[int]:
        text = read_text(path, "file", "give a text file with one sample per line", _MOST_BYTES)
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
        if unclear:
            raise names.refusal(self._source, unclear, f"{total:,} lines")
        if not found:
            raise DataError(self._source, "names no sample", names.remedy)
        return found
