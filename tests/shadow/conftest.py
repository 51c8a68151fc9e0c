"""Groups of cases, each run once, in a process in which torch has a shadow device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.shadow.build import CannotBuild, built

Found = dict[str, dict[str, Any]]
Shadow = Callable[[str], Found]


@pytest.fixture(scope="session")
def shadow(tmp_path_factory: pytest.TempPathFactory) -> Shadow:
    """What each case of a group found, by its name; see `tests.shadow.run`."""
    try:
        built()
    except CannotBuild as reason:
        pytest.fail(str(reason), pytrace=False)

    @cache
    def found(group: str) -> Found:
        file = tmp_path_factory.mktemp("shadow") / f"{group}.json"
        command = [sys.executable, "-m", "tests.shadow.run", group, str(file)]
        # Shifting seeds would import torch before the device is there.
        environment = {name: value for name, value in os.environ.items() if name != "SHIFT_SEEDS"}
        root = Path(__file__).parents[2]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"{' '.join(command)}\n{done.stderr[-3000:]}", pytrace=False)
        cases: Found = json.loads(file.read_text(encoding="utf-8"))
        return cases

    return found
