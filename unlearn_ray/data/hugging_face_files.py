"""Reading a Hugging Face dataset from a local folder, by pyarrow alone.

Two layouts: what `save_to_disk` of the datasets package writes (a folder of Arrow files for each
split), and a copy of a repository of the hub (Parquet files whose names begin with the split).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.errors import DataError, listed, shown, shown_path

_LAYOUT = (
    "give a folder that save_to_disk wrote, or a copy of a hub repository with "
    "data/train-*.parquet and data/test-*.parquet"
)
_SHARD = re.compile(r"(?P<split>.+?)-\d{5}-of-\d{5}(-\w+)?")
_ROWS = 256


@dataclass(frozen=True)
class Split:
    """The files of one split, in order.

    Attributes:
        name: of the split.
        files: Arrow or Parquet files.
        features: each column's feature, as the datasets package describes it.
    """

    name: str
    files: tuple[Path, ...]
    features: dict[str, Any]

    @property
    def schema(self) -> Any:
        """Of its rows (a pyarrow schema)."""
        return _schema(self.files[0])

    def count(self) -> int:
        """The number of its rows.

        Raises:
            DataError: a file cannot be read.
        """
        return sum(batch.num_rows for batch in self.batches(self.schema.names[:1]))

    def batches(self, columns: list[str]) -> Iterator[Any]:
        """Its rows, as pyarrow record batches of these columns.

        Raises:
            DataError: a file cannot be read, or lacks a column.
        """
        import pyarrow as pa

        for file in self.files:
            if missing := sorted(set(columns) - set(_schema(file).names)):
                raise _damaged(file, f"it has no column {listed(map(shown, missing))}")
            with _reading(file):
                yield from _batches(pa, file, columns)


def find_splits(folder: Path) -> dict[str, Split]:
    """Every split of the dataset in a folder.

    Raises:
        DataError: there is no dataset of either layout, or there are several.
    """
    if (folder / "dataset_dict.json").is_file():
        names = _json(folder / "dataset_dict.json").get("splits")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _damaged(folder / "dataset_dict.json", "it lists no splits")
        found = {name: _saved(folder / name) for name in names}
    elif (folder / "state.json").is_file():
        raise DataError(
            f"path = {shown_path(folder)}",
            "it is one split, saved by itself",
            "save all of them: DatasetDict({'train': ..., 'test': ...}).save_to_disk(path)",
        )
    else:
        found = _downloaded(folder)
    return {name: Split(name, files, _features(folder, files[0])) for name, files in found.items()}


def _saved(folder: Path) -> tuple[Path, ...]:
    """The Arrow files of a split that `save_to_disk` wrote."""
    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise _damaged(folder / "state.json", "its rows are selected by a table of indices")
    entries = state.get("_data_files") or []
    names = [str(entry.get("filename")) for entry in entries if isinstance(entry, dict)]
    if not names or not all(Path(name).name == name for name in names):
        raise _damaged(folder / "state.json", "it lists no data files")
    return tuple(folder / name for name in names)


def _downloaded(folder: Path) -> dict[str, tuple[Path, ...]]:
    """The Parquet files of each split of a hub repository."""
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
        if not hidden and file.is_file():
            found.setdefault(_split_of(file), []).append(file)
    if not found:
        raise DataError(f"path = {shown_path(folder)}", "there is no dataset", _LAYOUT)
    for name, files in found.items():
        # Above train/0000.parquet, but beside train.parquet.
        folders = {file.parents[int(file.stem.isdigit())] for file in files}
        if len(folders) > 1:
            raise DataError(
                f"path = {shown_path(folder)}",
                f"it has several configurations with a split {shown(name)}: "
                f"{listed(sorted(shown_path(each.relative_to(folder)) for each in folders))}",
                "give the folder of one of them",
            )
    return {name: tuple(files) for name, files in found.items()}


def _split_of(file: Path) -> str:
    """data/train-00000-of-00002.parquet, train.parquet or train/0000.parquet."""
    if shard := _SHARD.fullmatch(file.stem):
        return shard["split"]
    return file.parent.name if file.stem.isdigit() else file.stem


def _features(folder: Path, file: Path) -> dict[str, Any]:
    """From the schema of a file, else from the repository's README."""
    metadata = _schema(file).metadata or {}
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return dict(features)
    except (KeyError, TypeError, ValueError):
        return _readme_features(folder)


def _readme_features(folder: Path) -> dict[str, Any]:
    """The classes that the YAML at the top of README.md lists."""
    try:
        _, header, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
        features = yaml.safe_load(header)["dataset_info"]["features"]
        return {each["name"]: _readme_feature(each["dtype"]) for each in features}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {}  # a card is free text


def _readme_feature(dtype: Any) -> dict[str, Any]:
    if isinstance(dtype, dict) and "class_label" in dtype:
        names = dtype["class_label"]["names"]
        if isinstance(names, dict):
            names = [names[number] for number in sorted(names, key=int)]
        return {"_type": "ClassLabel", "names": names}
    return {"_type": str(dtype)}


def _schema(file: Path) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    with _reading(file):
        if file.suffix == ".parquet":
            return parquet.read_schema(file)
        with pa.memory_map(str(file)) as source:
            return pa.ipc.open_stream(source).schema


def _batches(pa: Any, file: Path, columns: list[str]) -> Iterator[Any]:
    if file.suffix == ".parquet":
        from pyarrow import parquet

        with parquet.ParquetFile(file) as opened:
            yield from opened.iter_batches(_ROWS, columns=columns)
        return
    with pa.memory_map(str(file)) as source:
        for batch in pa.ipc.open_stream(source):
            chosen = batch.select(columns)
            for begin in range(0, chosen.num_rows, _ROWS):
                yield chosen.slice(begin, _ROWS)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException, KeyError) as error:
        raise _damaged(file, reason_of(error)) from error


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(file, reason_of(error)) from error
    if not isinstance(content, dict):
        raise _damaged(file, "it holds no mapping")
    return content


def _damaged(file: Path, reason: str) -> DataError:
    return DataError(shown_path(file), f"cannot be read: {reason}", "save the dataset once more")
