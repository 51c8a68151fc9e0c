"""`gc`: what nothing kept needs goes, all else stays, whatever runs or is killed meanwhile."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from tests.keeping.searched import SEARCHED, points, search
from tests.storage.test_leases import foreign_holder
from tests.tiny import run_references, runtime, tiny_sweep
from unlearn_ray import results
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import CorruptObject, Exit, RemovedArtifact, StoreError
from unlearn_ray.keeping.collection import collect
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.steps.graph import Graph
from unlearn_ray.steps.once import run_here
from unlearn_ray.storage.store import Lease, Record, Store, Work, open_store
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.trial import TrialSeed, score
from unlearn_ray.takeaway.stored_model import load_model

MODEL = "model.safetensors"


def records(store: Store, kind: str) -> list[Record]:
    return list(store.read_records((kind, key) for key in store.records(kind)).values())


def has_model(record: Record, store: Store) -> bool:
    try:
        store.read_artifact(record, MODEL)
    except RemovedArtifact:
        return False
    return True


def kept_models(store: Store) -> dict[str, int]:
    """How many models there are of each purpose of the rows that they were made for."""
    found: dict[str, int] = {}
    for kind in ("pretrain", "retrain", "unlearn"):
        for record in records(store, kind):
            purpose = record.row.rpartition("/")[2].partition("-")[0] or "reference"
            found[purpose] = found.get(purpose, 0) + has_model(record, store)
    return found


def compared(store: Store, capsys: pytest.CaptureFixture[str]) -> str:
    assert results.main([store.url, "compare"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("keep", "tuning"), [("reporting", 0), ("best", 2), (2, 4), (9, 6)])
def test_models_of_tuning_runs_go_and_those_of_the_table_stay(
    keep: int, tuning: int, local: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    before = compared(local, capsys)
    small = {name for name in local.objects.names("artifacts/") if MODEL not in name}
    dry = collect(local, keep, remove=False)
    assert kept_models(local) == {"reference": 4, "tuning": 6, "reporting": 2}
    found = collect(local, keep)
    assert (dry.size, len(dry.artifacts)) == (found.size, len(found.artifacts))
    assert len(found.artifacts) == 6 - tuning
    assert kept_models(local) == {"reference": 4, "tuning": tuning, "reporting": 2}
    assert small <= set(local.objects.names("artifacts/"))
    assert compared(local, capsys) == before
    assert collect(local, keep).size == 0


def test_on_every_store(store: Store, searched: tuple[Sweep, Store]) -> None:
    sweep, _ = searched
    assert collect(store, "best", age=timedelta(hours=1)).size == 0
    assert len(collect(store, "best").artifacts) == 4
    assert kept_models(store) == {"reference": 4, "tuning": 2, "reporting": 2}
    before = set(store.objects.names(""))
    search(sweep, runtime(store.url))
    assert {name for name in store.objects.names("") if name not in before} <= {"identity"}


def test_a_removed_model_says_so_and_can_be_had_again(
    local: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    collect(local, "reporting", why="gc --keep reporting")
    gone = next(one for one in records(local, "unlearn") if not has_model(one, local))
    assert results.main([local.url, "show", gone.key]) == 0
    assert "by gc --keep reporting" in capsys.readouterr().out
    with pytest.raises(RemovedArtifact, match=f"gc --keep reporting.*rerun {gone.key} --restore"):
        load_model(local, gone.key)
    assert results.main([local.url, "rerun", gone.key, "--restore"]) == 0
    assert "bit for bit" in capsys.readouterr().err
    assert load_model(local, gone.key).class_names == tuple("0123456789")
    assert results.main([local.url, "rerun", gone.key, "--restore"]) == Exit.BAD_INPUT


def test_a_sweep_that_needs_a_removed_model_trains_it_again_and_no_other(
    local: Store, searched: tuple[Sweep, Store], tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Another objective is another study, whose first points are those of the old one."""
    collect(local, "reporting")
    text = SEARCHED.replace("forget_accuracy]", "residual_knowledge]").replace("searched", "other")
    text += "objective: {weighted_gap: {weights: {residual_knowledge: 1}}}\n"
    other = tiny_sweep(tmp_path_factory.mktemp("other"), text)
    before = {one.key: one for one in records(local, "unlearn")}
    with caplog.at_level(logging.WARNING):
        search(other, runtime(local.url))
    again = [one for one in records(local, "unlearn") if one != before.get(one.key, one)]
    assert sorted(one.row.partition("/")[2].partition("/")[0] for one in again) == ["other"] * 6
    for one in again:
        assert has_model(one, local)
        assert one.files[MODEL].sha256 == before[one.key].files[MODEL].sha256


