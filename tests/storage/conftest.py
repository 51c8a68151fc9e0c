"""Stores to test: a folder, and a bucket of a real S3 server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from unlearn_ray.storage.store import Store, open_store

OpenStore = Callable[..., Store]


@pytest.fixture
def store(store_url: str) -> Store:
    return open_store(store_url)


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))
