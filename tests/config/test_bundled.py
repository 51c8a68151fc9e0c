"""Sweeps that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.s3_server import ROOT
from tests.tiny import SWEEP
from unlearn_ray.cli.main import main
from unlearn_ray.config.bundled import bundled, purpose, sweep_path
from unlearn_ray.core.errors import Exit


def test_they_are_the_files_of_sweeps() -> None:
    folder = ROOT / "sweeps"
    files = {path.relative_to(folder) for path in folder.rglob("*.yaml")}
    names = {str(file).removesuffix(".yaml") for file in files}
    assert set(bundled()) == names
    assert "quickstart" in names


@pytest.mark.parametrize("name", bundled())
def test_each_says_what_it_is_for(name: str) -> None:
    assert 20 < len(purpose(bundled()[name])) <= 120


def test_a_plan_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "quickstart"]) == Exit.DONE
    assert "quickstart" in capsys.readouterr().out
    assert main(["plan", "quickstrat"]) == Exit.BAD_INPUT
    assert "no such file; did you mean quickstart?" in capsys.readouterr().err
    for path in ("quickstart.yaml", "sweeps/quickstart"):
        assert main(["plan", path]) == Exit.BAD_INPUT
        assert "error: " in capsys.readouterr().err


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sweep_path(Path("quickstart")) == bundled()["quickstart"]
    (tmp_path / "quickstart").write_text(SWEEP, encoding="utf-8")
    assert sweep_path(Path("quickstart")) == Path("quickstart")
    assert sweep_path(Path("a\0b")) == Path("a\0b")
