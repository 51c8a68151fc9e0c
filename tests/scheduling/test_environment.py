"""What Ray needs of this machine, and which cluster is meant: known before anything is spent."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.scheduling.sweeps import Driver, write_sweep
from unlearn_ray.core.errors import BadInput, ClusterError, MachineError
from unlearn_ray.scheduling.environment import named, prepare, starts_own_cluster


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR"):
        os.environ.pop(name, None)


def test_an_empty_address_is_none() -> None:
    assert starts_own_cluster(None)
    os.environ["RAY_ADDRESS"] = ""
    assert starts_own_cluster(None)
    assert named("auto") == ("--address auto", "auto")
    prepare(None)
    os.environ["RAY_ADDRESS"] = "127.0.0.1:9"
    assert not starts_own_cluster(None)
    with pytest.raises(ClusterError, match=r"^RAY_ADDRESS = 127.0.0.1:9: no Ray cluster answers"):
        prepare(None)
    with pytest.raises(BadInput, match=r"^--address : not the address of a Ray cluster"):
        prepare("")


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_that_is_too_long_for_sockets(variable: str, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 90)
    os.environ[variable] = str(long)
    with pytest.raises(MachineError) as refused:
        prepare(None)
    assert str(refused.value).startswith(f"temporary folder {long}: its path is too long for Ray")
    assert str(refused.value).endswith("set RAY_TMPDIR to a shorter one, such as /tmp")
    # The remedy is one, and Ray would be of the same mind.
    os.environ["RAY_TMPDIR"] = "/tmp"
    prepare(None)
    with socket.socket(socket.AF_UNIX) as unix, pytest.raises(OSError, match="AF_UNIX"):
        unix.bind(f"{long}/ray/session_2026-01-01_00-00-00_000000_1/sockets/plasma_store")


def test_the_longest_folder_is_one_that_ray_can_use(tmp_path: Path) -> None:
    os.environ["RAY_TMPDIR"] = "/tmp/" + "x" * 100
    with pytest.raises(MachineError) as refused:
        prepare(None)
    room = int(str(refused.value).partition("at most ")[2].split()[0])
    folder = "/tmp/" + "x" * (room - len("/tmp/"))
    longest = f"{folder}/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
    assert len(longest) == 107


def test_a_folder_that_cannot_be_written(read_only_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (read_only_folder, tmp_path / "file"):
        os.environ["TMPDIR"] = str(folder)
        with pytest.raises(MachineError, match=f"temporary folder {folder}: Ray cannot write.*; s"):
            prepare(None)


def test_a_full_folder(small_disk: Path) -> None:
    if not os.path.ismount(small_disk):
        pytest.skip("needs a file system of its own, which this user may not mount")
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(b"x" * (4 << 20))
    os.environ["TMPDIR"] = str(small_disk)
    with pytest.raises(MachineError, match=r"Ray cannot write into it .No space left on device"):
        prepare(None)


def test_empty_folders_are_as_good_as_none() -> None:
    os.environ |= {"RAY_TMPDIR": "", "TMPDIR": ""}
    prepare(None)
    assert not {"RAY_TMPDIR", "TMPDIR"} & os.environ.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ray_that_does_not_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = f"{taken.getsockname()[1]}"
        variables = {"RAY_GCS_SERVER_PORT": port, "RAY_py_gcs_connect_timeout_s": "3"}
        path = os.environ.get("PYTHONPATH", "")
        store = tmp_path / "store"
        file = write_sweep(tmp_path)
        with Driver(file, str(store), environment={**variables, "PYTHONPATH": path}) as driver:
            driver.ends(4)
            driver.leaves_nothing()
    (told,) = (line for line in driver.err.splitlines() if line.startswith("error: "))
    assert told.startswith("error: Ray on this machine: did not start, twice (")
    assert "; its logs are in /" in told
    assert "Traceback" not in driver.err
    assert driver.out.strip() == ""
