"""Files of memorisation estimates: one row per sample, CSV or Parquet.

`python -m unlearn_ray.results STORE memorisation FILE` writes them; only two columns are read.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from unlearn_ray.core.errors import DataError, listed, shown_path
from unlearn_ray.core.text_files import lines, read_file, read_text
from unlearn_ray.data.sample_names import SampleNames, Unclear

SAMPLE, MEMORISATION = "sample", "memorisation"

_PARQUET = b"PAR1"
# Enough for millions of samples.
_MOST_BYTES = 1 << 28
_REMEDY = "write the file with python -m unlearn_ray.results STORE memorisation FILE --output FILE"

# Where a row stands, and what it holds.
Row = tuple[str, Any, Any]


def read_estimates(
    path: str, names: SampleNames
) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Samples, sorted, and the memorisation of each.

    Args:
        path: of the file.
        names: those of the dataset's samples.

    Raises:
        DataError: the file cannot be read, lacks a column, or a row names no sample, names one
            again, or holds no number from -1 to 1.
    """
    subject = f"file = {shown_path(path)}"
    found: dict[int, float] = {}
    unclear, wrong, total = [], [], 0
    for where, word, given in _rows(path, subject):
        total += 1
        try:
            sample = names.find_line(str(word))
        except Unclear as problem:
            unclear.append(f"{where}: {problem}")
            continue
        value = _number(given)
        if sample is None:
            unclear.append(f"{where}: {str(word)[:80]!r}")
        elif value is None:
            wrong.append(f"{where}: {str(given)[:80]!r}")
        elif sample in found:
            wrong.append(f"{where}: {names.described(sample)} again")
        else:
            found[sample] = value
    if unclear:
        raise names.refusal(subject, unclear, f"{total:,} rows")
    if wrong:
        reason = f"{len(wrong):,} of {total:,} rows give no one number from -1 to 1 of a sample"
        raise DataError(subject, f"{reason}: {listed(wrong)}", _REMEDY)
    if not found:
        raise DataError(subject, "holds no estimate", _REMEDY)
    samples = np.array(sorted(found), np.int64)
    return samples, np.array([found[sample] for sample in samples.tolist()], np.float64)


def _number(given: Any) -> float | None:
    try:
        value = float(given)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) and -1 <= value <= 1 else None


def _rows(path: str, subject: str) -> Iterator[Row]:
    data = read_file(path, "file", _REMEDY, _MOST_BYTES)
    if data.startswith(_PARQUET):
        yield from _of_parquet(data, subject)
    else:
        yield from _of_csv(read_text(path, "file", _REMEDY, _MOST_BYTES), subject)


def _of_csv(text: str, subject: str) -> Iterator[Row]:
    reader = csv.reader(lines(text), strict=True)
    try:
        header = next(reader, [])
        places = [_place(header, column, subject) for column in (SAMPLE, MEMORISATION)]
        for row in reader:
            if row:
                word, given = (row[place] if place < len(row) else "" for place in places)
                yield f"line {reader.line_num}", word, given
    except csv.Error as error:
        raise DataError(f"{subject}:{reader.line_num}", f"is no CSV: {error}", _REMEDY) from None


def _of_parquet(data: bytes, subject: str) -> Iterator[Row]:
    # Only sweeps that forget such samples need it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = f"is no Parquet file: {' '.join(str(error).split())}"
        raise DataError(subject, reason, _REMEDY) from None
    names = list(table.column_names)
    columns = [
        table.column(_place(names, column, subject)).to_pylist()
        for column in (SAMPLE, MEMORISATION)
    ]
    for number, (word, given) in enumerate(zip(*columns, strict=True), 1):
        yield f"row {number}", word, given


def _place(header: list[str], column: str, subject: str) -> int:
    if header.count(column) != 1:
        given = f"its columns are {listed(header)}" if header else "it is empty"
        raise DataError(subject, f"has no one column {column}: {given}", _REMEDY)
    return header.index(column)
