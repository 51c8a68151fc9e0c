"""Merging of rows: whoever dies or stands still where, no row is lost or goes back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from unlearn_ray.core.errors import MissingObject, StoreError
from unlearn_ray.storage.objects import ObjectStore
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.storage.tables import Rows

CHANGES = ("write", "create", "delete")
CALLS = (*CHANGES, "read", "names")

Contents = dict[str, dict[str, Any]]


def contents(rows: Rows) -> Contents:
    """Every row by its name, without what is null."""
    found = rows.read().to_pylist()
    assert len({row["row"] for row in found}) == len(found)
    return {
        row["row"]: {c: v for c, v in row.items() if c != "row" and v is not None} for row in found
    }


class Killed(BaseException):
    """As if the process had died here."""


class Interrupted:
    """An object store that does something before its user's n-th call of some kinds."""

    def __init__(
        self, objects: ObjectStore, calls: tuple[str, ...], n: int, act: Callable[[], object]
    ) -> None:
        self.objects = objects
        self.calls = calls
        self.left = n
        self.act = act
        self.lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return partial(self._call, name) if name in CALLS else getattr(self.objects, name)

    def _call(self, name: str, *arguments: Any) -> Any:
        if name in self.calls:
            with self.lock:
                self.left -= 1
                now = self.left == -1
            # The dead do nothing more.
            if now or (self.left < 0 and self.act is die):
                self.act()
        return getattr(self.objects, name)(*arguments)

    def delete_all(self, names: Sequence[str]) -> None:
        for name in names:
            self.delete(name)


def die() -> None:
    raise Killed


def mixed(rows: Rows) -> Contents:
    """A store with rows in all states: merged, small, with additions here and there."""
    for name in ("merged", "grown-merged", "grows", "half"):
        rows.write(name, {"x": name})
    rows.extend("grown-merged", {"y": 1})
    rows.extend("half", {"y": 2})
    rows.compact()
    rows.write("small", {"x": "small"})
    rows.write("small-grows", {"x": "small-grows", "z": None})
    rows.extend("small-grows", {"z": 0.5})
    rows.extend("half", {"z": 1.5})
    rows.extend("grows", {"y": 3})
    rows.write("merged", {"x": "written again"})
    return {
        "merged": {"x": "merged"},
        "grown-merged": {"x": "grown-merged", "y": 1},
        "grows": {"x": "grows", "y": 3},
        "half": {"x": "half", "y": 2, "z": 1.5},
        "small": {"x": "small"},
        "small-grows": {"x": "small-grows", "z": 0.5},
    }


def test_it_may_die_at_any_change(tmp_path: Path) -> None:
    for deaths in range(100):
        place = open_store(str(tmp_path / f"{deaths}"))
        rows = Rows(place.objects)
        expected = mixed(rows)
        dying = Interrupted(place.objects, CHANGES, deaths, die)
        try:
            Rows(dying).compact()
        except Killed:
            assert contents(rows) == expected
            rows.extend("small", {"late": deaths})
            expected["small"]["late"] = deaths
            rows.compact()
            assert contents(rows) == expected
            assert rows.compact() == 0
            assert place.objects.names("rows/") == []
            assert len(place.objects.names("rows-compacted/")) == 1
            continue
        assert contents(rows) == expected
        break
    assert 5 < deaths < 99


def merging(rows: Rows, expected: Contents) -> None:
    rows.compact()


def growing(rows: Rows, expected: Contents) -> None:
    for name in list(expected):
        rows.write(name, {"x": "written again"})
        rows.extend(name, {"late": 1, "x": "extended"})
        expected[name]["late"] = 1
    rows.write("new", {"x": "new"})
    expected["new"] = {"x": "new"}


def growing_and_merging(rows: Rows, expected: Contents) -> None:
    growing(rows, expected)
    rows.compact()


def merging_and_growing(rows: Rows, expected: Contents) -> None:
    rows.compact()
    growing(rows, expected)


def much(rows: Rows, expected: Contents) -> None:
    growing_and_merging(rows, expected)
    rows.extend("grows", {"later": 2})
    expected["grows"]["later"] = 2
    rows.compact()
    rows.write("newest", {"x": "newest"})
    expected["newest"] = {"x": "newest"}


MEANWHILE = [merging, growing, growing_and_merging, merging_and_growing, much]


