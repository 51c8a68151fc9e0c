"""A machine with nothing but Ray, and a clone of the project to submit from there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.files import ROOT, pinned
from tests.scheduling.conftest import uninterrupted
from tests.scheduling.sweeps import write_sweep

__all__ = ["uninterrupted"]


@pytest.fixture(scope="session")
def only_ray(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with nothing but ray[default]."""
    folder = tmp_path_factory.mktemp("only-ray")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    programs = folder / "bin"
    install = [str(programs / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, f"ray[default]=={pinned('ray')}"], check=True, timeout=600)
    for package in ("unlearn_ray", "torch", "boto3"):
        found = subprocess.run(
            [str(programs / "python"), "-c", f"import {package}"], cwd=folder, capture_output=True
        )
        assert found.returncode != 0, f"{package} is no part of ray[default]"
    return programs


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone of the project holds, and the sweep tiny.yaml."""
    folder = tmp_path_factory.mktemp("clone")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in names.split("\0"):
        if name and (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    write_sweep(folder)
    return folder