def test_one_at_a_time(local: Store) -> None:
    lease = local.keeper("merge")
    assert lease is not None
    with lease, pytest.raises(StoreError, match="another process"):
        collect(open_store(local.url, lease_seconds=2.0), "best")
    assert len(collect(local, "best").artifacts) == 4


# Beside others


def test_what_a_running_sweep_may_need_stays(store: Store) -> None:
    with open_store(store.url, lease_seconds=2.0).start_driver("searched"):
        found = collect(store, "reporting")
        assert found.artifacts == []
        assert found.running == {"searched"}
    assert len(collect(store, "reporting").artifacts) == 6


def test_a_driver_that_is_silent_does_not_run(local: Store) -> None:
    """One on another machine, which was killed: no clock is asked, only its heartbeat."""
    dead = foreign_holder().replace(b'"sweep": ""', b'"sweep": "searched"')
    assert b"searched" in dead
    local.objects.create("leases/driver-0123456789abcdef.000001.json", dead)
    began = time.monotonic()
    assert len(collect(open_store(local.url, lease_seconds=1.0), "reporting").artifacts) == 6
    assert time.monotonic() - began > 1.0


def test_a_sweep_that_starts_after_all_was_marked_loses_nothing(store: Store) -> None:
    announce_removals, before = store.removals.announce, set(store.objects.names("artifacts/"))
    started: list[Lease] = []

    def then_start(steps: Iterable[tuple[str, str]], why: str) -> None:
        announce_removals(steps, why)
        started.append(open_store(store.url, lease_seconds=2.0).start_driver("searched"))

    store.removals.announce = then_start  # type: ignore[method-assign]
    found = collect(store, "reporting")
    assert found.artifacts == []
    assert found.started == {"searched"}
    assert set(store.objects.names("artifacts/")) == before
    assert store.removals.steps() == set()
    started[0].finish()


def test_a_sweep_that_started_and_ended_meanwhile_loses_nothing(local: Store) -> None:
    """Its rows may be of models that were marked."""
    announce_removals, before = local.removals.announce, set(local.objects.names("artifacts/"))

    def then_write(steps: Iterable[tuple[str, str]], why: str) -> None:
        announce_removals(steps, why)
        manifest = local.objects.read("sweeps/searched.json")
        local.write_sweep("searched", manifest.replace(b"2026", b"2027"))

    local.removals.announce = then_write  # type: ignore[method-assign]
    assert collect(local, "reporting").started == {"searched"}
    assert set(local.objects.names("artifacts/")) == before


def test_trials_under_way_keep_what_they_have(
    searched: tuple[Sweep, Store], tmp_path: Path
) -> None:
    """A sweep that was stopped goes on where it was."""
    sweep, _ = searched
    sweep = tiny_sweep(tmp_path, SEARCHED.replace("tuning: [0]", "tuning: [0, 2]"))
    here = runtime(tmp_path / "store")
    announce(make_plan(sweep, here.store), here.store)
    for seed in sweep.seeds.tuning:
        run_references(sweep, seed, here)
    first, second = sweep.studies
    half, ended = points(2)
    score(TrialSeed.of(sweep, first, 0, half, 0, "tuning"), here)
    for seed in sweep.seeds.tuning:
        score(TrialSeed.of(sweep, second, 0, ended, seed, "tuning"), here)
    begun = TrialSeed.of(sweep, first, 1, ended, 0, "tuning")
    graph = Graph(here.known, partial(run_here, runtime=here), begun.account)
    graph.ensure(begun.unlearn)
    assert len(collect(here.store, "reporting").artifacts) == 2
    models = {one.key: has_model(one, here.store) for one in records(here.store, "unlearn")}
    assert sorted(models.values()) == [False, False, True, True]
    assert models[begun.unlearn.key]


def test_beside_a_sweep_whose_needs_are_unknown_nothing_goes(local: Store) -> None:
    with local.start_driver("untold"), pytest.raises(StoreError, match="untold runs and has no"):
        collect(local, "best")
    assert len(collect(local, "best").artifacts) == 4


