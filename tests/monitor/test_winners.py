"""The sweep file that a store keeps, and the one that runs its winners again."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import finish, run_references, runtime
from unlearn_ray.cli.results import yaml as command
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import BadInput, Exit
from unlearn_ray.monitor.kept_sweeps import kept_sweeps
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.monitor.winners import file_name, winners_text
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.scheduling.sampler import Sampler
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.history import TrialRecord, recorded_trials, winner, winners
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.rows import State
from unlearn_ray.studies.trial import TrialSeed, score

TEXT = """\
# Searched here.
dataset: {digits: {image_size: 8}}
validation: 0.5
forget_set: {random: {fraction: 0.1}}
model: {resnet8: {width: 4}}
family: simclr
training: {epochs: 1, batch_size: 128}
probe: {epochs: 2}
metrics: [retain_accuracy, test_accuracy]
methods:
  finetune: {epochs: 1, batch_size: 128, learning_rate: {log_uniform: [1e-4, 0.1]}}
  turned:
    neggrad:
      epochs: 1
      batch_size: 128
      learning_rate: {grid: [0.001, 0.01]}
      schedule: {choice: [cosine, constant]}
      momentum: {when: {schedule: cosine}, uniform: [0, 0.9], step: 0.3, otherwise: 0.5}
  gradient_ascent: {epochs: 1, batch_size: 128}
search: {trials: 3}
seeds: {tuning: [0], reporting: [1]}
"""
# What two runs of the same differ in.
VARYING = ("sweep", "study_key", "trial", "point", "created", "host", "row")


def search(sweep: Sweep, own: Runtime) -> None:
    """Run all trials of a sweep, and its winners on the reporting seeds, in this process."""
    for seed in (*sweep.seeds.tuning, *sweep.seeds.reporting):
        run_references(sweep, seed, own)
    for study in sweep.studies:
        objectives = len(sweep.objective.each())
        sampler = (
            Sampler(study.name, study.space, sweep.search, objectives) if study.space else None
        )
        for number in range(sweep.trials(study)):
            point = sampler.ask(None) if sampler else {}
            scored = score(TrialSeed.of(sweep, study, number, point, 0, "tuning"), own)
            assert scored.score is not None
            if sampler:
                sampler.tell(TrialRecord(number, point, (scored.score,), State.COMPLETE))
        for best in winners(recorded_trials(own.store.read_rows().to_pylist(), sweep, study)):
            score(TrialSeed.of(sweep, study, best.number, best.point, 1, "reporting"), own)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store of a finished sweep, and its winners' file."""
    folder = tmp_path_factory.mktemp("winners")
    path, store = folder / "tiny.yaml", open_store(str(folder / "store"))
    path.write_text(TEXT)
    sweep = load_sweep(path, ["seeds.tuning_replicates=1"], store.url)
    announce(make_plan(sweep, store), store, TEXT)
    search(sweep, runtime(store.url))
    assert printed(folder, "--winner", "--output", str(folder / "winners.yaml")) == Exit.DONE
    return folder


@pytest.fixture
def store(place: Path) -> Store:
    return open_store(str(place / "store"))


def printed(place: Path, *options: str) -> int:
    """Run `results yaml`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    command.arguments(parser)
    return command.run(parser.parse_args([str(place / "store"), "tiny", *options]))


def rows(store: Store, sweep: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows that enter the table, without what only says who wrote them."""
    return {
        (row["purpose"], row["study"], row["seed"]): {
            name: value
            for name, value in row.items()
            if name not in VARYING and "seconds" not in name and "hours" not in name
        }
        for row in store.read_rows().to_pylist()
        if row["sweep"] == sweep and row["purpose"] == "reporting"
    }


def trained(store: Store) -> set[str]:
    return {key for kind in ("pretrain", "retrain", "unlearn") for key in store.records(kind)}


