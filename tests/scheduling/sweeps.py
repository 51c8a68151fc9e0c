"""A tiny sweep, run as a person runs it: `python -m unlearn_ray.sweep` in a process of its own."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from unlearn_ray.storage.store import open_store

# Pretraining lasts seconds, so that it can be killed in its middle.
SWEEP: dict[str, Any] = {
    "name": "tiny",
    "dataset": {"digits": {"image_size": 8}},
    "validation": 0.5,
    "forget_set": {"random": {"fraction": 0.2}},
    "model": {"resnet8": {"width": 4}},
    "family": {"simclr": {"augmentation": {"flip": 0}}},
    "training": {"epochs": 25, "batch_size": 64, "learning_rate": 0.06},
    "probe": {"epochs": 5, "batch_size": 64},
    "metrics": ["retain_accuracy", "test_accuracy", "forget_accuracy"],
    "methods": {
        "finetune": {
            "epochs": 1,
            "batch_size": 64,
            "learning_rate": {"log_uniform": [0.0001, 0.1]},
        },
        "neggrad": {
            "epochs": 1,
            "batch_size": 64,
            "learning_rate": {"log_uniform": [0.0001, 0.1]},
        },
    },
    "search": {"trials": 3, "startup": 1, "window": 2},
    "seeds": {"tuning": [0], "reporting": [1]},
}
TRAININGS = ("pretrain", "retrain", "unlearn")
RUN_SECONDS = 600
MARK = "UNLEARN_RAY_TEST_DRIVER"
_VARYING = (
    "created",
    "host",
    "unlearning_compute_seconds",
    "retraining_compute_seconds",
    "evaluation_seconds",
    "accelerator_hours_unlearn",
    "accelerator_hours_measure",
)


def write_sweep(folder: Path, **changes: Any) -> Path:
    """A sweep file of `SWEEP`, with some of its fields changed."""
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump({**SWEEP, **changes}))
    return file


class Driver:
    """A running sweep, alone in its process group; a context manager that leaves nothing behind.

    Args:
        file: the sweep.
        store: its URL.
        options: further ones of the command.
        environment: variables beside this process's own.
        program: what Python is to run with the sweep's arguments.
    """

    def __init__(
        self,
        file: Path,
        store: str,
        *options: str,
        environment: dict[str, str] | None = None,
        program: Sequence[str] = ("-m", "unlearn_ray.sweep"),
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.log = file.parent / f"driver-{self.mark[:8]}"
        self.log.mkdir()
        self.started = time.monotonic()
        with (self.log / "out").open("wb") as out, (self.log / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *program, str(file), "--store", store, *options],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=file.parent,
                env={**environment_of(self.mark), **(environment or {})},
                start_new_session=True,
            )

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *exception: object) -> None:
        kill_marked(self.mark)
        self.process.wait()

    @property
    def out(self) -> str:
        """What it has written to stdout."""
        return (self.log / "out").read_text()

    @property
    def err(self) -> str:
        """What it has written to stderr."""
        return (self.log / "err").read_text()

    def told(self) -> str:
        """Both, for a message."""
        return f"\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    def processes(self) -> list[int]:
        """It and whatever it has started, wherever in the process tree that is now."""
        return marked(self.mark)

    def until(self, condition: Callable[[], bool], what: str, seconds: float = RUN_SECONDS) -> None:
        """Wait for something that happens while the driver runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                pytest.fail(f"ended ({self.process.returncode}) before {what}{self.told()}")
            if time.monotonic() > deadline:
                pytest.fail(f"{what}: not within {seconds:.0f} s{self.told()}")
            time.sleep(0.02)

    def ends(self, status: int, seconds: float = RUN_SECONDS) -> Driver:
        """Wait for the end, which has this status."""
        try:
            found = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {seconds:.0f} s{self.told()}")
        assert found == status, f"exit status {found}{self.told()}"
        return self

    def kill(self) -> None:
        """kill -9 of the whole process group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def leaves_nothing(self, seconds: float = 120) -> None:
        """Wait until nothing runs any more of what it has started."""
        deadline = time.monotonic() + seconds
        while left := self.processes():
            if time.monotonic() > deadline:
                names = [Path(f"/proc/{pid}/cmdline").read_bytes()[:80] for pid in left]
                pytest.fail(f"{len(left)} processes are left: {names}")
            time.sleep(0.1)


def rows(store: str) -> list[dict[str, Any]]:
    """All rows, by name, without what differs between two runs of the same."""
    return [
        {name: _comparable(value) for name, value in row.items() if name not in _VARYING}
        for row in open_store(store).read_rows().to_pylist()
    ]


def _comparable(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def weights(store: str) -> dict[str, str]:
    """SHA-256 of the weights of every training that is complete, by `kind/key`."""
    opened = open_store(store)
    return {
        f"{kind}/{key}": record.files["model.safetensors"].sha256
        for kind in TRAININGS
        for key in opened.records(kind)
        if (record := opened.record(kind, key)) is not None
    }


def table(out: str) -> list[str]:
    """A printed comparison table without its times, which are a block's last column."""
    lines: list[str] = []
    kept: int | None = None
    for line in out.splitlines():
        if line.startswith("Method") or not line:
            found = line.find("RTE (")
            kept = None if found < 0 else found
        lines.append(line[:kept].rstrip())
    return lines


def objects(store: str, prefix: str) -> dict[str, bytes]:
    """Objects by name."""
    beneath = open_store(store).objects
    return {name: beneath.read(name) for name in beneath.names(prefix)}


def attempts(store: str) -> Counter[str]:
    """How often the artifact of each training was uploaded, by `kind/key`."""
    names = (name.split("/") for name in open_store(store).objects.names("artifacts/"))
    return Counter(
        f"{kind}/{key}"
        for _, kind, key, _, file in names
        if kind in TRAININGS and file == "model.safetensors"
    )


def environment_of(mark: str) -> dict[str, str]:
    """This process's variables, as far as a sweep may see them, and one that children inherit."""
    own = {"RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return {**kept, "OMP_NUM_THREADS": "1", MARK: mark}


def marked(mark: str) -> list[int]:
    """The processes that `environment_of(mark)` was given to, and all that they started."""
    pids = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal())
    return [pid for pid in pids if f"{MARK}={mark}".encode() in _environ(pid)]


def kill_marked(mark: str) -> None:
    """kill -9 of each of them."""
    while pids := marked(mark):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _environ(pid: int) -> bytes:
    # A process that has ended, whether it waits to be reaped or not, has none.
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def essence(row: dict[str, object]) -> dict[str, object]:
    """A row without its empty columns: a table gives every row the columns of all."""
    return {name: value for name, value in row.items() if value is not None}
