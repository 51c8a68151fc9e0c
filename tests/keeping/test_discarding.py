"""`rm`: a sweep goes, and with it what no other sweep refers to, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from tests.keeping.searched import SEARCHED, search
from tests.tiny import runtime, tiny_sweep
from unlearn_ray import results
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import BadInput, CorruptObject, Exit, StoreError
from unlearn_ray.keeping.collection import collect
from unlearn_ray.keeping.discarding import discard
from unlearn_ray.keeping.holdings import Holdings
from unlearn_ray.storage.store import Store, Work

# It shares the reference models, and one of both studies.
SECOND = SEARCHED.replace("searched", "second").replace("gradient_ascent", "random_label")


def contents(store: Store) -> dict[str, bytes]:
    """All objects but leases, and rows, which are compared by their values."""
    left_out = ("rows", "leases/", "identity")
    kept = (name for name in store.objects.names("") if not name.startswith(left_out))
    return {name: store.objects.read(name) for name in kept}


def rows(store: Store, sweep: str) -> list[dict[str, object]]:
    return [row for row in store.read_rows().to_pylist() if row["sweep"] == sweep]


def essence(found: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: value for name, value in row.items() if value is not None} for row in found]


@pytest.mark.parametrize("compacted", [False, True])
def test_what_another_sweep_needs_stays(
    compacted: bool, local: Store, searched: tuple[Sweep, Store], tmp_path: Path
) -> None:
    before, own = contents(local), essence(rows(local, "searched"))
    search(tiny_sweep(tmp_path, SECOND), runtime(local.url))
    shared = Holdings.of(local).references
    assert shared["second"] & shared["searched"]
    if compacted:
        local.compact()
    assert discard(local, "second", lambda found: found.shared > 0 and bool(found.steps))
    assert contents(local) == before
    assert essence(rows(local, "searched")) == own
    assert rows(local, "second") == []
    assert discard(local, "searched", lambda found: not found.shared)
    assert contents(local) == {}
    assert local.read_rows().num_rows == 0


def test_on_every_store(store: Store) -> None:
    assert discard(store, "searched", lambda _: False) is None
    assert len(rows(store, "searched")) == 10
    assert discard(store, "searched", lambda _: True) is not None
    assert contents(store) == {}
    assert store.objects.names("rows") == []


def test_one_that_runs_stays(local: Store) -> None:
    with local.start_driver("searched"), pytest.raises(BadInput, match="it runs"):
        discard(local, "searched", lambda _: True)
    with pytest.raises(BadInput, match="did you mean searched"):
        discard(local, "serched", lambda _: True)


def test_what_killed_steps_left_goes_with_it(local: Store) -> None:
    lease = local.lease("0123456789abcdef", Work("unlearn", "unlearn", "searched"))
    assert lease is not None
    local.save_checkpoint("0123456789abcdef", 5, b"half")
    lease.release()
    assert discard(local, "searched", lambda _: True) is not None
    assert local.latest_checkpoint("0123456789abcdef") is None


@pytest.mark.parametrize("after", range(0, 100, 20))
def test_killed_half_way_the_next_call_removes_the_rest(after: int, local: Store) -> None:
    """A process that dies cannot be told from one whose requests are refused from then on."""
    delete, left = local.objects.delete, after

    def dies(name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        delete(name)

    local.objects.delete = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        discard(local, "searched", lambda _: True)
    local.objects.delete = delete  # type: ignore[method-assign]
    for kind in ("pretrain", "unlearn", "observe"):
        for record in local.read_records((kind, key) for key in local.records(kind)).values():
            if (kind, record.key) not in local.removals.steps():
                for file in record.files:
                    local.read_artifact(record, file)
    assert discard(local, "searched", lambda _: True) is not None
    assert contents(local) == {}


def test_the_command_asks(local: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert results.main([local.url, "rm", "searched"]) == Exit.BAD_INPUT
    assert "add --yes" in capsys.readouterr().err
    assert results.main([local.url, "rm", "searched", "--yes"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("sweep searched: 10 rows, ")
    assert said.endswith("removed sweep searched\n")
    assert results.main([local.url, "list"]) == 0
    assert "holds no sweep" in capsys.readouterr().err


def test_a_name_that_is_a_path_is_no_sweep(local: Store) -> None:
    for name in ("..", "../searched", "a/b", ""):
        with pytest.raises(BadInput, match="no sweep of this name"):
            discard(local, name, lambda _: True)


def test_one_with_a_damaged_manifest_goes(local: Store) -> None:
    local.objects.write("sweeps/searched.json", b"{")
    assert discard(local, "searched", lambda _: True) is not None
    assert local.objects.names("sweeps/") == local.objects.names("records/unlearn/") == []
    assert rows(local, "searched") == []


def test_a_sweep_that_starts_meanwhile_loses_nothing(local: Store) -> None:
    """What gc has removed before stays announced."""
    collect(local, "best")
    before, removed = contents(local), local.removals.steps()
    announce, started = local.removals.announce, []

    def then_start(steps: Iterable[tuple[str, str]], why: str) -> None:
        announce(steps, why)
        started.append(local.start_driver("other"))

    local.removals.announce = then_start  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="other started meanwhile"):
        discard(local, "searched", lambda _: True)
    started[0].release()
    assert contents(local) == before
    assert local.removals.steps() == removed


@pytest.mark.parametrize("restarted", [False, True])
def test_a_sweep_that_starts_while_it_is_asked_stays(
    restarted: bool, local: Store, tmp_path: Path
) -> None:
    """Nothing is removed step by step: the other one refers to all of them. It may run already,
    and be started again with another file."""
    driver = local.start_driver("other") if restarted else None
    manifest = local.objects.read("sweeps/searched.json").replace(b'"searched"', b'"other"')
    local.objects.write("sweeps/other.json", manifest)
    before = contents(local)

    def meanwhile(_: object) -> bool:
        changed = manifest.replace(b"2026", b"2027")
        assert changed != manifest
        local.objects.write("sweeps/other.json", changed)
        return True

    with pytest.raises((StoreError, BadInput), match="other"):
        discard(local, "searched", meanwhile)
    assert {name for name in before if name != "sweeps/other.json"} <= contents(local).keys()
    assert len(rows(local, "searched")) == 10
    if driver is not None:
        driver.release()


def test_trials_that_another_sweep_counts_stay(local: Store) -> None:
    """A study of the same key takes the trials of whoever ran them, and has no rows of its own."""
    manifest = local.objects.read("sweeps/searched.json").replace(b'"searched"', b'"other"')
    local.objects.write("sweeps/other.json", manifest)
    with pytest.raises(BadInput, match="its trials are also those of other"):
        discard(local, "searched", lambda _: True)
    references = Holdings.of(local).references
    assert {record.key for record in Holdings.of(local).records.values() if record.row} & (
        references["other"]
    )


def test_an_addition_goes_before_its_row(local: Store) -> None:
    """Else, killed between the two, the next row of that name would begin with it."""
    row = str(rows(local, "searched")[0]["row"])
    local.extend_row(row, {"some_metric": 1.0})
    delete = local.objects.delete_all
    order: list[str] = []

    def noted(names: Sequence[str]) -> None:
        order.extend(names)
        delete(names)

    local.objects.delete_all = noted  # type: ignore[method-assign]
    local.remove_rows([row])
    own = [one for one in order if one.startswith(f"rows/{row}")]
    assert [one.endswith(".parquet") for one in own] == [False, True]
    assert row not in {one["row"] for one in local.read_rows().to_pylist()}


def test_damaged_rows_tell_nothing(local: Store) -> None:
    local.compact()
    (file,) = local.objects.names("rows-compacted/")
    local.objects.write(file, local.objects.read(file)[:-9])
    with pytest.raises(CorruptObject, match="cannot be read, so what they need is unknown"):
        collect(local, "best")
