"""Caption and split files with bytes put in, taken out or changed: read, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unlearn_ray.core.errors import DataError
from unlearn_ray.data.caption_files import read_captions
from unlearn_ray.data.split_files import SPLIT_FILES, list_split_files

CAPTIONS = json.dumps(
    {
        "images": [{"id": 1, "file_name": "a.jpg"}, {"id": "b", "file_name": "c.jpg"}],
        "annotations": [
            {"image_id": 1, "caption": "a cat"},
            {"image_id": "b", "caption": "two \u732b"},
        ],
    }
).encode()
ROWS = b"filename,label\nq.png,c1\nw.png,c1\n"


def read_as_captions(folder: Path, data: bytes) -> None:
    (folder / "captions.json").write_bytes(data)
    read_captions(str(folder / "captions.json"), "train_captions")


def read_as_splits(folder: Path, data: bytes) -> None:
    for name in SPLIT_FILES:
        (folder / name).write_bytes(data)
    list_split_files(folder, 1)


@pytest.mark.parametrize(
    ("whole", "read"), [(CAPTIONS, read_as_captions), (ROWS, read_as_splits)], ids=["json", "csv"]
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    begin=st.integers(0, len(CAPTIONS)),
    length=st.integers(0, 6),
    new=st.one_of(
        st.binary(max_size=4),
        st.sampled_from([b"\0", b"\r", b'"', b"\xff\xfe", b"\\ud800", b"true"]),
    ),
    codec=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]),
)
def test_damage_is_told_in_one_line(
    whole: bytes,
    read: Callable[[Path, bytes], None],
    tmp_path: Path,
    begin: int,
    length: int,
    new: bytes,
    codec: str,
) -> None:
    begin %= len(whole) + 1
    damaged = whole[:begin] + new + whole[begin + length :]
    told = ""
    try:
        read(tmp_path, damaged.decode("latin-1").encode(codec) if codec != "utf-8" else damaged)
    except DataError as error:
        told = str(error)
    assert told.isprintable()
    assert len(told) < 2_000
