"""A row stays what it was, and grows; copies of its files count once."""

from __future__ import annotations

from typing import Any

import pytest

from unlearn_ray.core.errors import MissingObject, StoreError
from unlearn_ray.storage.store import Store, open_store

CONFLICTS = [
    "a (conflicted copy 2026-11-29).parquet",
    "a.sync-conflict-20261129-101112-ABCDEFG.parquet",
    "a-LAPTOP.parquet",
]


def rows(store: Store) -> dict[str, dict[str, Any]]:
    """Every row by its name, without what is null."""
    found = store.read_rows().to_pylist()
    assert len({row["row"] for row in found}) == len(found)
    return {
        row["row"]: {c: v for c, v in row.items() if c != "row" and v is not None} for row in found
    }


def test_the_first_row_stays(store: Store) -> None:
    assert store.write_row("a", {"x": 1})
    assert not store.write_row("a", {"x": 2, "y": 2})
    assert rows(store) == {"a": {"x": 1}}
    store.compact()
    # It cannot be told in one request that the row was merged.
    assert store.write_row("a", {"x": 3, "y": 3})
    for _ in range(2):
        assert rows(store) == {"a": {"x": 1}}
        assert store.row("a") == {"x": 1}
        assert store.compact() in (1, 0)
    assert store.objects.names("rows/") == []


def test_a_row_grows(store: Store) -> None:
    store.write_row("a", {"x": 1, "state": None})
    store.write_row("b", {"x": 2})
    store.extend_row("a", {"state": "stopped", "x": 5})
    assert store.row("a") == {"x": 1, "state": "stopped"}
    store.extend_row("a", {"state": "complete", "more": 1.5, "nothing": None})
    expected = {"a": {"x": 1, "state": "stopped", "more": 1.5}, "b": {"x": 2}}
    assert rows(store) == expected
    assert store.objects.names("rows/a") == ["rows/a.parquet", "rows/a~000002", "rows/a~000003"]
    assert store.compact() == 4
    assert rows(store) == expected
    for name in "ab":
        store.extend_row(name, {"state": "late", "last": name})
    expected["a"]["last"] = "a"
    expected["b"] |= {"state": "late", "last": "b"}
    assert store.objects.names("rows/") == ["rows/a~000004", "rows/b~000002"]
    for _ in range(2):
        assert rows(store) == expected
        assert store.row("a") == expected["a"]
        assert store.compact() in (2, 0)


def test_nothing_to_add_is_not_written(store: Store) -> None:
    store.write_row("a", {"x": 1})
    for columns in ({}, {"x": 2}, {"y": None}, {"y": 1}, {"y": 1}, {"y": 2, "x": None}):
        store.extend_row("a", columns)
    assert store.objects.names("rows/") == ["rows/a.parquet", "rows/a~000002"]
    store.compact()
    store.extend_row("a", {"x": 3, "y": 3})
    assert store.objects.names("rows/") == []


def test_a_row_that_is_not_there_cannot_grow(store: Store) -> None:
    store.write_row("a-10", {"x": 1})
    for columns in ({"x": 1}, {}):
        with pytest.raises(MissingObject, match=r"row a-1 of .*no such row was written; check"):
            store.extend_row("a-1", columns)
    assert list(rows(store)) == ["a-10"]


def test_additions_of_any_types(local_store: Store) -> None:
    for number, value in enumerate((1, 0.5, "text", True, None)):
        local_store.write_row(f"{number}", {"x": number})
        local_store.extend_row(f"{number}", {"mixed": value, f"own{number}": value})
    expected = local_store.read_rows()
    assert expected["mixed"].to_pylist() == ["1", "0.5", "text", "true", None]
    assert expected["own1"].to_pylist() == [None, 0.5, None, None, None]
    assert expected["own3"].to_pylist() == [None, None, None, True, None]
    local_store.compact()
    assert local_store.read_rows().equals(expected)


def test_a_row_grows_far(local_store: Store) -> None:
    local_store.write_row("a", {})
    for number in range(12):
        local_store.extend_row("a", {f"c{number}": number, f"c{number - 1}": -1})
        if number in (3, 7):
            local_store.compact(["a"])
    assert local_store.row("a") == {f"c{number}": number for number in range(12)} | {"c-1": -1}


@pytest.mark.parametrize("copy", CONFLICTS)
@pytest.mark.parametrize("equal", [True, False])
def test_a_copy_of_a_row_counts_once(store: Store, tmp_path: Any, copy: str, equal: bool) -> None:
    other = open_store(str(tmp_path / "other"))
    other.write_row("a", {"x": 1} if equal else {"x": 2, "y": 2})
    store.write_row("a", {"x": 1})
    store.objects.write(f"rows/{copy}", other.objects.read("rows/a.parquet"))
    expected = {"a": {"x": 1}}
    assert rows(store) == expected
    assert store.row("a") == expected["a"]
    store.extend_row("a", {"z": 3})
    expected["a"]["z"] = 3
    assert rows(store) == expected
    assert store.compact() == 3
    # Another copy comes once the row has been merged.
    store.objects.write(f"rows/{copy}", other.objects.read("rows/a.parquet"))
    assert rows(store) == expected
    assert store.compact() == 1
    assert rows(store) == expected
    assert store.objects.names("rows/") == []


