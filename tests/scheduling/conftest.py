"""One uninterrupted run of the tiny sweep, which the tests of this folder compare theirs with."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.sweeps import Driver, rows, table, write_sweep


@dataclass(frozen=True)
class Uninterrupted:
    """What an undisturbed run left and printed."""

    file: Path
    store: str
    rows: list[dict[str, Any]]
    table: list[str]

    def trained_references(self, store: Path) -> str:
        """A new store that holds the trained reference models and nothing else."""
        for kind in ("pretrain", "retrain"):
            for what in ("records", "artifacts"):
                shutil.copytree(Path(self.store) / what / kind, store / what / kind)
        return str(store)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    folder = tmp_path_factory.mktemp("uninterrupted")
    file, store = write_sweep(folder), str(folder / "store")
    with Driver(file, store) as driver:
        driver.ends(0)
        return Uninterrupted(file, store, rows(store), table(driver.out))
