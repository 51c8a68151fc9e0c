"""Stores that these tests read, and never change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.takeaway.stores import finished
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.storage.store import Store, open_store


@dataclass(frozen=True)
class Finished:
    """A finished sweep, and its store."""

    sweep: Sweep
    store: Store
    folder: Path


@pytest.fixture(scope="session")
def sevens(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Classifiers of digits that forgot the sevens."""
    folder = tmp_path_factory.mktemp("sevens")
    sweep = finished(folder)
    return Finished(sweep, open_store(str(folder / "store")), folder)
