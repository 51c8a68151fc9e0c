"""What a model's run forgot, in numbers per class: never which samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.storage.observations import OBSERVED, unpack
from unlearn_ray.storage.store import Record, Store

_KEY = "key_measure_"
_ROLE = "model: samples"


@dataclass(frozen=True)
class Counts:
    """Training images of one class, or of all.

    Attributes:
        forgotten, retained, held_out: in the forget, the retain and the validation set.
    """

    forgotten: int
    retained: int
    held_out: int


def counts_of(row: Mapping[str, Any], store: Store) -> dict[int, Counts]:
    """How many training images of each class the run of a row forgot, by label.

    Every class of the training set is in it. Empty if the store no longer says which it were.
    """
    record = _samples(row, store)
    if record is None:
        return {}
    columns = unpack(store.read_artifact(record, OBSERVED), f"{record.kind} {record.key}")
    labels = {part: of_set["label"] for part, of_set in columns.items()}

    def count(part: Any, label: int) -> int:
        return int((labels[part] == label).sum())

    parts: tuple[Any, ...] = ("forget", "retain", "validation")
    known = sorted({label for part in parts for label in labels[part].tolist()})
    return {label: Counts(*(count(part, label) for part in parts)) for label in known}


def _samples(row: Mapping[str, Any], store: Store) -> Record | None:
    """The record of the sets that the row's model was measured on."""
    for column, key in row.items():
        measured = store.record("measure", str(key)) if column.startswith(_KEY) else None
        if measured is not None and _ROLE in measured.inputs:
            return store.record(Samples.name, measured.inputs[_ROLE])
    model = store.record("unlearn", str(row.get("key_unlearn")))
    for measured in () if model is None else model.sharing:
        if _ROLE in measured.inputs:
            return store.record(Samples.name, measured.inputs[_ROLE])
    return None
