"""docs/plugins.md: its files work, each of its three ways, and give the same keys."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.own_project import distribution
from unlearn_ray.cli.main import main
from unlearn_ray.core import plugins
from unlearn_ray.core.errors import Exit

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/plugins.md").read_text()
FILES = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's files."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "_state", plugins._State())
    yield tmp_path
    plugins.give([])
    plugins.use(())


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["plan", "sweep.yaml", *words]) == Exit.DONE
    return capsys.readouterr().out


def test_three_ways(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = planned(capsys)
    assert "my_method: 20 trials over learning_rate, retain_weight; 20 to run" in first
    line = "plugins: [./my_method.py]"
    assert FILES["sweep.yaml"].count(line) == 1
    (home / "sweep.yaml").write_text(FILES["sweep.yaml"].replace(line, "plugins: []"))
    assert main(["plan", "sweep.yaml"]) == Exit.BAD_INPUT
    assert "unknown method" in capsys.readouterr().err
    assert planned(capsys, "--plugin", "my_method.py") == first

    points = tomllib.loads(FILES["pyproject.toml"])["project"]["entry-points"][plugins.GROUP]
    distribution(home / "site", "my-methods", *points.values())
    plugins.give([])
    plugins.use(())
    (home / "my_method.py").rename(home / "site/my_method.py")
    monkeypatch.syspath_prepend(str(home / "site"))
    monkeypatch.setattr(plugins, "_state", plugins._State())
    assert planned(capsys) == first


def test_its_commands_are_commands() -> None:
    commands = re.findall(r"^unlearn-ray (.*?)(?: +#.*)?$", PAGE, re.MULTILINE)
    assert len(commands) == 7
    for command in commands:
        with pytest.raises(SystemExit, match="0"):
            main([*command.replace("FILE", "x").split(), "--help"])


def test_its_test_file(home: Path) -> None:
    named = "fields_are_documented or says_in_words"
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", named]
    done = subprocess.run(
        [*program, "test_my_method.py"], cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed, " in done.stdout
