"""Stores: a finished one, with objects damaged, replaced, removed and added by other hands."""

from __future__ import annotations

import io
import json
import logging
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.fuzz.fuzzing import LONGEST_LINE
from tests.fuzz.values import TEXT, emitted, hard
from unlearn_ray import results, sweep
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.core.errors import CorruptObject, UnlearnRayError
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.monitor.running import Observer
from unlearn_ray.monitor.status import sweep_statuses
from unlearn_ray.storage.leases import Work
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.plan import Plan, make_plan

FOREIGN = (
    *(".DS_Store", "Thumbs.db", "desktop.ini", "records/.DS_Store", "rows/.DS_Store", "_SUCCESS"),
    *("records/pretrain/", "rows/x/", "rows/notes.txt", "sweeps/notes.txt", "sweeps/x.json.bak"),
    *("records/pretrain/x.json.tmp", "records/x.json", "rows/x.parquet", "leases/x", "claims/x"),
    *("rows/a b/ä.parquet", "sweeps/\x1b[31m.json", "sweeps/\udcff.json", "rows/\udcff/x.parquet"),
    *(
        "records/unlearn/zz.json",
        "leases/0123456789abcdef/x.json",
        "checkpoints/x/y/z",
        "studies/x",
    ),
    *("rows/.x.parquet.swp", "records/measure/~lock.json#", "$folder$", "rows_$folder$"),
)


@dataclass(frozen=True)
class Change:
    """Something that a hand did to an object.

    Attributes:
        name: of the object.
        data: what it holds now; None is nothing: it was removed.
    """

    name: str
    data: bytes | None


