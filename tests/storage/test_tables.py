from __future__ import annotations

import math
import tempfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.storage.store import Store, open_store

SCALARS = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(), st.none()
)
ROWS = st.dictionaries(st.text(min_size=1).filter(lambda name: name != "row"), SCALARS, max_size=8)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and one == other


@settings(max_examples=30, deadline=None)
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


@settings(max_examples=30, deadline=None)
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
    expected = [
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
    store.write_row("s/1", {"rate": 7.0})
    assert store.read_rows("s/1")["rate"].to_pylist() == [7.0]
    assert store.read_rows().num_rows == 3
    assert store.compact() == 1
    assert len(store.objects.names("rows-compacted/")) == 1
    assert store.read_rows("s/1")["rate"].to_pylist() == [7.0]
    store.delete_row("s/1")
    store.delete_row("absent")
    store.write_row("u/4", {"rate": 2.0})
    store.delete_row("u/4")
    assert store.read_rows()["row"].to_pylist() == ["s/2", "t/3"]


def test_an_empty_store_has_an_empty_table(store: Store) -> None:
    table = store.read_rows()
    assert (table.num_rows, table.column_names) == (0, ["row"])
    assert store.compact() == 0


def test_a_column_cannot_be_called_row(local_store: Store) -> None:
    with pytest.raises(ValueError, match="'row'"):
        local_store.write_row("x", {"row": 1})


@pytest.mark.parametrize("damage", ["truncated", "garbage", "altered", "empty", "another table"])
def test_a_damaged_row_is_named(store: Store, damage: str) -> None:
    store.write_row("sweep/good", {"x": 1})
    store.write_row("sweep/bad", {"x": 123456.789, "name": "value" * 20})
    name = "rows/sweep/bad.parquet"
    data = store.objects.read(name)
    position = data.index(b"value") + 2
    store.objects.write(
        name,
        {
            "truncated": data[: len(data) // 2],
            "garbage": b"x" * 500,
            "altered": data[:position] + b"?" + data[position + 1 :],
            "empty": b"",
            "another table": _parquet_of_something_else(),
        }[damage],
    )
    remedy = "delete that object and run the sweep again"
    with pytest.raises(CorruptObject, match=f"{name} of .*{remedy}"):
        store.read_rows()
    with pytest.raises(CorruptObject, match=name):
        store.compact()
    store.objects.delete(name)
    assert store.read_rows()["row"].to_pylist() == ["sweep/good"]


class Killed(BaseException):
    """As if the process had died here."""


class Dying:
    """An object store whose user dies before its n-th change."""

    def __init__(self, store: Store, changes: int) -> None:
        self.objects = store.objects
        self.changes = changes

    def __getattr__(self, name: str) -> Any:
        if name in ("write", "create", "delete"):
            self.changes -= 1
            if self.changes < 0:
                raise Killed
        return getattr(self.objects, name)


def test_one_row_is_read_by_its_name(store: Store) -> None:
    store.write_row("a-1", {"value": 1})
    store.write_row("a-10", {"value": 10, "other": "x"})
    for _ in range(2):
        assert store.row("a-1") is not None
        assert {k: v for k, v in (store.row("a-1") or {}).items() if v is not None} == {"value": 1}
        assert store.row("a-10") == {"value": 10, "other": "x"}
        assert store.row("a") is None
        store.compact()
    store.write_row("a-1", {"value": 2})
    assert store.row("a-1") == {"value": 2}


def test_named_rows_are_compacted_and_others_stay(local_store: Store) -> None:
    for number in range(6):
        local_store.write_row(f"a-{number}", {"value": number})
    before = local_store.read_rows()
    assert local_store.compact(["a-1", "a-3", "not there"]) == 2
    assert local_store.compact(["a-1", "a-4"]) == 1
    small = local_store.objects.names("rows/")
    assert small == [f"rows/a-{number}.parquet" for number in (0, 2, 5)]
    assert len(local_store.objects.names("rows-compacted/")) == 1
    assert local_store.read_rows().equals(before)


def test_compaction_may_die_at_any_point(local_store: Store) -> None:
    for number in range(3):
        local_store.write_row(f"old/{number}", {"x": number})
    local_store.compact()
    for deaths in range(100):
        for number in range(3):
            local_store.write_row(f"new/{number}", {"x": number, "y": "z"})
        local_store.write_row("old/1", {"x": 100 + deaths})
        before = local_store.read_rows()
        try:
            Store(Dying(local_store, deaths), 30.0).compact()  # type: ignore[arg-type]
        except Killed:
            assert local_store.read_rows().equals(before)
            continue
        assert local_store.read_rows().equals(before)
        break
    assert 5 < deaths < 99
    assert local_store.objects.names("rows/") == []
    assert len(local_store.objects.names("rows-compacted/")) == 1


def test_deletion_may_die_at_any_point(local_store: Store) -> None:
    for number in range(3):
        local_store.write_row(f"{number}", {"x": number})
    for deaths in range(100):
        local_store.write_row("1", {"x": deaths})
        local_store.compact()
        local_store.write_row("1", {"x": deaths})
        try:
            Store(Dying(local_store, deaths), 30.0).delete_row("1")  # type: ignore[arg-type]
        except Killed:
            assert {"0", "2"} <= set(local_store.read_rows()["row"].to_pylist()) <= set("012")
            continue
        break
    assert deaths == 3
    assert local_store.read_rows()["row"].to_pylist() == ["0", "2"]


def test_compacting_the_same_row_again_keeps_it(local_store: Store) -> None:
    for _ in range(2):
        local_store.write_row("a", {"x": 1})
        assert local_store.compact() == 1
        assert local_store.read_rows().to_pylist() == [{"row": "a", "x": 1}]


class Rewriting:
    """An object store in which another process writes a row while this one compacts."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        if name == "write":
            self.store.write_row("a", {"x": 2})
            self.store.write_row("c", {"x": 3})
        return getattr(self.store.objects, name)


def test_compaction_removes_only_what_it_read(local_store: Store) -> None:
    local_store.write_row("a", {"x": 1})
    local_store.write_row("b", {"x": 1})
    assert Store(Rewriting(local_store), 30.0).compact() == 2  # type: ignore[arg-type]
    assert local_store.objects.names("rows/") == ["rows/a.parquet", "rows/c.parquet"]
    assert local_store.read_rows()["x"].to_pylist() == [2, 1, 3]


def _parquet_of_something_else() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"x": [1]}), sink)
    return bytes(sink.getvalue())
