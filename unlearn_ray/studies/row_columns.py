"""Columns of an Arrow table as NumPy arrays.

Without pandas, which Arrow's own conversions import: that takes half a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64


def numbers(column: pa.ChunkedArray, null: float) -> Float64[np.ndarray, " rows"]:
    """A column of numbers; `null` where there is none."""
    if pa.types.is_null(column.type):
        return np.full(len(column), null)
    parts = [np.empty(0)]
    for chunk in column.cast(pa.float64(), safe=False).chunks:
        values = _values(chunk, np.float64)
        parts.append(np.where(_is_there(chunk), values, null) if chunk.null_count else values)
    return np.concatenate(parts)


def integers(column: pa.ChunkedArray) -> Int64[np.ndarray, " rows"]:
    """A column of integers that has no gaps."""
    if pa.types.is_null(column.type):
        return np.empty(0, dtype=np.int64)
    parts = [_values(chunk, np.int64) for chunk in column.chunks]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def array_of(values: Int64[np.ndarray, " rows"]) -> pa.Array:
    """Integers as an Arrow array."""
    data = np.ascontiguousarray(values, dtype=np.int64)
    return pa.Array.from_buffers(pa.int64(), len(data), [None, pa.py_buffer(data)])


@dataclass(frozen=True)
class Texts:
    """A column of text without gaps.

    Attributes:
        values: the different ones.
        of_row: for each row, the position of its own among these.
    """

    values: list[str]
    of_row: Int64[np.ndarray, " rows"]

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Texts:
        """Those of a column."""
        encoded = column.dictionary_encode().unify_dictionaries()
        if not len(encoded):
            return cls([], np.empty(0, dtype=np.int64))
        parts = [_values(chunk.indices, np.int32) for chunk in encoded.chunks]
        return cls(encoded.chunk(0).dictionary.to_pylist(), np.concatenate(parts).astype(np.int64))

    def where(self, holds: Callable[[str], bool]) -> Bool[np.ndarray, " rows"]:
        """The rows whose value it holds for; each value is looked at once."""
        known = np.array([holds(value) for value in self.values], dtype=bool)
        return np.asarray(known[self.of_row])

    def __getitem__(self, rows: Any) -> Texts:
        return Texts(self.values, self.of_row[rows])


def _values(array: pa.Array, dtype: Any) -> np.ndarray:
    data, size = array.buffers()[1], np.dtype(dtype).itemsize
    if data is None or not len(array):
        return np.empty(0, dtype=dtype)
    return np.frombuffer(data, dtype, len(array), array.offset * size)


def _is_there(array: pa.Array) -> Bool[np.ndarray, " rows"]:
    bits = np.unpackbits(np.frombuffer(array.buffers()[0], np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)].astype(bool)
