"""A Hugging Face dataset in a local folder."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from unlearn_ray.core.errors import DataError, listed, shown
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.core.text_files import expanded
from unlearn_ray.data.adapted_dataset import AdaptedDataset, Content
from unlearn_ray.data.base import Captions, ImageData
from unlearn_ray.data.hugging_face_files import Split, find_splits
from unlearn_ray.data.problems import Problems
from unlearn_ray.data.threads import Memory, in_threads


@dataclass(frozen=True)
class _Rows:
    """A decoded split."""

    images: UInt8[np.ndarray, "n size size 3"]
    labels: Int64[np.ndarray, " n"]
    captions: Captions
    digests: list[str]


@register("hugging_face")
@schema
class HuggingFace(AdaptedDataset):
    """A Hugging Face dataset of images in a folder; neither a network nor its package is needed.

        hugging_face: {path: ./beans}
        hugging_face: {path: ./cifar10, image: img}
        hugging_face: {path: ./flickr8k, image_size: 224, label: null, caption: captions}

    - The folder is what `save_to_disk` of a DatasetDict wrote, or a copy of a repository of the
      hub with Parquet files (data/train-00000-of-00001.parquet).
    - Images are decoded as by `image_folder`; rows must hold the files themselves.
    - Classes are those of the ClassLabel; for other whole numbers they are named by these.
    - A sample is named by its row in the training split.

    Attributes:
        path: the folder. Keys cover images, labels, classes and captions, never this path.
        image, label, caption: columns. A label of null: the images are unlabelled. A caption is a
            text or a list of texts; null: there are none.
        train, test: names of the splits.
    """

    path: str
    image: str = "image"
    label: str | None = "label"
    caption: str | None = None
    train: str = "train"
    test: str = "test"

    def source(self, cache: Path) -> Path:
        """`path`."""
        return expanded(self.path, "path", "give the folder of the dataset").absolute()

    def opened(self, folder: Path) -> Callable[[], Content]:
        """Both splits, which have the columns that are asked for."""
        splits = find_splits(folder)
        for name in (self.train, self.test):
            if name not in splits:
                raise DataError(
                    f"hugging_face.path = {self.path}",
                    f"there is no split {shown(name)}; there are {listed(map(shown, splits), 20)}",
                    "name the splits: train: ..., test: ...",
                )
            self._check(splits[name])
        return partial(self._content, splits[self.train], splits[self.test])

    def _check(self, split: Split) -> None:
        """Columns exist, with types that can be read."""
        import pyarrow as pa

        types = {column.name: column.type for column in split.schema}
        fields = {"image": self.image, "label": self.label, "caption": self.caption}
        for name, column in fields.items():
            if column is not None and column not in types:
                there = listed((f"{shown(each)} ({types[each]})" for each in types), 20)
                raise DataError(
                    f"hugging_face.{name} = {shown(column)}",
                    f"the split {shown(split.name)} has no such column; it has {there}",
                    f"name the column of the {name}s: {name}: ...",
                )
        held = types[self.image]
        encoded = held.field("bytes").type if _has_bytes(held) else held
        if not (pa.types.is_binary(encoded) or pa.types.is_large_binary(encoded)):
            raise DataError(
                f"hugging_face.image = {shown(self.image)}",
                f"the column holds {held}, not images",
                'make it an Image: dataset.cast_column("image", datasets.Image())',
            )
        if self.label is not None and not pa.types.is_integer(types[self.label]):
            raise DataError(
                f"hugging_face.label = {shown(self.label)}",
                f"the column holds {types[self.label]}, not label numbers",
                f'make it a ClassLabel: dataset.class_encode_column("{self.label}")',
            )
        if self.caption is not None and not _are_texts(types[self.caption]):
            raise DataError(
                f"hugging_face.caption = {shown(self.caption)}",
                f"the column holds {types[self.caption]}, not a text or a list of texts",
                "name another column",
            )

    def _content(self, train: Split, test: Split) -> Content:
        size = self.image_size or self._first_size(train)
        seen, unseen = (self._rows(split, size) for split in (train, test))
        names = self._class_names(train, seen.labels, unseen.labels)
        parts = [[rows.digests, rows.labels.tolist(), rows.captions] for rows in (seen, unseen)]
        digest = hashlib.sha256(json.dumps([names, parts]).encode()).hexdigest()
        data = ImageData(
            seen.images, seen.labels, unseen.images, unseen.labels, seen.captions, unseen.captions
        )
        return Content(data, names, digest)

    def _class_names(
        self, split: Split, train: Int64[np.ndarray, " n"], test: Int64[np.ndarray, " m"]
    ) -> tuple[str, ...]:
        if self.label is None:
            return ()
        count = int(max(train.max(), test.max())) + 1
        feature = split.features.get(self.label)
        names = feature.get("names") if isinstance(feature, dict) else None
        if not isinstance(names, list):
            return tuple(map(str, range(count)))
        if len(names) < count:
            raise DataError(
                f"hugging_face.label = {shown(self.label)}",
                f"there is a label {count - 1}, and the ClassLabel has {len(names)} names",
                "save the dataset once more",
            )
        return tuple(map(str, names))

    def _first_size(self, split: Split) -> int:
        from unlearn_ray.data.image_decoding import sides_of

        for number, data in self._encoded(split):
            return sides_of(data, self._row(split, number))[0]
        raise self._empty(split)

    def _rows(self, split: Split, size: int) -> _Rows:
        """Decode a split, batch by batch.

        Raises:
            DataError: rows lack an image, label or caption, or cannot be decoded; it gives their
                number, and row and reason of a few.
        """
        from unlearn_ray.data.image_decoding import MEMORY

        problems = Problems(f"hugging_face.path = {self.path}", f"{self.path}")
        count = split.count()
        if not count:
            raise self._empty(split)
        images = np.empty((count, size, size, 3), np.uint8)
        digests, labels, captions = [], [], []
        decode = partial(self._decode, split, images, Memory(MEMORY))
        columns = [name for name in (self.image, self.label, self.caption) if name is not None]
        begin = 0
        for batch in split.batches(columns):
            for found in in_threads(
                decode, list(enumerate(_bytes(batch.column(self.image)), begin)), "decoded"
            ):
                if isinstance(found, DataError):
                    problems.add(found)
                else:
                    digests.append(found)
            for row, label in enumerate(self._labels(batch), begin):
                labels.append(label)
                if label is None or label < 0:
                    self._refuse(problems, split, row, f"has {label} as its label")
            for row, texts in enumerate(self._captions(batch), begin):
                captions.append(texts)
                if not texts:
                    self._refuse(problems, split, row, "has no caption, or an empty one")
            begin += batch.num_rows
        problems.raise_any()
        return _Rows(images, np.array(labels, np.int64), tuple(captions), digests)

    def _decode(
        self,
        split: Split,
        images: UInt8[np.ndarray, "n size size 3"],
        memory: Memory,
        row: tuple[int, bytes | None],
    ) -> str | DataError:
        """Decode a row's image into `images`; the digest of its file."""
        from unlearn_ray.data.image_decoding import decode_image, memory_needed, sides_of

        number, data = row
        path, size = self._row(split, number), images.shape[1]
        try:
            if data is None:
                raise DataError(str(path), "holds no image file", _EMBED)
            if self.image_size is None and sides_of(data, path) != (size, size):
                width, height = sides_of(data, path)
                raise DataError(
                    str(path),
                    f"has {width} x {height} pixels, and the first image is {size} wide",
                    "set image_size",
                )
            with memory.taken(memory_needed(io.BytesIO(data), path, len(data))):
                images[number] = decode_image(data, path, size, self.resize)
        except DataError as error:
            return error
        return hashlib.sha256(data).hexdigest()

    def _labels(self, batch: Any) -> list[int | None]:
        if self.label is None:
            return [0] * batch.num_rows
        found: list[int | None] = batch.column(self.label).to_pylist()
        return found

    def _captions(self, batch: Any) -> Iterator[tuple[str, ...]]:
        if self.caption is None:
            return
        for given in batch.column(self.caption).to_pylist():
            texts = [given] if isinstance(given, str) or given is None else given
            joined = tuple(" ".join((text or "").split()) for text in texts)
            yield joined if all(joined) else ()

    def _encoded(self, split: Split) -> Iterator[tuple[int, bytes]]:
        begin = 0
        for batch in split.batches([self.image]):
            for number, data in enumerate(_bytes(batch.column(self.image)), begin):
                if data is not None:
                    yield number, data
            begin += batch.num_rows

    def _row(self, split: Split, number: int) -> Path:
        return Path(self.path) / split.name / f"row {number}"

    def _refuse(self, problems: Problems, split: Split, row: int, reason: str) -> None:
        remedy = "correct it, or leave the row out: dataset.filter(...)"
        problems.add(DataError(str(self._row(split, row)), reason, remedy))

    def _empty(self, split: Split) -> DataError:
        return DataError(
            f"hugging_face.path = {self.path}",
            f"the split {shown(split.name)} has no images",
            "name another split",
        )


_EMBED = (
    "save the files within the dataset (save_to_disk and push_to_hub do so), or leave the row out"
)


def _has_bytes(held: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(held) and held.get_field_index("bytes") >= 0)


def _are_texts(held: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_list(held) or pa.types.is_large_list(held):
        held = held.value_type
    return bool(pa.types.is_string(held) or pa.types.is_large_string(held))


def _bytes(column: Any) -> Iterator[bytes | None]:
    """The image files of a column, one after the other."""
    for value in column:
        held = value.as_py() if value.is_valid else None
        yield held.get("bytes") if isinstance(held, dict) else held