def test_the_kept_file_is_the_sweep(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(place) == Exit.DONE
    again = tmp_path / "again.yaml"
    again.write_text(capsys.readouterr().out)
    expected = load_sweep(place / "tiny.yaml", store=str(place / "store"))
    assert load_sweep(again) == expected
    assert printed(place, "--as-written") == Exit.DONE
    assert capsys.readouterr().out == TEXT


def test_winners_run_again_train_nothing_on_the_same_store(place: Path, store: Store) -> None:
    before, old = trained(store), rows(store, "tiny")
    sweep = load_sweep(place / "winners.yaml")
    assert sweep.name == "tiny_winners"
    assert not any(study.space for study in sweep.studies)
    finish(sweep, runtime(store.url))
    assert trained(store) == before
    new = rows(store, "tiny_winners")
    assert new.keys() == old.keys()
    assert len(new) == 3
    for key, row in new.items():
        assert row == old[key]


def test_winners_run_elsewhere_have_the_same_rows(
    place: Path, store: Store, tmp_path: Path
) -> None:
    elsewhere = open_store(str(tmp_path / "elsewhere"))
    finish(load_sweep(place / "winners.yaml", store=elsewhere.url), runtime(elsewhere.url))
    assert rows(elsewhere, "tiny_winners") == rows(store, "tiny")


def test_winners_have_the_fields_of_the_best_trials_and_say_why(place: Path, store: Store) -> None:
    text = (place / "winners.yaml").read_text()
    searched = load_sweep(place / "tiny.yaml", store=store.url)
    listed = store.read_rows().to_pylist()
    for study, fixed in zip(
        searched.studies, load_sweep(place / "winners.yaml").studies, strict=True
    ):
        best = winner(recorded_trials(listed, searched, study))
        assert best is not None
        assert fixed.name == study.name
        assert fixed.at({}) == study.at(best.point)
        if study.space:
            assert f"  # trial {best.number} of 3, 3 complete; score {best.score:.4g}; " in text
    assert "  # nothing searched; score" in text
    assert "    # average gap" not in text
    assert "  # average gap" in text
    assert f"revision {searched.studies[0].method.revision}" in text
    assert all(name in text for name in ("# Made on: cpu", "torch ", "tuning seeds 0"))
    view = plan_view(make_plan(load_sweep(place / "winners.yaml"), store), store.url)
    assert view.count("1 trial, nothing searched") == 3


def test_a_released_file_is_named_after_its_problem_and_names_no_store(
    place: Path, store: Store, tmp_path: Path
) -> None:
    (kept,) = kept_sweeps(store, "tiny")
    assert file_name(kept) == "digits-simclr-random-0.1.yaml"
    assert printed(place, "--winner", "--release", str(tmp_path)) == Exit.DONE
    released = tmp_path / "digits-simclr-random-0.1.yaml"
    assert str(place) not in released.read_text()
    assert load_sweep(released).store == "./store"
    taken = tmp_path / "taken.yaml"
    head, _, rest = TEXT.partition("methods:")
    end = rest[rest.index("search:") :]
    taken.write_text(f"{head}methods: {{finetune: {{from: {released}}}}}\n{end}")
    (study,) = load_sweep(taken).studies
    assert study.at({}) == load_sweep(place / "winners.yaml").studies[0].at({})


def test_every_member_of_a_front_is_a_study(place: Path, store: Store, tmp_path: Path) -> None:
    sets = ["name=fronts", "objective=[average_gap, unlearning_seconds]", "search.trials=5"]
    sweep = load_sweep(place / "tiny.yaml", sets, store.url)
    announce(make_plan(sweep, store), store)
    search(sweep, runtime(store.url))
    (kept,) = kept_sweeps(store, "fronts")
    file = tmp_path / "winners.yaml"
    file.write_text(winners_text(kept, store))
    fixed = {study.name: study for study in load_sweep(file).studies}
    listed = store.read_rows().to_pylist()
    for study in sweep.studies:
        members = winners(recorded_trials(listed, sweep, study))
        names = [study.name, *(f"{study.name}_{number}" for number in range(2, 9))]
        assert [fixed.pop(name).at({}) for name in names[: len(members)]] == [
            study.at(member.point) for member in members
        ]
    assert not fixed
    started = {"search.start_from": [f"{store.url}/fronts"]}
    again = make_plan(
        load_sweep(place / "tiny.yaml", [f"{k}={v}" for k, v in started.items()]), store
    )
    (searched, *_) = again.sweep.studies
    assert [*again.sweep.starts(searched)] == [
        member.point for member in winners(recorded_trials(listed, sweep, sweep.studies[0]))
    ]


def test_a_changed_file_is_another_version(tmp_path: Path, capsys: Any) -> None:
    store, path = open_store(str(tmp_path / "store")), tmp_path / "tiny.yaml"
    for trials in (3, 4, 3):
        path.write_text(TEXT.replace("trials: 3", f"trials: {trials}"))
        announce(make_plan(load_sweep(path), store), store, path.read_text())
    three, four = kept_sweeps(store, "tiny")
    assert "  trials: 3\n" in three.yaml
    assert "  trials: 4\n" in four.yaml
    assert three.started > four.started
    assert printed(tmp_path) == Exit.DONE
    told = capsys.readouterr()
    assert told.out.endswith(three.yaml)
    assert told.err == f"1 earlier version of the file in the store: --key {four.key}\n"
    assert printed(tmp_path, "--key", four.key[:6]) == Exit.DONE
    assert capsys.readouterr().out.endswith(four.yaml)
    with pytest.raises(BadInput, match="no version starts with it"):
        printed(tmp_path, "--key", "zzz")
    with pytest.raises(BadInput, match="no study has a complete trial"):
        printed(tmp_path, "--winner")


def test_what_is_not_kept_or_damaged_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, path = open_store(str(tmp_path / "store")), tmp_path / "tiny.yaml"
    path.write_text(TEXT)
    announce(make_plan(load_sweep(path), store), store)
    (kept,) = kept_sweeps(store, "tiny")
    with pytest.raises(BadInput, match="this store keeps no file of such a sweep; did you mean"):
        kept_sweeps(store, "tinny")
    with pytest.raises(BadInput, match="it was not run from a file"):
        printed(tmp_path, "--as-written")
    name = f"sweep_files/tiny/{kept.key}.json"
    altered = json.loads(store.objects.read(name))
    store.objects.write(name, json.dumps({**altered, "yaml": "name: tiny"}).encode())
    with pytest.raises(BadInput, match="keeps no file"):
        kept_sweeps(store, "tiny")
    store.objects.write(name, b"{")
    with pytest.raises(BadInput, match="keeps no file"):
        kept_sweeps(store, "tiny")
    assert name in caplog.text
