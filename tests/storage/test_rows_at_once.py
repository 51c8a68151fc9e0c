"""Writers, extenders, mergers and readers of the same rows, in any order of their calls."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.storage.row_stress import stress
from tests.storage.test_compaction import Contents, contents, mixed
from unlearn_ray.storage.objects import ObjectStore
from unlearn_ray.storage.store import open_store
from unlearn_ray.storage.tables import Rows


class Turns:
    """Lets actors call a store one call at a time, in an order of its own."""

    def __init__(self, objects: ObjectStore, seed: int) -> None:
        self.objects = objects
        self.random = random.Random(seed)
        self.changed = threading.Condition()
        self.waiting: list[int] = []
        self.running = 0
        self.turn: int | None = None

    def store_of(self, actor: int) -> Any:
        turns = self

        class Gate:
            def __getattr__(self, name: str) -> Any:
                call = getattr(turns.objects, name)
                return call if name == "url" else (lambda *a: turns.take(actor, lambda: call(*a)))

        return Gate()

    def take(self, actor: int, call: Callable[[], Any]) -> Any:
        with self.changed:
            self.waiting.append(actor)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.turn == actor)
            self.turn = None
            self.waiting.remove(actor)
            try:
                return call()
            finally:
                self.changed.notify_all()

    def play(self, actors: list[Callable[[], None]]) -> None:
        with ThreadPoolExecutor(len(actors)) as pool:
            ended = [pool.submit(actor) for actor in actors]
            while not all(one.done() for one in ended):
                with self.changed:
                    self.changed.wait_for(lambda: self.turn is None and self.waiting, timeout=0.01)
                    if self.turn is None and self.waiting:
                        self.turn = self.random.choice(sorted(set(self.waiting)))
                        self.changed.notify_all()
            for one in ended:
                one.result()


@pytest.mark.parametrize("seed", range(25))
def test_any_order_of_calls(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two compactors, a writer, two extenders of the same rows and a reader."""
    monkeypatch.setattr("unlearn_ray.storage.tables._ATTEMPT_SECONDS", 0.0)
    monkeypatch.setattr("unlearn_ray.storage.tables._ATTEMPTS", 1000)
    objects = open_store(str(tmp_path / "store")).objects
    expected = mixed(Rows(objects))
    names = list(expected)
    turns = Turns(objects, seed)

    def compact(actor: int) -> None:
        for _ in range(2):
            Rows(turns.store_of(actor)).compact()

    def write(actor: int) -> None:
        rows = Rows(turns.store_of(actor))
        for name in ("new", *names):
            rows.write(name, {"x": name if name == "new" else "again"})
            expected.setdefault(name, {"x": name})

    def extend(actor: int) -> None:
        rows = Rows(turns.store_of(actor))
        for name in names[:4]:
            rows.extend(name, {f"by{actor}": 1, "shared": actor})

    def read(actor: int) -> None:
        rows = Rows(turns.store_of(actor))
        seen: Contents = json.loads(json.dumps({name: expected[name] for name in names}))
        for _ in range(3):
            found = contents(rows)
            for name, row in seen.items():
                assert row.items() <= found[name].items()
            seen = found

    roles = [compact, compact, write, extend, extend, read]
    turns.play([lambda r=role, a=actor: r(a) for actor, role in enumerate(roles)])  # type: ignore[misc]
    for _ in range(2):
        found = contents(Rows(objects))
        assert {name: row["x"] for name, row in found.items()} == {
            name: row["x"] for name, row in expected.items()
        }
        for name in names[:4]:
            assert found[name].pop("shared") in (3, 4)
            assert found[name] == {**expected[name], "by3": 1, "by4": 1}
        Rows(objects).compact()
    assert objects.names("rows/") == []


@pytest.mark.parametrize("seconds", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_everybody_at_once(store_url: str, seconds: float) -> None:
    outcome = stress(store_url, seconds)
    assert outcome.wrong == []
    assert all(outcome.done[what] for what in ("rows", "extended", "compactions", "readings"))
    assert outcome.done["files left"] == 1
