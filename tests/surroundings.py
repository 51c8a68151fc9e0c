"""A process that has imported the commands, and runs each in a fork with its surroundings broken.

To import everything takes seconds, to fork milliseconds. Each line on stdin is a case as JSON
(the surrounding, the command, its arguments); each line on stdout says how it ended.
"""

from __future__ import annotations

import importlib
import importlib.abc
import io
import json
import os
import pkgutil
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import unlearn_ray

NOBODY = 54321  # has no entry in passwd
SECONDS = 60
# By the commands, once they run; Python's own may lie where other users cannot read.
IMPORTED = (
    *("html", "duckdb", "pandas", "pyarrow.parquet", "rich.console", "rich.live"),
    *(
        module.name
        for module in pkgutil.walk_packages(unlearn_ray.__path__, "unlearn_ray.")
        if not module.name.startswith("unlearn_ray.scheduling.")
        and not module.name.startswith("unlearn_ray.loggers.")
    ),
    "unlearn_ray.scheduling.environment",
)


def variables(**values: str | None) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name, value in values.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value.replace("FOLDER", str(folder))
        tempfile.tempdir = None

    return change


def limit(what: int, value: int) -> Callable[[Path], None]:
    return lambda _: resource.setrlimit(what, (value, value))


class Without(importlib.abc.MetaPathFinder):
    """One package is not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def __call__(self, _: Path) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == self.package]:
            del sys.modules[name]
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def nobody(_: Path) -> None:
    os.environ.pop("HOME", None)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def no_working_folder(folder: Path) -> None:
    gone = folder / f"gone-{os.getpid()}"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()


def output_to(path: str) -> Callable[[Path], None]:
    return lambda _: os.dup2(os.open(path, os.O_WRONLY), 1) and None  # type: ignore[return-value]


def closed(*numbers: int) -> Callable[[Path], None]:
    return lambda _: [os.close(number) for number in numbers] and None  # type: ignore[return-value, func-returns-value]


def no_reader(_: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)


def stream(number: int) -> io.TextIOWrapper | None:
    """A standard stream, as Python finds it when it starts."""
    try:
        encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
        return open(number, "rw"[number > 0], encoding=encoding)  # type: ignore[return-value]
    except OSError:
        return None  # it is closed


def unwritable_folders(folder: Path) -> None:
    variables(HOME="FOLDER/mine", TMPDIR="FOLDER/mine", UNLEARN_RAY_CACHE="FOLDER/mine/cache")(
        folder
    )
    nobody(folder)
    os.environ["HOME"] = f"{folder}/mine"


def locked_store(folder: Path) -> None:
    (folder / "store").chmod(0o700)
    nobody(folder)


SURROUNDINGS: dict[str, Callable[[Path], None]] = {
    "as they are": lambda _: None,
    "no home, no passwd entry": nobody,
    "home does not exist": variables(HOME="FOLDER/nowhere"),
    "home is a file": variables(HOME="FOLDER/tiny.yaml"),
    "folders that this user may not write": unwritable_folders,
    "a store that this user may not read": locked_store,
    "cache of an unknown user": variables(UNLEARN_RAY_CACHE="~nosuchuser/cache"),
    "cache is a file": variables(UNLEARN_RAY_CACHE="FOLDER/tiny.yaml"),
    "TMPDIR missing": variables(TMPDIR="FOLDER/nowhere"),
    "TMPDIR long": variables(TMPDIR=f"FOLDER/{'long' * 40}"),
    "TMPDIR empty": variables(TMPDIR=""),
    "RAY_ADDRESS empty": variables(RAY_ADDRESS=""),
    "RAY_ADDRESS garbage": variables(RAY_ADDRESS="\x1b[2J nowhere"),
    "no working folder": no_working_folder,
    "stdout full": output_to("/dev/full"),
    "stdout closed": closed(1),
    "stdin closed": closed(0),
    "all closed": closed(0, 1, 2),
    "no reader": no_reader,
    "ASCII": variables(PYTHONIOENCODING="ascii", LANG="C", LC_ALL="C"),
    "COLUMNS=0": variables(COLUMNS="0", LINES="0"),
    "COLUMNS huge": variables(COLUMNS="1000000000"),
    "COLUMNS garbage": variables(COLUMNS="wide", LINES="-1"),
    "TERM unset": variables(TERM=None, COLORTERM="x"),
    "TERM unknown": variables(TERM="nothing-known", FORCE_COLOR="1"),
    "TZ garbage": variables(TZ="Nowhere/At_All"),
    "LANG garbage": variables(LANG="xx_YY.none", LC_ALL="xx_YY.none"),
    "few files": limit(resource.RLIMIT_NOFILE, 12),
    "no file may be written": limit(resource.RLIMIT_FSIZE, 0),
    "no further thread": lambda folder: (  # root may have any number
        limit(resource.RLIMIT_NPROC, 1)(folder),
        nobody(folder),  # type: ignore[func-returns-value]
    )[-1],
    "no duckdb": Without("duckdb"),
    "no pandas": Without("pandas"),
    "no pyarrow": Without("pyarrow"),
    "no rich": Without("rich"),
}


def run(folder: Path, surrounding: str, command: str, arguments: list[str]) -> None:
    """The command, in this process, which ends with it."""
    from unlearn_ray import results, sweep

    main = {"sweep": sweep.main, "results": results.main}[command]
    os.chdir(folder)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    SURROUNDINGS[surrounding](folder)
    sys.stdin, sys.stdout, sys.stderr = map(stream, range(3))
    try:
        status = int(main(arguments))
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:  # what a person would see as a traceback
        import traceback

        traceback.print_exc()
        status = 99
    try:
        for each in (sys.stdout, sys.stderr):
            if each is not None:
                each.flush()
    except (OSError, ValueError):
        status = 120  # as Python's, when it ends
    os._exit(status)


def ended(folder: Path, case: list[Any]) -> dict[str, object]:
    """How a case ended, and what it wrote."""
    started = time.monotonic()
    pipes = [os.pipe(), os.pipe()]
    pid = os.fork()
    if pid == 0:
        for number, (_, writing) in enumerate(pipes, start=1):
            os.dup2(writing, number)
        for reading, writing in pipes:
            os.close(reading)
            os.close(writing)
        run(folder, *case)
    for _, writing in pipes:
        os.close(writing)
    timer = threading.Timer(SECONDS, os.kill, (pid, signal.SIGKILL))
    timer.start()
    with ThreadPoolExecutor(2) as pool:
        out, err = pool.map(_everything, (reading for reading, _ in pipes))
    _, code = os.waitpid(pid, 0)
    timer.cancel()
    status = os.waitstatus_to_exitcode(code)
    return {"status": status, "seconds": time.monotonic() - started, "out": out, "err": err}


def _everything(descriptor: int) -> str:
    with open(descriptor, "rb") as file:
        return file.read().decode(errors="replace")


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        template, *case = json.loads(line)
        with tempfile.TemporaryDirectory(prefix="unlearn_ray-") as name:
            shutil.copytree(template, name, dirs_exist_ok=True)
            Path(name).chmod(0o755)
            (Path(name) / "mine").mkdir(mode=0o700)
            answers.write(f"{json.dumps(ended(Path(name), case))}\n")
            answers.flush()
