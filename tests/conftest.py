"""What several rooms' tests share."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

from tests.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from tests.seeds import shift_seeds
from unlearn_ray.core import plugins


def pytest_addoption(parser: pytest.Parser) -> None:
    """A means to find tests that depend on one seed."""
    parser.addoption(
        "--shift-seeds", type=int, default=0, metavar="N",
        help="draw other random numbers in each test, by N (tests/seeds.py)",
    )  # fmt: skip


# What a busy machine takes long for is no failure; a test that hangs ends by pytest's timeout.
# Every run tries the same examples, unless HYPOTHESIS_PROFILE=random asks for others.
settings.register_profile("patient", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "patient"))


def pytest_configure(config: pytest.Config) -> None:
    """Seeds are moved before any test is imported, here and in processes of tests."""
    if shift := config.getoption("--shift-seeds"):
        os.environ["SHIFT_SEEDS"] = str(shift)
        shift_seeds(shift)
    import torch

    # Kernels for a GPU run in Triton's interpreter where there is none; Triton reads it once.
    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"


def pytest_report_header(config: pytest.Config) -> str:
    """Which kernels and numbers the tests run on: roundings differ between them."""
    import torch

    isa, threads = (os.environ.get(name) for name in ("ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS"))
    words = [
        torch.backends.cpu.get_cpu_capability(),
        f"at most {isa} in oneDNN" if isa else "",
        f"{torch.get_num_threads()} threads" + ("" if threads else ", 1 once an engine is set up"),
        f"seeds shifted by {shift}" if (shift := config.getoption("--shift-seeds")) else "",
    ]
    return "kernels: " + ", ".join(word for word in words if word)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """As many threads as are asked for: a module that sets up an engine leaves one to all."""
    if threads := os.environ.get("OMP_NUM_THREADS"):
        import torch

        torch.set_num_threads(int(threads))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a GPU are skipped where there is none."""
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def leases_end() -> Iterator[None]:
    """A lease that a test forgets would write to its store until the last test has ended."""
    before = set(threading.enumerate())
    yield
    held = [each for each in threading.enumerate() if each.name.startswith("lease ")]
    assert {each.name for each in held if each not in before} == set()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server, with its credentials in this process's environment."""
    folder = tmp_path_factory.mktemp("s3")
    try:
        server = S3Server(folder / "server")
    except FileNotFoundError as missing:
        pytest.fail(str(missing), pytrace=False)
    with pytest.MonkeyPatch.context() as environment, server:
        environment.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        environment.setenv("AWS_DEFAULT_REGION", REGION)
        # A developer's own profile must not reach the tests.
        environment.setenv("AWS_CONFIG_FILE", str(folder / "none"))
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "none"))
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            environment.delenv(name, raising=False)
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the distribution.

    Of one module: while it is open, an event loop runs in the main thread, beside which no other
    may start.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.fail("these tests open pages in Chromium: run `make browser`", pytrace=False)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(params=["local", "s3"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new store: a folder, and a bucket of a real server."""
    if request.param == "local":
        return str(tmp_path / "store")
    server: S3Server = request.getfixturevalue("s3_server")
    return server.store_url("some/prefix")


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


@pytest.fixture(scope="session")
def finished_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file tiny.yaml and the store of its finished sweep; not to be changed."""
    from tests.tiny import finish, runtime, tiny_sweep

    folder = tmp_path_factory.mktemp("finished")
    finish(tiny_sweep(folder), runtime(folder / "store"))
    return folder


@pytest.fixture
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has loaded none, and loads none for the next test."""
    monkeypatch.setattr(plugins, "_state", plugins._State())
    yield
    plugins.give([])
    plugins.use(())
