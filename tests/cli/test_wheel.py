"""The wheel in fresh environments: light, and with what runs sweeps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.results.rows import replicated_sweep
from tests.s3_server import ROOT, S3Server
from unlearn_ray.config.bundled import bundled
from unlearn_ray.core.errors import Exit
from unlearn_ray.storage.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
AWAY = {"original": 10.0, "finetune": 4.0}
BUILT = ("pyproject.toml", "README.md", "LICENSE", "unlearn_ray", "sweeps")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder is left here."""
    folder = tmp_path_factory.mktemp("source")
    for name in BUILT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True)
        else:
            shutil.copy2(ROOT / name, folder / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(folder / "dist"), str(folder)], check=True)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, its dependencies and those of S3."""
    folder = tmp_path_factory.mktemp("light")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, *constraints, f"{wheel}[s3]"], check=True, timeout=1200)
    return folder / "bin"


def run(programs: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(programs / "unlearn-ray"), *words],
        cwd=folder, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


def test_it_holds_the_bundled_sweeps(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"unlearn_ray/sweeps/{name}.yaml" for name in bundled()} <= names
    assert {"unlearn_ray/reporting/columns.json", "unlearn_ray/py.typed"} <= names
    assert not any(name.startswith(("tests/", "sweeps/")) for name in names)


def test_results_are_read_without_torch_and_ray(
    light: Path, tmp_path: Path, s3_server: S3Server
) -> None:
    for name in ("torch", "ray", "sklearn", "optuna"):
        found = subprocess.run([str(light / "python"), "-c", f"import {name}"], capture_output=True)
        assert found.returncode != 0
    for url in (str(tmp_path / "store"), s3_server.store_url("prefix")):
        opened = open_store(url)
        for number, row in enumerate(replicated_sweep(5, AWAY)):
            opened.write_row(f"row{number:03}", row)
        compared = run(light, tmp_path, "results", url, "compare")
        assert (compared.returncode, compared.stderr) == (0, "")
        assert "Evidence" in compared.stdout
        answer = run(light, tmp_path, "results", url, "query", "SELECT study FROM winners")
        assert (answer.returncode, answer.stderr) == (0, "")
    refused = run(light, tmp_path, "run", "quickstart")
    assert refused.returncode == Exit.MACHINE
    assert "pip install 'unlearn_ray[run]'" in refused.stderr
    assert run(light, tmp_path, "--version").stdout.startswith("unlearn_ray ")


def test_the_full_installation_runs_a_bundled_sweep(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By its name, in an environment with what pip installs for it and nothing of this folder."""
    folder = tmp_path_factory.mktemp("full")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, *constraints, f"{wheel}[run,clip,s3]"], check=True, timeout=1200)
    planned = run(folder / "bin", folder, "plan", "quickstart")
    assert (planned.returncode, planned.stderr) == (0, "")
    assert "quickstart" in planned.stdout
    options = ["--set", "search.trials=2", "--set", "seeds.replicates=1"]
    done = run(folder / "bin", folder, "run", "quickstart", *options)
    assert done.returncode == 0, done.stderr
    assert "quickstart: digits" in done.stdout
    again = run(folder / "bin", folder, "results", "store", "compare")
    assert again.stdout == done.stdout
