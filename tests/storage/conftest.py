"""Stores to test: a folder, a bucket of a real S3 server, a container of an Azure server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.azure_server import ACCOUNT, KEY, AzureServer
from unlearn_ray.storage.store import Store, open_store

OpenStore = Callable[..., Store]


@pytest.fixture(scope="session")
def azure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """A running Azure server, with its credentials in this process's environment."""
    try:
        server = AzureServer(tmp_path_factory.mktemp("azure"))
    except FileNotFoundError as missing:
        pytest.fail(str(missing), pytrace=False)
    with pytest.MonkeyPatch.context() as environment, server:
        environment.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
        environment.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
        yield server


@pytest.fixture(params=["local", "s3", "azure"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new store of each kind."""
    if request.param == "local":
        return str(tmp_path / "store")
    url: str = request.getfixturevalue(f"{request.param}_server").store_url("some/prefix")
    return url


@pytest.fixture
def store(store_url: str) -> Store:
    return open_store(store_url)


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))
