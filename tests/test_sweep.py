"""`python -m unlearn_ray.sweep`: what it says and where it looks, without running anything."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.tiny import SWEEP
from unlearn_ray.config.describe import CONTRACTS
from unlearn_ray.core.registry import parts
from unlearn_ray.families.base import Family
from unlearn_ray.methods.base import Method
from unlearn_ray.sweep import main

ROOT = Path(__file__).parents[1]
# CPU time, which other load on the machine changes little.
PLAN_SECONDS = 5.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SWEEP, encoding="utf-8")
    return path


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


@pytest.mark.parametrize("arguments", [[], ["plan"]])
def test_without_a_file_it_explains_itself(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    for words in ("usage: ", "plan FILE", "--set KEY=VALUE", "examples:", "exit status: 0 done"):
        assert words in said.err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "ray job submit" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"unlearn_ray {version('unlearn_ray')}\n"


def test_list_names_every_part_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "--list").splitlines()
    headings = [line for line in lines if line and not line.startswith(" ")]
    sweep, *kinds, last = headings
    assert sweep.startswith("sweep ")
    assert kinds == [
        "dataset",
        "forget set",
        "model",
        "family",
        "method",
        "metric",
        "objective",
        "score",
        "logger",
        "bundled sweeps",
    ]
    listed = lines[lines.index(kinds[0]) : lines.index(kinds[-1])]
    named = [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "]
    assert named == [name for contract in CONTRACTS for name in parts(contract)]
    assert all(len(line) < 200 for line in lines)
    assert last == "what each method can unlearn (c: whole classes, s: samples)"
    head, *rows = (line.split() for line in lines[lines.index(last) + 1 :])
    assert head == ["method", *parts(Family), "paper"]
    assert [row[0] for row in rows] == list(parts(Method))


PROGRAM = """\
import json, sys
from unlearn_ray.sweep import main

statuses = [main(["plan", file, "--store", sys.argv[1]]) for file in sys.argv[2:]]
import torch

print(json.dumps([statuses, torch.cuda.is_initialized(), sorted(sys.modules)]), file=sys.stderr)
"""


def test_a_plan_is_quick_and_touches_no_device(tmp_path: Path) -> None:
    sweeps = [str(ROOT / "sweeps" / name) for name in ("ac_svhn.yaml", "ac_cifar.yaml")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "store"), *sweeps],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    *_, answer = done.stderr.splitlines()  # what this machine lacks is said before
    statuses, device, modules = json.loads(answer)
    assert statuses == [0, 0]
    assert not device
    unneeded = {"ray", "torchvision", "sklearn", "scipy", "pandas", "optuna", "boto3", "duckdb"}
    assert unneeded.isdisjoint(modules)
    kinds = "8 pretrain, 8 retrain, 8 samples, 56 observe, 95 measure"
    assert done.stdout.count(f"To run: 175 of 175 reference steps ({kinds}), 250 trials.") == 2
    assert not (tmp_path / "store").exists()
    spent = sum(getattr(after, f) - getattr(before, f) for f in ("ru_utime", "ru_stime"))
    assert spent < PLAN_SECONDS


def test_a_plan_knows_what_is_in_the_store(
    finished_sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = finished_sweep / "tiny.yaml"
    store = tmp_path / "store"
    shutil.copytree(finished_sweep / "store", store)
    finished = printed(capsys, "plan", file, "--store", store)
    # Of both seeds two trainings and the samples, three models measured, and the winner's report.
    assert finished.count("in the store\n") == 2 * 3 + 3 + 1
    assert "  finetune: 1 trial, nothing searched; in the store 1 complete; 0 to run" in finished
    assert finished.endswith("Nothing is left to run.\n")

    more = printed(capsys, "plan", file, "--store", store, "--set", "seeds.reporting=[1, 2]")
    assert (
        "To run: 9 of 24 reference steps (1 pretrain, 1 retrain, 1 samples, 2 observe, 4 measure), "
        in more
    )
    shutil.rmtree(store / "records" / "pretrain")
    lost = printed(capsys, "plan", file, "--store", store)
    assert "To run: 2 of 15 reference steps (2 pretrain), 0 trials." in lost


def test_a_finished_sweep_shows_its_table_at_once(
    finished_sweep: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "unlearn_ray.scheduling.driver", None)
    assert main([str(finished_sweep / "tiny.yaml"), "--store", f"{finished_sweep}/store"]) == 0
    said = capfd.readouterr()
    assert said.err.startswith("Nothing to train: all 15 reference steps and 1 trial of tiny are")
    assert [line.split()[0] for line in said.out.splitlines()[5:8]] == [
        "retrain", "original", "finetune",
    ]  # fmt: skip


def test_the_option_names_the_store_then_set_then_the_file(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def store(*options: str) -> str:
        return printed(capsys, "plan", file, *options).splitlines()[0]

    assert store() == f"Sweep tiny on {tmp_path}/store"
    file.write_text(f"store: {tmp_path}/of-the-file\n{SWEEP}", encoding="utf-8")
    assert store() == f"Sweep tiny on {tmp_path}/of-the-file"
    assert store("--set", "store=./set") == f"Sweep tiny on {tmp_path}/set"
    assert store("--set", "store=./set", "--store", "given") == f"Sweep tiny on {tmp_path}/given"
    assert store("--store", "given", "--set", "store=./set") == f"Sweep tiny on {tmp_path}/given"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.yaml"]


def test_where_it_runs_changes_no_key(
    file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plan = printed(capsys, "plan", file, "--store", tmp_path / "a")
    other = printed(
        capsys, "plan", file, "--store", tmp_path / "b",
        "--set", "resources={training: {workers: {min: 1, max: 4}, threads: 2}, trial: {cpu: 0.5}}",
        "--set", "checkpoint_minutes=1",
    )  # fmt: skip
    assert plan.splitlines()[1:] == other.splitlines()[1:]
    changed = printed(capsys, "plan", file, "--store", tmp_path / "a", "--set", "training.epochs=2")
    assert plan.splitlines()[3:10] != changed.splitlines()[3:10]


def test_a_plan_says_that_named_samples_are_not_held_out(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = tmp_path / "ids.txt"
    named = [3, 14, 159, 265, 358, 979]
    ids.write_text("".join(f"{number}\n" for number in named))
    plan = printed(capsys, "plan", file, "--set", f"forget_set={{ids: {{file: {ids}}}}}")
    assert "6 samples, named one by one: none of them is held out for validation\n" in plan
    assert "6 of 719 samples that are trained on" in plan
    assert "named one by one" not in printed(capsys, "plan", file)
