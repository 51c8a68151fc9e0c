"""One uninterrupted run of the tiny sweep, which the tests of this folder compare theirs with."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.sweeps import SWEEP, Driver, rows, table, write_sweep
from unlearn_ray.storage.store import open_store


@dataclass(frozen=True)
class Uninterrupted:
    """What an undisturbed run left and printed."""

    file: Path
    store: str
    rows: list[dict[str, Any]]
    table: list[str]

    def trained_references(self, store: Path, *, but_one: bool = False) -> str:
        """A new store with the trained reference models alone; `but_one` lacks one pretraining."""
        for kind in ("pretrain", "retrain"):
            for what in ("records", "artifacts"):
                shutil.copytree(Path(self.store) / what / kind, store / what / kind)
        if but_one:
            (store / f"records/pretrain/{self.one_pretraining}.json").unlink()
            shutil.rmtree(store / f"artifacts/pretrain/{self.one_pretraining}")
        return str(store)

    @property
    def one_pretraining(self) -> str:
        """The key of the tuning seed's; the studies wait for it."""
        store = open_store(self.store)
        records = [store.record("pretrain", key) for key in store.records("pretrain")]
        seed = SWEEP["seeds"]["tuning"][0]
        return next(one.key for one in records if one is not None and one.config["seed"] == seed)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    folder = tmp_path_factory.mktemp("uninterrupted")
    file, store = write_sweep(folder), str(folder / "store")
    with Driver(file, store) as driver:
        driver.ends(0)
        return Uninterrupted(file, store, rows(store), table(driver.out))
