"""Stores to test: a folder, and a bucket of a real S3 server."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unlearn_ray.storage.store import Store, open_store

OpenStore = Callable[..., Store]


@pytest.fixture(params=["local", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "store")
    return request.getfixturevalue("s3_server").store_url("some/prefix")


@pytest.fixture
def store(store_url: str) -> Store:
    return open_store(store_url)


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def mount(folder: Path, *options: str) -> bool:
    """Mount memory as a file system, where that is permitted."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    permitted = os.getuid() == 0 and shutil.which("mount") is not None
    return permitted and subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in which a file of 1 MB fits, and one of 4 MB does not."""
    folder = tmp_path / "disk"
    if mount(folder, "size=3m"):
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, hard))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder in which this user cannot write."""
    folder = tmp_path / "read-only"
    if mount(folder, "size=1m", "ro"):
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    if os.getuid() == 0:
        pytest.skip("root may write everywhere, and may not mount here")
    folder.chmod(0o500)
    yield folder
    folder.chmod(0o700)
