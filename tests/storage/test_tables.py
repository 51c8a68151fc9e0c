from __future__ import annotations

import logging
import math
import re
import tempfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.strangers import is_there, put_stranger
from unlearn_ray.storage.row_tables import ANY, types_of
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.storage.tables import Scalar

SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(), st.none()
)
# Columns that rows of trials have keep their types.
_NAMES = st.text(min_size=1).filter(lambda name: types_of(name, ()) == ANY)
ROWS = st.dictionaries(_NAMES, SCALARS, max_size=8)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and one == other


@settings(max_examples=30)
@given(ROWS)
def test_a_row_comes_back(row: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        store.write_row("sweep/a-b", row)
        for _ in range(2):
            (found,) = store.read_rows().to_pylist()
            assert found.pop("row") == "sweep/a-b"
            assert set(found) == set(row)
            assert all(same(found[name], row[name]) for name in row)
            store.compact()


@settings(max_examples=30)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), SCALARS), max_size=6), st.integers(0, 6))
def test_rows_of_any_types_make_one_table(rows: list[dict[str, Any]], compacted: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        for number, row in enumerate(rows):
            store.write_row(str(number), row)
            if number == compacted:
                assert store.compact() == number + 1
        table = store.read_rows()
        assert table["row"].to_pylist() == [str(number) for number in range(len(rows))]
        for name in set(table.column_names) - {"row"}:
            values = [row.get(name) for row in rows]
            assert [v is None for v in table[name].to_pylist()] == [v is None for v in values]


def test_union_of_columns(store: Store) -> None:
    store.write_row("s/1", {"rate": 1, "epochs": 3, "name": "a", "flag": True, "mixed": 1})
    store.write_row("s/2", {"rate": 0.5, "name": None, "new": "x", "mixed": "one"})
    store.write_row("t/3", {"rate": None})
    expected: list[dict[str, Any]] = [
        {"row": "s/1", "rate": 1.0, "epochs": 3, "name": "a", "flag": True, "mixed": "1"},
        {"row": "s/2", "rate": 0.5, "name": None, "new": "x", "mixed": "one"},
        {"row": "t/3", "rate": None},
    ]
    columns = {"row", "rate", "epochs", "name", "flag", "mixed", "new"}
    expected = [{name: row.get(name) for name in columns} for row in expected]
    assert store.read_rows().to_pylist() == expected
    assert store.read_rows("s/")["row"].to_pylist() == ["s/1", "s/2"]
    assert store.compact() == 3
    assert store.compact() == 0
    assert store.objects.names("rows/") == []
    assert store.read_rows().to_pylist() == expected
    assert store.read_rows("t/")["row"].to_pylist() == ["t/3"]


def test_an_empty_store_has_an_empty_table(store: Store) -> None:
    table = store.read_rows()
    assert (table.num_rows, table.column_names) == (0, ["row"])
    assert store.compact() == 0


@pytest.mark.parametrize("column", ["row", "row version", "row source"])
def test_columns_that_rows_need_themselves(local_store: Store, column: str) -> None:
    with pytest.raises(ValueError, match=f"'{column}'"):
        local_store.write_row("x", {column: 1})
    local_store.write_row("x", {})
    with pytest.raises(ValueError, match=f"'{column}'"):
        local_store.extend_row("x", {column: 1})
    assert local_store.read_rows().to_pylist() == [{"row": "x"}]


def test_names_begin_with_others(store: Store) -> None:
    for name in ("a", "a-1", "a-1.parquet", "a-1~000002", "a-10", "a-1/x"):
        assert store.write_row(name, {"own": name})
        store.extend_row(name, {"more": name})
    expected = ["a-1", "a-1.parquet", "a-1/x", "a-10", "a-1~000002"]
    for _ in range(2):
        assert store.read_rows("a-1")["row"].to_pylist() == expected
        assert store.read_rows("a-1", "a-10", "a-1~")["row"].to_pylist() == expected
        assert store.read_rows("a-1.par")["more"].to_pylist() == ["a-1.parquet"]
        assert store.row("a-1") == {"own": "a-1", "more": "a-1"}
        assert store.row("a-1~000002") == {"own": "a-1~000002", "more": "a-1~000002"}
        store.compact()


def test_columns_may_be_chosen(store: Store) -> None:
    store.write_row("a", {"x": 1, "y": "one", "z": None})
    store.extend_row("a", {"z": 0.5})
    store.write_row("b", {"x": 2})
    for _ in range(2):
        assert store.read_rows(columns=("z", "absent")).to_pylist() == [
            {"row": "a", "z": 0.5},
            {"row": "b", "z": None},
        ]
        assert store.read_rows(columns=("row", "x")).column_names == ["row", "x"]
        store.compact()


def test_rows_of_before_had_no_version(local_store: Store) -> None:
    small = _parquet({"row": ["a"], "x": [1]})
    local_store.objects.write("rows/a.parquet", small)
    local_store.objects.write(
        f"rows-compacted/{0:032x}.parquet", _parquet({"row": ["b", "c"], "x": [2, 3]})
    )
    local_store.extend_row("a", {"y": 1})
    local_store.extend_row("b", {"y": 2})
    for _ in range(2):
        assert local_store.read_rows().to_pylist() == [
            {"row": "a", "x": 1, "y": 1},
            {"row": "b", "x": 2, "y": 2},
            {"row": "c", "x": 3, "y": None},
        ]
        assert local_store.compact() in (3, 0)


@pytest.mark.parametrize(
    "damage",
    [
        "truncated",
        "garbage",
        "altered",
        "empty",
        "another table",
        "number",
        "text for a number",
        "list",
    ],
)
@pytest.mark.parametrize("merged", [False, True])
def test_a_damaged_row_is_named_and_left_out(
    store: Store, damage: str, merged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store.write_row("sweep/bad", {"x": 123456.789, "name": "value" * 20})
    if merged:
        assert store.compact() == 1
    store.write_row("sweep/good", {"x": 1})
    (name,) = (n for n in store.objects.names("rows") if n != "rows/sweep/good.parquet")
    data = store.objects.read(name)
    position = data.index(b"value") + 2
    broken = {
        "truncated": data[: len(data) // 2],
        "garbage": b"x" * 500,
        "altered": data[:position] + b"?" + data[position + 1 :],
        "empty": b"",
        "another table": _parquet({"x": [1]}),
        "number": _parquet({"row": [1]}),
        "list": _parquet({"row": ["sweep/bad"], "x": [[1]]}),
        "text for a number": _parquet({"row": ["sweep/bad"], "trial": ["first"]}),
    }[damage]
    store.objects.write(name, broken)
    with caplog.at_level(logging.WARNING):
        assert store.read_rows()["row"].to_pylist() == ["sweep/good"]
    assert re.search(f"{name} of .*delete that object and run the sweep again", caplog.text)
    assert len(caplog.records) == 1
    store.extend_row("sweep/good", {"y": 2})
    assert store.row("sweep/bad") is None
    assert store.rows(["sweep/bad", "sweep/good"]) == {"sweep/good": {"row": "sweep/good", "x": 1}}
    assert store.compact() == 2
    assert len(caplog.records) == 1  # it has been said
    assert store.objects.read(name) == broken
    store.objects.delete(name)
    assert store.read_rows().to_pylist() == [{"row": "sweep/good", "x": 1, "y": 2}]


@pytest.mark.parametrize(
    "stranger",
    [
        *("rows/", "rows/sweep/", "rows_$folder$", "rows/.DS_Store", "rows/sweep/Thumbs.db"),
        *("rows/desktop.ini", "rows/sweep/._a.parquet", "rows/sweep/a.parquet~", "rows/#a#"),
        *("rows/sweep/a.parquet.tmp", "rows/sweep/a.parquet.4f1c.partial", "rows/old/notes.txt"),
        *("rows-compacted/", "rows-compacted/desktop.ini", "rows-compacted/old/x.parquet"),
    ],
)
def test_what_is_no_file_of_rows_is_left_alone(
    store: Store, stranger: str, caplog: pytest.LogCaptureFixture
) -> None:
    put_stranger(store, stranger, b"no rows")
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            store.write_row(f"sweep/{number}", {"x": number})
            assert store.read_rows()["x"].to_pylist() == list(range(number + 1))
            store.extend_row(f"sweep/{number}", {"y": 1})
            store.compact()
    assert caplog.records == []
    assert is_there(store, stranger)


def test_integers_beyond_64_bits_and_broken_text_are_kept(store: Store) -> None:
    huge = 12345678901234567890123
    row: dict[str, Scalar] = {"hp_n": huge, "hp_m": -(2**63) - 1, "failure": "no \udc80 name"}
    assert store.write_row("sweep/a", row)
    store.write_row("sweep/b", {"hp_n": 3, "hp_m": 2**63 - 1})
    store.extend_row("sweep/b", {"hp_o": 2**64, "nan": float("nan")})
    files = store.objects.names("rows/")
    store.extend_row("sweep/b", {"hp_o": 2**64, "nan": float("nan")}, ["hp_o", "nan"])
    assert store.objects.names("rows/") == files  # it says so already
    for _ in range(2):
        found = store.row("sweep/a") or {}
        assert {name: value for name, value in found.items() if value is not None} == {
            "hp_n": f"{huge}",
            "hp_m": f"{-(2**63) - 1}",
            "failure": "no \\udc80 name",
        }
        table = {row["row"]: row for row in store.read_rows().to_pylist()}
        assert table["sweep/a"]["hp_n"] == f"{huge}"
        assert table["sweep/b"]["hp_n"] == "3"
        assert table["sweep/b"]["hp_o"] == f"{2**64}"
        store.compact()


def test_one_row_is_read_by_its_name(store: Store) -> None:
    store.write_row("a-1", {"value": 1})
    store.write_row("a-10", {"value": 10, "other": "x"})
    for _ in range(2):
        assert store.row("a-1") is not None
        assert {k: v for k, v in (store.row("a-1") or {}).items() if v is not None} == {"value": 1}
        assert store.row("a-10") == {"value": 10, "other": "x"}
        assert store.row("a") is None
        store.compact()


def test_a_merged_row_is_read_by_its_name(store: Store) -> None:
    for number in range(3):
        store.write_row(f"a-{number}", {"value": number})
        assert store.row(f"a-{number - 1}") == ({"value": number - 1} if number else None)
        store.compact([f"a-{number}"])
    for number in range(3):
        assert store.row(f"a-{number}") == {"value": number}


def _parquet(columns: dict[str, list[Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return bytes(sink.getvalue())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from("abcd"), SCALARS), max_size=8),
    st.lists(st.sampled_from("xyz"), max_size=3),
    st.integers(0, 8),
    st.sets(st.sampled_from("abcd")),
)
def test_a_part_of_a_table_is_that_of_the_whole(
    rows: list[dict[str, Any]], prefixes: list[str], compacted: int, columns: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        for number, row in enumerate(rows):
            store.write_row(f"{'xyz'[number % 3]}{number}", row)
            if number == compacted:
                store.extend_row("x0", {"added": number})
                store.compact()
        whole = store.read_rows(columns=lambda name: name in columns).to_pylist()
        everything = store.read_rows()
        kept = [name for name in everything.column_names if name in columns | {"row"}]
        assert f"{whole}" == f"{everything.select(kept).to_pylist()}"
        parts = store.row_parts()
        assert parts.schema.equals(everything.schema)
        assert f"{parts.read(lambda name: name in columns).to_pylist()}" == f"{whole}"
        part = store.read_rows(*prefixes).to_pylist()
        wanted = {row["row"] for row in part}
        own = tuple(prefixes) or ""
        assert wanted == {name for name in everything["row"].to_pylist() if name.startswith(own)}
        assert [row["row"] for row in part] == sorted(wanted)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", None, "absent"]), max_size=8),
    st.integers(0, 8),
    st.lists(st.integers(0, 7), max_size=4),
    st.integers(0, 4),
)
def test_the_rows_of_a_sweep_are_those_of_all_rows(
    sweeps: list[str | None], compacted: int, added: list[int], merged: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        for number, sweep in enumerate(sweeps):
            of_sweep: dict[str, Scalar] = {} if sweep == "absent" else {"sweep": sweep}
            store.write_row(f"{number}", {"value": float(number), **of_sweep})
            if number == compacted:
                store.compact()
        for place, number in enumerate(added):
            if number < len(sweeps):
                store.extend_row(f"{number}", {f"added_{place}": place})
            if place == merged:
                store.compact()
        whole = store.read_rows().to_pylist()
        for name in ("a", "b", "none"):
            own = store.read_rows(sweep=name).to_pylist()
            kept = [row for row in whole if row.get("sweep") == name]
            assert [_held(row) for row in own] == [_held(row) for row in kept]
            chosen = store.read_rows(columns=("sweep", "value"), sweep=name).to_pylist()
            assert [row["value"] for row in chosen] == [row["value"] for row in kept]


def _held(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


@pytest.mark.parametrize("sweep", [None, "a"])
def test_two_columns_of_one_name_are_no_table(
    local_store: Store, caplog: pytest.LogCaptureFixture, sweep: str | None
) -> None:
    names = ["row", "row version", "sweep", "sweep"]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table([["x"], [1], ["a"], ["b"]], names=names), sink)
    local_store.objects.write(f"rows-compacted/{'0' * 32}.parquet", bytes(sink.getvalue()))
    assert local_store.read_rows(sweep=sweep).num_rows == 0
    assert "two columns of one name" in caplog.text
