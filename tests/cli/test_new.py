"""`unlearn-ray new` and `unlearn-ray check`: what is written works, and what is wrong is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.own_project import KINDS, distribution, write_part
from unlearn_ray.cli.main import main
from unlearn_ray.core import plugins
from unlearn_ray.core.errors import Exit

ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.usefixtures("no_plugins")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_can_be_planned(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", kind, "mine_2", "--folder", "lab"]) == Exit.DONE
    said = capsys.readouterr().out
    assert "wrote lab/mine_2.py\nwrote lab/mine_2.yaml\nwrote lab/test_mine_2.py\n" in said
    assert "unlearn-ray check lab/mine_2.py " in said
    assert main(["plan", "lab/mine_2.yaml"]) == Exit.DONE
    said = capsys.readouterr().out
    assert "finetune: 3 trials over learning_rate; 3 to run" in said
    assert ("mine_2: 3 trials" in said) == (kind == "method")


def test_what_is_written_is_tidy(tmp_path: Path) -> None:
    for kind, name in KINDS.items():
        write_part(kind, name, tmp_path)
    rules = ["--isolated", "--line-length=100", "--select=A,B,D1,E,F,I,N,PT,RUF,S,SIM,UP,W"]
    rules += ["--ignore=S101,D107"]
    for command in (["check", *rules], ["format", "--isolated", "--line-length=100", "--check"]):
        program = [sys.executable, "-m", "ruff", *command, "."]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_nothing_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_mine.py").write_text("mine")
    assert main(["new", "method", "mine", "--folder", str(tmp_path)]) == Exit.BAD_INPUT
    assert f"{tmp_path}/test_mine.py: this file exists; choose an" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["test_mine.py"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Mine", "a name has small letters, digits"),
        ("my-method", "a name has small letters"),
        ("class", "a name has small letters"),
        ("random", "an installed package or module of Python has this name"),
        ("torch", "an installed package or module"),
        ("scrub", "there is a method of this name"),
    ],
)
def test_names_that_cannot_be(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "method", name, "--folder", str(tmp_path)]) == Exit.BAD_INPUT
    assert f"NAME = {name}: {said}" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_passes_the_check(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_part(kind, KINDS[kind], tmp_path)
    capsys.readouterr()
    status = main(["check", str(file)])
    said = capsys.readouterr().out
    assert status == Exit.DONE, said
    assert said.startswith(f"{kind} {KINDS[kind]}\n  passed  name is snake case\n")
    assert "FAILED" not in said
    if kind == "method":
        assert "has finite losses and gradients (byol, clip, moco," in said


def test_what_is_wrong_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_part("model", "own_net", tmp_path)
    text = file.read_text().replace("        width: channels", "        size: channels")
    text = text.replace("4 * width entries", "many entries")
    file.write_text(text.replace("self.feature_size = 4 * width", "self.feature_size = width"))
    assert main(["check", str(file)]) == Exit.SOME_FAILED
    said = capsys.readouterr().out
    assert "  FAILED  fields are documented\n          document these fields in the" in said
    assert "  FAILED  gives features\n" in said
    assert "  passed  can be trained\n" in said
    assert said.endswith("2 checks failed\n")
    assert main(["check", str(tmp_path / "none.py")]) == Exit.BAD_INPUT


def test_origins_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, kind in (("own_net", "model"), ("own_metric", "metric")):
        write_part(kind, name, tmp_path)
    distribution(tmp_path / "site", "broken-parts", "gone_parts")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(plugins, "_state", plugins._State())
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["list", "--plugin", "own_net.py", "--plugin", "./own_metric.py"]) == Exit.DONE
    said = capsys.readouterr().out
    assert f"[plug-in {tmp_path}/own_net.py]\n      width: whole number > 0 = 16\n" in said
    assert f"[plug-in {tmp_path}/own_metric.py]\n" in said
    assert "\nentry point gone_parts of broken-parts 1.0: cannot be imported: Module" in said
    assert "  plugins: list of text = []\n" in said


def test_without_pytest_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_part("metric", "own_metric", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["check", str(file)]) == Exit.MACHINE
    assert "pip install 'unlearn_ray[testing]'" in capsys.readouterr().err