@dataclass(frozen=True)
class StoreInput:
    """A store that others had their hands in."""

    changes: tuple[Change, ...]

    def smaller(self) -> Iterator[StoreInput]:
        """With a change left out, or an object made shorter."""
        for number, change in enumerate(self.changes):
            others = (self.changes[:number], self.changes[number + 1 :])
            if len(self.changes) > 1:
                yield StoreInput((*others[0], *others[1]))
            if change.data and len(change.data) > 1:
                half = replace(change, data=change.data[: len(change.data) // 2])
                yield StoreInput((*others[0], half, *others[1]))

    def show(self) -> str:
        """What was done."""
        return "; ".join(
            f"{change.name!r} removed"
            if change.data is None
            else f"{change.name!r} holds {change.data[:300]!r}"
            for change in self.changes
        )


class StoreJudge:
    """Asks a changed store for everything that a person asks it for.

    Args:
        finished: a folder with tiny.yaml and the store of its finished sweep.
        folder: to work in.
    """

    def __init__(self, finished: Path, folder: Path) -> None:
        self.file = finished / "tiny.yaml"
        self.folder = folder
        self.good = folder / "good"
        shutil.copytree(finished / "store", self.good)
        store = open_store(str(self.good))
        plan = make_plan(load_sweep(self.file, (), str(self.good)), store)
        _leave_traces(plan, store)
        self.store = folder / "changed"
        shutil.copytree(self.good, self.store)
        self.rows = len(results.load(str(self.good)))
        self.references = len(plan.references)
        self.count = 0
        self.names = sorted(
            str(path.relative_to(self.good)) for path in self.good.rglob("*") if path.is_file()
        )

    def draw(self, draw: random.Random) -> StoreInput:
        """Some changes."""
        count = draw.choice((1, 1, 1, 2, 4))
        return StoreInput(tuple(self._change(draw) for _ in range(count)))

    def _change(self, draw: random.Random) -> Change:
        if draw.random() < 0.25:
            return Change(draw.choice(FOREIGN), draw.choice((b"", b"{}", b"x", b"PAR1", bytes(99))))
        name = draw.choice(self.names)
        data = (self.good / name).read_bytes()
        return Change(name, damaged(draw, data, self._other(draw)))

    def _other(self, draw: random.Random) -> bytes:
        return (self.good / draw.choice(self.names)).read_bytes()

    def __call__(self, given: StoreInput) -> None:
        changed = {change.name: change for change in given.changes}
        try:
            for change in changed.values():
                _apply(self.store, change)
            with _warnings() as said:
                with _goes_on():
                    self._check_rows(changed, said)
                    self._check_plan()
                self._check_commands()
                self._check_status()  # which may refuse
        finally:
            for change in changed.values():
                _restore(self.store, self.good, change)
        for line in said:
            assert line.isprintable(), f"a warning that does not print: {line!r}"
            assert len(line) <= LONGEST_LINE, f"a warning of {len(line)} characters"

    def _check_rows(self, changed: dict[str, Change], said: list[str]) -> None:
        """What was not touched is there; what cannot be read is named."""
        found = len(results.load(str(self.store)))
        damaged = {name: one for name, one in changed.items() if name.startswith("rows/")}
        assert found >= self.rows - len(damaged), "rows that nobody touched are gone"
        held = [
            name for name, one in damaged.items() if name in self.names and one.data is not None
        ]
        removed = sum(one.data is None for one in damaged.values())
        if found < self.rows - removed:
            told = "\n".join(said)
            assert any(name in told for name in held), "a row that is left out, and not named"

    def _check_plan(self) -> None:
        url = str(self.store)
        plan = make_plan(load_sweep(self.file, (), url), open_store(url))
        assert len(plan.references) == self.references
        store = open_store(url)
        for key, kind in store.kinds().items():
            with suppress(CorruptObject):
                store.record(kind, key)

    def _check_status(self) -> None:
        (status,) = sweep_statuses(open_store(str(self.store)), "tiny", Observer())
        assert status.name == "tiny"

    def _check_commands(self) -> None:
        """One of the commands: in one line each, whatever it says prints."""
        url = str(self.store)
        command, arguments = (
            (sweep.main, ["status", url]),
            (sweep.main, ["plan", str(self.file), "--store", url]),
            (results.main, [url, "compare"]),
            (results.main, [url, "best"]),
            (results.main, [url, "query", "SELECT count(*) FROM rows"]),
        )[self.count % 5]
        self.count += 1
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            command(arguments)
        for text in (out.getvalue(), err.getvalue()):
            assert "Traceback" not in text, f"{arguments[0]}: a traceback"
            for line in text.split("\n"):
                assert line.isprintable(), f"a line that does not print: {line!r}"


@contextmanager
def _goes_on() -> Iterator[None]:
    """One damaged object keeps nobody from the others."""
    try:
        yield
    except UnlearnRayError as error:
        raise AssertionError(f"no answer for one object: {type(error).__name__}") from error


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What the package warns of meanwhile."""
    said: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, handler = logging.getLogger("unlearn_ray"), Kept(logging.WARNING)
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.propagate = before
        logger.removeHandler(handler)


def _leave_traces(plan: Plan, store: Store) -> None:
    """What a sweep that runs leaves beside records and rows: its manifest, leases, claims."""
    announce(plan, store)
    driver = store.start_driver(plan.sweep.name)
    held = store.lease("0123456789abcdef", Work("unlearn", "unlearn by finetune", plan.sweep.name))
    assert held is not None
    claims = store.claims(plan.studies[0].key)
    claim = claims.take(0, {"learning_rate": 0.1}, driver.key, plan.sweep.name)
    claims.give_back(0, claim)
    store.save_checkpoint("0123456789abcdef", 5, b"weights")
    # As a process that was killed leaves them.
    left = {name: store.objects.read(name) for name in store.objects.names("leases/")}
    held.release()
    driver.release()
    for name, data in left.items():
        store.objects.write(name, data)


def damaged(draw: random.Random, data: bytes, other: bytes) -> bytes | None:
    """What an object may hold once something went wrong; None is nothing."""
    at = draw.randrange(len(data) + 1)
    match draw.randrange(10):
        case 0:
            return None
        case 1:
            return b""
        case 2:
            return data[:at]
        case 3:
            return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]
        case 4:
            return other
        case 5:
            return draw.choice((b"null", b"[]", b"{}", b"1", b'"x"', b"[" * 100_000, b"\xff\xfe"))
        case 6:
            return bytes(len(data))
        case _:
            return _with_another_value(draw, data)


def _with_another_value(draw: random.Random, data: bytes) -> bytes:
    """JSON of another type or with another value somewhere; else another byte."""
    try:
        tree = json.loads(data)
    except ValueError:
        at = draw.randrange(len(data) + 1)
        return data[:at] + draw.randbytes(3) + data[at:]
    places = [*_places(tree)]
    if not places:
        return b"{}"
    *above, last = draw.choice(places)
    holder: Any = tree
    for name in above:
        holder = holder[name]
    match draw.randrange(4):
        case 0:
            del holder[last]
        case 1:
            holder[last] = draw.choice(TEXT)
        case 2 if isinstance(holder, dict):
            holder[draw.choice(("extra", "../../etc/passwd", "\x1b[2J"))] = holder.pop(last)
        case _:
            # As YAML, some of these are no JSON at all.
            holder[last] = "MARK"
            marked = json.dumps(tree)
            return marked.replace('"MARK"', emitted(hard(draw)), 1).encode("utf-8", "replace")
    return json.dumps(tree).encode()


def _places(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner: Any = tree.items() if isinstance(tree, dict) else ()
    inner = enumerate(tree) if isinstance(tree, list) else inner
    for name, child in inner:
        yield (*above, name)
        yield from _places(child, (*above, name))


def _apply(store: Path, change: Change) -> None:
    path = store / change.name
    if change.data is None:
        path.unlink(missing_ok=True)
    elif change.name.endswith("/"):
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_dir():
            path.write_bytes(change.data)


def _restore(store: Path, good: Path, change: Change) -> None:
    path, original = store / change.name, good / change.name
    if original.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, path)
        return
    if path.is_file():
        path.unlink()
    while path != store and path.is_dir() and not any(path.iterdir()):
        if (good / path.relative_to(store)).is_dir():
            break
        path.rmdir()
        path = path.parent
