"""Loss curves of training steps: a small Parquet file of each, beside its model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from unlearn_ray.core.curves import Curve
from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.storage.row_tables import to_bytes

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_ray.storage.store import Record, Store

# The file in a step's artifact.
CURVES = "curves.parquet"
_SCHEMA = pa.schema(
    [
        ("phase", pa.int64()),
        ("player", pa.int64()),
        ("iteration", pa.int64()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
    ]
)
_KINDS = ("unlearn", "pretrain", "retrain")


def pack_curves(curves: Iterable[Curve]) -> bytes:
    """Curves as a Parquet file, a row for each point."""
    rows = [
        (curve.phase, curve.player, *point)
        for curve in curves
        for point in zip(curve.iterations, curve.losses, curve.learning_rates, strict=True)
    ]
    columns = [*zip(*rows, strict=True)] or [()] * len(_SCHEMA)
    return to_bytes(pa.table([pa.array(each) for each in columns], schema=_SCHEMA))


def loss_curve(store: Store, key: str) -> pd.DataFrame:
    """The loss curves of a training step; empty if there are none.

    There are none of steps that train nothing (a model that was brought, methods that edit weights
    once), of steps that an earlier version ran, and of those without a record.

    Args:
        store: holds the step.
        key: the step's.

    Returns:
        A row for each range of iterations: phase (of the method), player (of those that an
        iteration updates in turn), iteration (updates done at the range's end, counted over the
        step), loss (the mean over the range), learning_rate.

    Raises:
        MissingObject: the file was removed.
        CorruptObject: it is not a file of curves.
    """
    record = next((found for kind in _KINDS if (found := store.record(kind, key))), None)
    return _empty() if record is None else curves_of(store, record)


def curves_of(store: Store, record: Record) -> pd.DataFrame:
    """The loss curves of a step whose record was read; see `loss_curve`."""
    if CURVES not in record.files:
        return _empty()
    return unpack_curves(store.read_artifact(record, CURVES), record.files[CURVES].name)


def unpack_curves(data: bytes, subject: str) -> pd.DataFrame:
    """The points of packed curves; see `loss_curve`.

    Args:
        data: the file's content.
        subject: its name, for the error.

    Raises:
        CorruptObject: it was not made by `pack_curves`.
    """
    try:
        table = pq.read_table(pa.BufferReader(data)).cast(_SCHEMA)
    except (pa.ArrowException, ValueError, KeyError) as error:
        remedy = "delete the record of its step and run the sweep again"
        raise CorruptObject(subject, f"is not a file of curves ({error})", remedy) from error
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _empty() -> pd.DataFrame:
    frame: pd.DataFrame = _SCHEMA.empty_table().to_pandas()
    return frame
