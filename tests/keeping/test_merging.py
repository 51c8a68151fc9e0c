"""`merge`: one store of two, whose numbers are those of both."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.keeping.conftest import Filled
from tests.keeping.searched import search
from tests.keeping.test_discarding import SECOND, contents, essence, rows
from tests.tiny import runtime, tiny_sweep
from unlearn_ray import results
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import BadInput, CorruptObject, Exit
from unlearn_ray.keeping.collection import collect
from unlearn_ray.keeping.merging import merge
from unlearn_ray.storage.curves import CURVES
from unlearn_ray.storage.records import record_name, to_bytes
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.plan import make_plan


def identical(store: Store, other: Store) -> bool:
    return contents(store) == contents(other) and essence(rows(store, "searched")) == essence(
        rows(other, "searched")
    )


def test_into_an_empty_store_of_every_kind(store_url: str, searched: tuple[Sweep, Store]) -> None:
    sweep, source = searched
    store = open_store(store_url, lease_seconds=2.0)
    found = merge(store, source)
    assert (found.rows, found.sweeps) == (10, ("searched",))
    assert identical(store, source)
    assert make_plan(sweep, store).complete
    again = merge(store, source)
    assert (again.steps, again.rows, again.bytes, again.sweeps) == (0, 0, 0, ())


def test_two_sweeps_with_the_same_reference_models(local: Store, tmp_path: Path) -> None:
    other = runtime(tmp_path / "other").store
    sweep = tiny_sweep(tmp_path, SECOND)
    search(sweep, runtime(other.url))
    before = contents(local)
    own = essence(rows(local, "searched"))
    merge(local, other)
    assert make_plan(sweep, local).complete
    assert before.items() <= contents(local).items()
    assert essence(rows(local, "searched")) == own
    assert essence(rows(local, "second")) == essence(rows(other, "second"))


def test_numbers_that_differ_are_refused_before_anything_is_copied(
    local: Store, filled: Filled, tmp_path: Path
) -> None:
    other = filled(str(tmp_path / "other"))
    key = next(iter(other.records("measure")))
    record = other.record("measure", key)
    assert record is not None
    record.result["values"] = dict.fromkeys(record.result["values"], 0.5)
    other.objects.write(record_name("measure", key), to_bytes(record))
    other.write_row("s/more/tuning-0", {"sweep": "more"})
    with pytest.raises(BadInput, match=f"measure {key}, and their numbers differ"):
        merge(local, other)
    assert local.row("s/more/tuning-0") is None


def test_a_step_without_loss_curves_is_the_same_step(
    local: Store, filled: Filled, tmp_path: Path
) -> None:
    """Stores from before curves were kept have the same weights."""
    other = filled(str(tmp_path / "other"))
    for key in other.records("unlearn"):
        record = other.record("unlearn", key)
        assert record is not None
        files = {name: entry for name, entry in record.files.items() if name != CURVES}
        assert len(files) == len(record.files) - 1
        other.objects.write(record_name("unlearn", key), to_bytes(replace(record, files=files)))
    assert merge(local, other).steps == 0


def test_steps_that_share_a_record_there_alone_get_one_of_their_own(
    local: Store, filled: Filled, tmp_path: Path
) -> None:
    other = filled(str(tmp_path / "other"))
    shared = other.sharing()
    for key in local.records("unlearn"):
        record = local.record("unlearn", key)
        assert record is not None
        local.objects.write(record_name("unlearn", key), to_bytes(replace(record, along=())))
    assert merge(local, other).steps == len(shared) > 0
    for key, record in shared.items():
        own = local.record(record.kind, key)
        assert own is not None
        assert own.result == record.result
        for file in record.files:
            assert local.read_artifact(own, file) == other.read_artifact(record, file)
    assert merge(local, other).steps == 0


def test_a_row_with_other_numbers_is_refused(local: Store, filled: Filled, tmp_path: Path) -> None:
    other = filled(str(tmp_path / "other"))
    name = other.read_rows()["row"][0].as_py()
    other.extend_row(name, {"test_accuracy": 1.0}, ["test_accuracy"])
    with pytest.raises(BadInput, match=f"row {name}"):
        merge(local, other)


def test_a_row_gets_the_metrics_that_only_the_other_store_has(
    local: Store, filled: Filled, tmp_path: Path
) -> None:
    other = filled(str(tmp_path / "other"))
    name = other.read_rows()["row"][0].as_py()
    other.extend_row(name, {"zrf": 0.5})
    assert merge(local, other).extended == 1
    assert (local.row(name) or {})["zrf"] == 0.5


def test_an_altered_artifact_is_not_copied(
    filled: Filled, searched: tuple[Sweep, Store], tmp_path: Path
) -> None:
    other, store = filled(str(tmp_path / "other")), open_store(str(tmp_path / "new"))
    record = other.record("unlearn", next(iter(other.records("unlearn"))))
    assert record is not None
    entry = record.files["model.safetensors"]
    data = other.objects.read(entry.name)
    other.objects.write(entry.name, data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CorruptObject, match="altered"):
        merge(store, other)
    assert store.record("unlearn", record.key) is None
    other.objects.write(entry.name, data)
    merge(store, other)
    assert identical(store, searched[1])


@pytest.mark.parametrize("after", [0, 10, 20])
def test_killed_half_way_it_goes_on(
    after: int, searched: tuple[Sweep, Store], tmp_path: Path
) -> None:
    store, left = open_store(str(tmp_path / "new"), lease_seconds=2.0), after
    create = store.objects.create

    def dies(name: str, data: bytes) -> bool:
        nonlocal left
        left -= not name.startswith("leases/")
        if left < -1:
            raise KeyboardInterrupt
        return create(name, data)

    store.objects.create = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        merge(store, searched[1])
    store.objects.create = create  # type: ignore[method-assign]
    for key, kind in store.kinds().items():
        record = store.record(kind, key)
        assert record is not None
        for file in record.files:
            store.read_artifact(record, file)
    merge(store, searched[1])
    assert identical(store, searched[1])


def test_what_was_removed_stays_so(filled: Filled, tmp_path: Path) -> None:
    other, store = filled(str(tmp_path / "other")), open_store(str(tmp_path / "new"))
    collect(other, "reporting")
    merge(store, other)
    assert store.removals.steps() == other.removals.steps()
    assert len(store.removals.steps()) == 6


def test_an_empty_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for command, said in (("list", "holds no sweep yet"), ("du", "is empty")):
        assert results.main([str(tmp_path / "empty"), command]) == 0
        printed = capsys.readouterr()
        assert printed.out == ""
        assert said in printed.err


def test_the_command(local: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = str(tmp_path / "new")
    assert results.main([new, "merge", local.url]) == 0
    assert "and 10 rows: " in capsys.readouterr().err
    assert results.main([new, "merge", new]) == Exit.BAD_INPUT
    assert "the same store" in capsys.readouterr().err
    assert results.main([new, "list", "--format", "json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["sweep"], listed["state"], listed["rows"]) == ("searched", "finished", 10)
    assert results.main([new, "du", "--format", "json"]) == 0
    printed = capsys.readouterr()
    used = json.loads(printed.out)
    kinds = {one["kind"]: one for one in used if one["sweep"] == "searched"}
    assert kinds.keys() == {"pretrain", "retrain", "unlearn", "observe", "samples"}
    assert sum(one["bytes"] for one in kinds.values()) == listed["bytes"]
    assert sum(one["bytes"] for one in used) == sum(
        entry.size for entry in open_store(new).objects.entries("")
    )