@pytest.mark.parametrize("equal", [True, False])
def test_a_copy_of_an_addition_counts_once(store: Store, tmp_path: Any, equal: bool) -> None:
    other = open_store(str(tmp_path / "other"))
    for each, value in ((store, 1), (other, 1 if equal else 2)):
        each.write_row("a", {"x": 0})
        each.extend_row("a", {"y": value})
    copied = other.objects.read("rows/a~000002")
    store.objects.write("rows/a~000002 (conflicted copy 2026-11-29)", copied)
    store.extend_row("a", {"z": 3})
    assert store.objects.names("rows/")[-1] == "rows/a~000003"
    assert rows(store) == {"a": {"x": 0, "y": 1, "z": 3}}
    assert store.compact() == 4
    assert rows(store) == {"a": {"x": 0, "y": 1, "z": 3}}


def test_only_a_copy_is_the_row(local_store: Store) -> None:
    local_store.write_row("a", {"x": 1})
    data = local_store.objects.read("rows/a.parquet")
    local_store.objects.write("rows/a (1).parquet", data)
    local_store.objects.delete("rows/a.parquet")
    assert rows(local_store) == {"a": {"x": 1}}
    assert local_store.row("a") == {"x": 1}


def test_an_addition_waits_for_the_one_before(store: Store) -> None:
    """A sync tool may bring the newer file first, or an addition before its row."""
    store.write_row("a", {"x": 1})
    for column in "yz":
        store.extend_row("a", {column: 1})
    kept = {name: store.objects.read(name) for name in store.objects.names("rows/")}
    for late in ("rows/a~000002", "rows/a.parquet"):
        for name, data in kept.items():
            store.objects.write(name, data)
        store.objects.delete(late)
        assert rows(store) == ({"a": {"x": 1}} if late.endswith("2") else {})
    for _ in range(2):
        assert store.compact() == 0
    assert store.objects.names("rows/") == ["rows/a~000002", "rows/a~000003"]
    store.objects.write("rows/a.parquet", kept["rows/a.parquet"])
    store.objects.delete("rows/a~000002")
    assert store.compact() == 1
    assert rows(store) == {"a": {"x": 1}}
    store.objects.write("rows/a~000002", kept["rows/a~000002"])
    assert rows(store) == {"a": {"x": 1, "y": 1, "z": 1}}
    assert store.compact() == 2
    assert rows(store) == {"a": {"x": 1, "y": 1, "z": 1}}


def test_a_file_in_the_way_of_an_addition(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is called an addition and is none lets nobody wait for ever."""
    monkeypatch.setattr("unlearn_ray.storage.tables._ATTEMPT_SECONDS", 0.0)
    local_store.write_row("a", {"x": 1})
    data = local_store.objects.read("rows/a.parquet")
    local_store.objects.write("rows/a~000002", data)
    with pytest.raises(StoreError, match="row a: other processes keep adding to it"):
        local_store.extend_row("a", {"y": 1})
    assert rows(local_store) == {"a": {"x": 1}}


def test_looking_up_many_rows_reads_a_compacted_file_once(local_store: Store) -> None:
    for number in range(5):
        local_store.write_row(f"{number}", {"x": number})
    local_store.compact(["0", "1"])
    read: list[str] = []

    class Noting:
        def __getattr__(self, name: str) -> Any:
            found = getattr(local_store.objects, name)
            if name != "read":
                return found
            return lambda n, *a: (read.append(n), found(n, *a))[1]  # type: ignore[func-returns-value]

    other = Store(Noting(), 30.0)
    for number in (2, 3, 4):
        other.extend_row(f"{number}", {"y": number})
    assert sum(name.startswith("rows-compacted/") for name in read) == 1
    other.extend_row("0", {"y": 0})
    assert {name: row["y"] for name, row in rows(other).items() if "y" in row} == {
        f"{number}": number for number in (0, 2, 3, 4)
    }


def test_what_is_said_anew_counts(store: Store) -> None:
    store.write_row("a", {"state": "complete", "old": 1.0, "kept": 2.0, "nan": float("nan")})
    store.extend_row("a", {"old": 5.0, "kept": 7.0, "new": 3.0}, anew=("old", "new"))
    expected = {"state": "complete", "old": 5.0, "kept": 2.0, "new": 3.0}
    for _ in range(2):
        row = store.row("a")
        assert row is not None
        assert {column: row[column] for column in expected} == expected
        (read,) = store.read_rows("a").to_pylist()
        assert {column: read[column] for column in expected} == expected
        assert store.rows(["a", "b"])["a"]["state"] == "complete"
        store.compact()
    files = store.objects.names("rows/")
    store.extend_row("a", {"old": 5.0, "kept": 9.0}, anew=("old",))
    assert store.objects.names("rows/") == files  # there was nothing to add
