"""Stores of each kind with a finished sweep in them, which searched two studies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.keeping.searched import SEARCHED, search
from tests.storage.conftest import azure_server, store_url
from tests.tiny import runtime, tiny_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.storage.store import Store, open_store

__all__ = ["azure_server", "store_url"]

Filled = Callable[[str], Store]


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sweep, Store]:
    """A finished sweep and its store, which no test changes."""
    folder = tmp_path_factory.mktemp("searched")
    sweep, here = tiny_sweep(folder, SEARCHED), runtime(folder / "store")
    search(sweep, here)
    return sweep, here.store


@pytest.fixture(scope="session")
def filled(searched: tuple[Sweep, Store]) -> Filled:
    """Copies that store to a URL."""

    def fill(url: str) -> Store:
        _, source = searched
        store = open_store(url, lease_seconds=2.0)
        for name in source.objects.names(""):
            if name != "identity":
                store.objects.write(name, source.objects.read(name))
        return store

    return fill


@pytest.fixture
def store(filled: Filled, store_url: str) -> Store:
    """A copy of that store, of each kind."""
    return filled(store_url)


@pytest.fixture
def local(filled: Filled, tmp_path: Path) -> Store:
    """A copy of that store in a folder."""
    return filled(str(tmp_path / "store"))
