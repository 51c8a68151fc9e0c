"""`unlearn-ray slurm`: what it writes is a script that sbatch and bash take."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.files import CLUSTER, ROOT
from unlearn_ray.cli.main import main
from unlearn_ray.cli.slurm import minutes
from unlearn_ray.core.errors import Exit

SWEEP = str(ROOT / "sweeps" / "quickstart.yaml")
# What wrote the script of cluster/, in the project's folder.
EXAMPLE = (
    *("sweeps/ac_cifar.yaml", "--partition", "gpu", "--time", "24:00:00", "--nodes", "2"),
    *("--gpus", "4", "--environment", ".venv"),
)


def written(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["slurm", *options]) == Exit.DONE
    return capsys.readouterr().out


def options_of(script: str) -> list[str]:
    lines = script.splitlines()
    return [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]


def command_of(script: str) -> list[str]:
    (line,) = [line for line in script.splitlines() if line.startswith("RAY_ADDRESS=")]
    return shlex.split(line)[1:-1]


def test_the_example_is_what_the_command_writes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert written(capsys, *EXAMPLE) == (CLUSTER / "slurm.sbatch").read_text()


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (("--nodes", "4"), ["--nodes=4", "--exclusive", "--mem=0"]),
        (("--cpus", "8"), ["--nodes=1", "--cpus-per-task=8"]),
        (("--gpus", "a100:2", "--memory", "64G"), ["--gpus-per-node=a100:2", "--mem=64G"]),
        (("--jobs", "16"), ["--array=1-16", "--output=%x-%A_%a.log"]),
        (("--sbatch=--account=lab", "--partition", "gpu"), ["--account=lab", "--partition=gpu"]),
    ],
)
def test_what_slurm_is_asked(
    given: tuple[str, ...], asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = options_of(written(capsys, SWEEP, *given))
    assert set(asked) <= set(options)
    assert {"--requeue", "--signal=B:USR1@300", "--open-mode=append"} <= set(options)
    assert ("--no-kill" in options) == ("--nodes=4" in options)
    assert ("--exclusive" in options) == ("--cpus" not in given)
    assert any(one.startswith("--array") for one in options) == ("--jobs" in given)


@pytest.mark.parametrize("hostile", ["it's $(touch x)", 'a"b', "a b;c", "`x`", "$HOME"])
def test_words_reach_the_sweep_as_they_are(
    hostile: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script = written(capsys, SWEEP, "--store", hostile, "--environment", f"/{hostile}")
    assert command_of(script)[-2:] == ["--store", hostile]
    (path,) = [line for line in script.splitlines() if line.startswith("export PATH=")]
    shown = ["bash", "-c", f'PATH=/bin; {path}; echo "$PATH"']
    assert subprocess.run(shown, capture_output=True, text=True, cwd=tmp_path).stdout == (
        f"/{hostile}/bin:/bin\n"
    )


def test_changes_and_plugins_are_handed_on(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    changes = ["--set", "search.trials=3", "--set", "seeds.replicates=2"]
    command = command_of(written(capsys, SWEEP, *changes))
    assert command == ["python", "-m", "unlearn_ray", "run", SWEEP, *changes]


@pytest.mark.parametrize("given", [(), ("--jobs", "3", "--before", "module load cuda")])
def test_the_script_is_sound(
    given: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.sbatch"
    assert main(["slurm", SWEEP, *given, "--output", str(file)]) == Exit.DONE
    assert capsys.readouterr().out == ""
    checker = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([checker, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert ("module load cuda" in file.read_text()) == bool(given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--nodes", "0"), "--nodes 0: less than one"),
        (("--jobs", "-1"), "--jobs -1: less than one"),
        (("--time", "soon"), "--time soon: sbatch does not take it"),
        (("--time", "10"), "--time 10: the sweep is asked to save its work 5 minutes before"),
        (("--partition", "a b"), "--partition a b: sbatch does not take it"),
        (("--before", "a\nb"), "it is not one printable line"),
        (("--set", "search.trails=1"), "did you mean trials"),
        (("--set", "resources.trial.gpu=0.5"), "request 0.5 of them"),
    ],
)
def test_what_is_refused(
    given: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "job.sbatch"
    assert main(["slurm", SWEEP, "--output", str(file), *given]) == Exit.BAD_INPUT
    assert said in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("90", 90),
        ("90:30", 90.5),
        ("1:30:00", 90),
        ("1-0", 1440),
        ("1-2", 1560),
        ("1-2:30", 1590),
        ("1-2:30:30", 1590.5),
        ("0", 0),
    ],
)
def test_minutes_of_a_limit(time: str, expected: float) -> None:
    assert minutes(time) == pytest.approx(expected)