@pytest.mark.parametrize("act", MEANWHILE)
def test_a_compactor_may_be_late_anywhere(
    tmp_path: Path, act: Callable[[Rows, Contents], None]
) -> None:
    for pause in range(200):
        objects = open_store(str(tmp_path / f"{pause}")).objects
        rows = Rows(objects)
        expected = mixed(rows)
        late = Interrupted(objects, CALLS, pause, lambda r=rows, e=expected: act(r, e))  # type: ignore[misc]
        Rows(late).compact()
        paused = late.left < 0
        assert contents(rows) == expected
        rows.compact()
        assert contents(rows) == expected
        assert objects.names("rows/") == []
        assert len(objects.names("rows-compacted/")) == 1
        if not paused:
            break
    assert 10 < pause < 199


@pytest.mark.parametrize("act", MEANWHILE)
def test_an_extender_may_be_late_anywhere(
    tmp_path: Path, act: Callable[[Rows, Contents], None]
) -> None:
    for pause in range(100):
        objects = open_store(str(tmp_path / f"{pause}")).objects
        rows = Rows(objects)
        expected = mixed(rows)
        late = Interrupted(objects, CALLS, pause, lambda r=rows, e=expected: act(r, e))  # type: ignore[misc]
        Rows(late).extend("grows", {"mine": "m", "z": 2.5, "y": -1})
        expected["grows"] |= {"mine": "m", "z": 2.5}
        assert contents(rows) == expected
        rows.compact()
        assert contents(rows) == expected
        if late.left >= 0:
            break
    assert 4 < pause < 99


@pytest.mark.parametrize("act", MEANWHILE)
def test_a_reader_may_be_late_anywhere(
    tmp_path: Path, act: Callable[[Rows, Contents], None]
) -> None:
    for pause in range(100):
        objects = open_store(str(tmp_path / f"{pause}")).objects
        rows = Rows(objects)
        expected = mixed(rows)
        before = json.loads(json.dumps(expected))
        late = Interrupted(objects, CALLS, pause, lambda r=rows, e=expected: act(r, e))  # type: ignore[misc]
        found = contents(Rows(late))
        for name, row in before.items():
            assert row.items() <= found[name].items() <= expected[name].items()
        assert found.keys() <= expected.keys()
        if late.left >= 0:
            break
    assert 4 < pause < 99


def test_two_who_merge_the_same_rows_keep_one_file(local_store: Store) -> None:
    """Each reads what both have written, as when one is as late as the other."""
    rows = Rows(local_store.objects)
    for number in range(4):
        rows.write(f"{number}", {"x": number})
        rows.compact([f"{number}"])
    twice = Interrupted(local_store.objects, ("delete",), 0, rows.compact)
    rows.write("4", {"x": 4})
    Rows(twice).compact()
    assert contents(rows) == {f"{number}": {"x": number} for number in range(5)}


class Blind:
    """A folder whose listing shows neither the old nor the new compacted file, now and then."""

    def __init__(self, objects: ObjectStore, shown: list[bool]) -> None:
        self.objects = objects
        self.shown = shown

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objects, name)

    def names(self, prefix: str) -> list[str]:
        found = self.objects.names(prefix)
        hidden = prefix == "rows-compacted/" and self.shown and not self.shown.pop(0)
        return [] if hidden else found


def test_a_listing_is_no_snapshot(local_store: Store) -> None:
    local_store.write_row("a", {"x": 1})
    local_store.compact()
    blind = Blind(local_store.objects, [False, True])
    rows = Rows(blind)
    assert contents(rows) == {"a": {"x": 1}}
    blind.shown = [False, True]
    assert rows.get("a") == {"x": 1}
    blind.shown = [False, True]
    rows.extend("a", {"y": 1})
    blind.shown = [True, False, True]
    rows.compact()
    assert contents(rows) == {"a": {"x": 1, "y": 1}}


class Vanishing:
    """A store whose compacted files are gone when they are read, for ever."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objects, name)

    def read(self, name: str, most: int | None = None) -> bytes:
        if name.startswith("rows-compacted/"):
            raise MissingObject(name, "it is gone", "read it later")
        return self.objects.read(name)


def test_a_reader_does_not_try_for_ever(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearn_ray.storage.tables._ATTEMPT_SECONDS", 0.0)
    local_store.write_row("a", {"x": 1})
    local_store.compact()
    with pytest.raises(StoreError, match="compacted continually; try again later"):
        Rows(Vanishing(local_store.objects)).read()
