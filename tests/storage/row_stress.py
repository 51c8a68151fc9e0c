"""Processes that write, extend, merge and read the rows of one store at the same time.

    python -m tests.storage.row_stress URL SECONDS

Each keeps a journal of what it has done, and what it finds wrong: a row, or a column of it, that
a writer had been told is stored and that is not there; one that is not there any more; a value
that has changed.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.storage.tables import Rows

WRITERS = 2
COMPACTORS = 2
READERS = 2
# Rows that a writer adds columns to are among its newest ones, and so in small files at first.
_RECENT = 60

Seen = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What the processes did and found, and what was stored at the end."""

    done: Counter[str]
    wrong: list[str]


def stress(url: str, seconds: float) -> Outcome:
    """Let all of them loose on an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        journals = Path(folder)
        context = multiprocessing.get_context("spawn")
        go = context.Event()
        roles = [(_write, WRITERS), (_compact, COMPACTORS), (_read, READERS)]
        processes = [
            context.Process(
                target=_work, args=(role, number, url, journals, seconds, go), daemon=True
            )
            for role, several in roles
            for number in range(several)
        ]
        for process in processes:
            process.start()
        ready = [journals / f"{role.__name__}-{n}.ready" for role, m in roles for n in range(m)]
        while not all(path.exists() for path in ready):
            assert all(process.is_alive() for process in processes)
            time.sleep(0.05)
        go.set()
        for process in processes:
            process.join()
        wrong = [f"{p} exited with {p.exitcode}" for p in processes if p.exitcode]
        done: Counter[str] = Counter()
        found: Seen = {}
        for path in sorted(journals.glob("*.result")):
            result = json.loads(path.read_text())
            done.update(result["done"])
            wrong += [f"{path.stem}: {each}" for each in result["wrong"]]
            _merge(found, result["seen"])
        _merge(found, _acknowledged(journals))
        store = open_store(url)
        for moment in ("at the end", "after a last merging"):
            stored = _stored(store)
            wrong += _compare(found, stored, moment)
            wrong += [f"{moment}: nobody wrote {name}" for name in stored.keys() - found.keys()]
            store.compact()
        done["files left"] = len(store.objects.names("rows"))
    return Outcome(done, wrong)


class _Worker:
    def __init__(self, name: str, number: int, url: str, journals: Path) -> None:
        self.store = open_store(url, lease_seconds=2.0)
        self.number = number
        self.journals = journals
        self.journal = (journals / f"{name}.journal").open("a")
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.seen: Seen = {}
        self.random = random.Random(number)

    def note(self, name: str, columns: dict[str, Any]) -> None:
        self.journal.write(json.dumps([name, columns]) + "\n")
        self.journal.flush()


def _work(
    role: Callable[[_Worker], Iterator[None]],
    number: int,
    url: str,
    journals: Path,
    seconds: float,
    go: Any,
) -> None:
    name = f"{role.__name__}-{number}"
    worker = _Worker(name, number, url, journals)
    (journals / f"{name}.ready").touch()
    go.wait()
    end = time.monotonic() + seconds
    steps = role(worker)
    while time.monotonic() < end:
        try:
            next(steps)
        except Exception as error:
            worker.wrong.append(f"{type(error).__name__}: {error}")
            steps = role(worker)
    result = {"done": worker.done, "wrong": worker.wrong, "seen": worker.seen}
    (journals / f"{name}.result").write_text(json.dumps(result))


def _write(worker: _Worker) -> Iterator[None]:
    """New rows; then, now and then, the same again with other values, which must not count."""
    for _ in count():
        number = worker.done["rows"]
        name = f"writer-{worker.number}/{number:06d}"
        worker.store.write_row(name, {"value": number, "text": name})
        worker.note(name, {"value": number, "text": name})
        worker.done["rows"] += 1
        if worker.random.random() < 0.3:
            old = worker.random.randrange(max(0, number - _RECENT), number + 1)
            again: dict[str, str | int] = {"value": -1, "text": "again", "late": 1}
            worker.store.write_row(f"writer-{worker.number}/{old:06d}", again)
            worker.done["written again"] += 1
        if worker.random.random() < 0.7:
            # Of either writer: both may extend one row at the same time.
            owner = worker.random.randrange(WRITERS)
            old = worker.random.randrange(max(0, number - _RECENT), number + 1)
            name = f"writer-{owner}/{old:06d}"
            if owner != worker.number and worker.store.row(name) is None:
                continue
            columns: dict[str, str | int] = {
                f"own-{worker.number}-{worker.random.randrange(3)}": old,
                "shared": f"by {worker.number}",
                "value": -2,
            }
            worker.store.extend_row(name, columns)
            own = {c: value for c, value in columns.items() if c.startswith("own")}
            worker.note(name, {**own, "shared": None})
            worker.done["extended"] += 1
        yield


def _compact(worker: _Worker) -> Iterator[None]:
    """One under the lease, and one that believes that it still has it."""
    while True:
        if worker.number == 0:
            merged = worker.store.compact() or 0
        else:
            merged = Rows(worker.store.objects).compact()
            time.sleep(worker.random.random() / 10)
        worker.done["merged"] += merged
        worker.done["compactions"] += 1
        yield


def _read(worker: _Worker) -> Iterator[None]:
    while True:
        acknowledged = _acknowledged(worker.journals)
        found = _stored(worker.store)
        worker.wrong += _compare(worker.seen, found, "was seen before")
        worker.wrong += _compare(acknowledged, found, "was stored")
        worker.seen = found
        worker.done["readings"] += 1
        yield


def _stored(store: Store) -> Seen:
    return {
        row.pop("row"): {c: value for c, value in row.items() if value is not None}
        for row in store.read_rows().to_pylist()
    }


def _acknowledged(journals: Path) -> Seen:
    """What writers were told is stored; None: that a column has a value, of either."""
    found: Seen = {}
    for path in journals.glob("*.journal"):
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                name, columns = json.loads(line)
                _merge(found, {name: columns})
    return found


def _merge(found: Seen, more: Seen) -> None:
    for name, columns in more.items():
        known = found.setdefault(name, {})
        for column, value in columns.items():
            if known.get(column) is None:
                known[column] = value


def _compare(wanted: Seen, found: Seen, what: str) -> list[str]:
    wrong = []
    for name, columns in wanted.items():
        if name not in found:
            wrong.append(f"{what}: row {name} is absent")
            continue
        for column, value in columns.items():
            there = found[name].get(column)
            if there is None or (value is not None and there != value):
                wrong.append(f"{what}: {name} has {column} {there} and not {value}")
    return wrong


if __name__ == "__main__":
    outcome = stress(sys.argv[1], float(sys.argv[2]))
    found = [f"{len(outcome.wrong)} wrong", *outcome.wrong[:10]]
    sys.stdout.write("\n".join([str(dict(outcome.done)), *found, ""]))