@pytest.mark.timeout(60)
def test_many_short_steps_keep_nobody_waiting(local: Store) -> None:
    """Each of their leases is too short-lived for a heartbeat."""
    done = threading.Event()

    def run() -> None:
        store = open_store(local.url, lease_seconds=1.0)
        with store.start_driver("searched"):
            for number in itertools.count():
                lease = store.lease(f"step{number}", Work("unlearn", "", "searched"))
                assert lease is not None
                time.sleep(0.05)
                lease.finish()
                if done.is_set():
                    return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert collect(open_store(local.url, lease_seconds=1.0), "best").artifacts == []
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("what", ["records/measure/", "sweeps/"])
def test_where_it_is_unknown_what_something_needs_nothing_goes(what: str, local: Store) -> None:
    name = local.objects.names(what)[0]
    data = local.objects.read(name)
    local.objects.write(name, b"{")
    with pytest.raises(CorruptObject, match=f"{name} cannot be read"):
        collect(local, "best")
    assert local.removals.steps() == set()
    local.objects.write(name, data)
    local.objects.write(f"{name} (conflicted copy)", data)
    assert len(collect(local, "best").artifacts) == 4


def _collect(url: str, dies: bool) -> None:
    """In a process of its own, which may be killed in the middle of its deletions."""
    store = open_store(url, lease_seconds=1.0)
    delete, deleted, one_by_one = store.objects.delete, 0, threading.Lock()

    def then_die(name: str) -> None:
        nonlocal deleted
        with one_by_one:
            delete(name)
            deleted += name.startswith("artifacts/")
            if deleted == 2:
                os.kill(os.getpid(), signal.SIGKILL)

    if dies:
        store.objects.delete = then_die  # type: ignore[method-assign]
    for _ in range(100):
        try:
            collect(store, "reporting")
        except StoreError:
            time.sleep(0.1)  # the other one is at work
        else:
            return
    raise AssertionError("the other one never ended")


def _run(*arguments: tuple[str, bool]) -> list[int | None]:
    context = multiprocessing.get_context("spawn")
    several = [context.Process(target=_collect, args=each) for each in arguments]
    for process in several:
        process.start()
    for process in several:
        process.join(60)
    return [process.exitcode for process in several]


@pytest.mark.timeout(120)
def test_killed_half_way_nothing_half_removed_counts_as_complete(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    before = compared(store, capsys)
    assert _run((store.url, True)) == [-signal.SIGKILL]
    gone = {one.key for one in records(store, "unlearn") if not has_model(one, store)}
    assert len(gone) == 2
    assert len(store.removals.steps()) == 6
    store = open_store(store.url, lease_seconds=1.0)
    found = collect(store, "best")
    assert {one.record.key for one in found.artifacts}.isdisjoint(gone)
    assert len(collect(store, "reporting").artifacts) + len(found.artifacts) + len(gone) == 6
    assert kept_models(store) == {"reference": 4, "tuning": 0, "reporting": 2}
    assert compared(store, capsys) == before


@pytest.mark.timeout(120)
def test_two_at_once(store: Store) -> None:
    assert _run((store.url, False), (store.url, False)) == [0, 0]
    assert kept_models(store) == {"reference": 4, "tuning": 0, "reporting": 2}


# The command


def test_the_command_says_how_much_it_is(local: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert results.main([local.url, "gc", "--keep", "best", "--dry-run"]) == 0
    assert capsys.readouterr().err.startswith("would remove 4 artifacts of unlearn: ")
    assert results.main([local.url, "gc", "--keep", "best", "--older-than", "1h"]) == 0
    assert capsys.readouterr().err == "nothing to remove\n"
    assert results.main([local.url, "gc", "--keep", "best", "--sweep", "searched"]) == 0
    assert capsys.readouterr().err.startswith("removed 4 artifacts of unlearn: ")
    assert results.main([local.url, "gc", "--keep", "best", "--sweep", "serched"]) == 2
    assert "did you mean searched?" in capsys.readouterr().err
    for wrong in (["--keep", "0"], ["--keep", "some"], ["--keep", "best", "--older-than", "1"]):
        with pytest.raises(SystemExit):
            results.main([local.url, "gc", *wrong])


def test_uploads_that_no_record_names_go_once_they_are_old(local: Store) -> None:
    upload = local.put_artifact("unlearn", "fedcba9876543210", {MODEL: b"never recorded"})
    assert collect(local, 9).size == 0
    (entry,) = upload.values()
    path = Path(local.url) / entry.name
    long_ago = time.time() - 2 * 86400
    os.utime(path, (long_ago, long_ago))
    assert collect(local, 9).leftovers.size == len(b"never recorded")
    assert not path.exists()
