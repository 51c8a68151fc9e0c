"""What is raised at the boundary: one line, and the status that says whose it is."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from unlearn_ray.config.yaml_tree import ConfigErrors
from unlearn_ray.core.boundary import is_machines, run_command, traceback_of, translated
from unlearn_ray.core.errors import (
    EXIT_STATUSES,
    BadInput,
    ClusterError,
    ConfigError,
    CorruptObject,
    Exit,
    MachineError,
    ProgramError,
    StepFailed,
    UnlearnRayError,
    exit_status,
)


class NoWords(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


class OfRay(Exception):
    __module__ = "ray.exceptions"


def parse_nested() -> object:
    import json

    return json.loads("[" * 100_000)


def of_system(number: int, name: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), name)


FULL, DENIED = of_system(errno.ENOSPC, "/a/b"), of_system(errno.EACCES, "/a/b\n\x1b[2J")

CASES: dict[str, tuple[BaseException, Exit, str]] = {
    "bad input": (BadInput("a", "b", "c"), Exit.BAD_INPUT, r"a: b; c"),
    "store": (CorruptObject("a", "b", "c"), Exit.STORE, r"a: b; c"),
    "cluster": (ClusterError("a", "b", "c"), Exit.CLUSTER, r"a: b; c"),
    "machine": (MachineError("a", "b", "c"), Exit.MACHINE, r"a: b; c"),
    "a step": (StepFailed("a", "b", "c"), Exit.SOME_FAILED, r"a: b; c"),
    "code of a step": (ProgramError("a", "b", "c"), Exit.SOME_FAILED, r"a: b; c"),
    "lines, escapes": (
        BadInput("a\r\nb", "\x1b]0;t\x07", "c"),
        Exit.BAD_INPUT,
        r"a\\r\\nb: \\x1b]0;t",
    ),
    "Ray's": (OfRay("lost\nin lines"), Exit.CLUSTER, r"Ray: OfRay: lost in lines; see its logs"),
    "memory": (MemoryError(), Exit.MACHINE, r"memory: there is not enough \(MemoryError\); "),
    "PyTorch's memory": (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        Exit.MACHINE,
        r"memory: there is not enough",
    ),
    "full": (FULL, Exit.MACHINE, r"/a/b: No space left on device; free space there"),
    "denied": (DENIED, Exit.MACHINE, r"/a/b\\n\\x1b\[2J: Permission denied; allow this user"),
    "files": (of_system(errno.EMFILE), Exit.MACHINE, r"Too many open files; raise .*ulimit -n"),
    "a long socket": (
        OSError("AF_UNIX path length cannot exceed 107 bytes: /tmp/x"),
        Exit.MACHINE,
        r"AF_UNIX path length cannot exceed 107",
    ),
    "no passwd entry": (
        KeyError("getpwuid(): uid not found: 1234"),
        Exit.MACHINE,
        r"this user: is not in passwd .*1234.*; set USER",
    ),
    "nobody's home": (
        RuntimeError("Could not determine home directory."),
        Exit.BAD_INPUT,
        r"a path with ~: no such user has a home; write the folder itself",
    ),
    "a long name": (of_system(errno.ENAMETOOLONG, "a/b"), Exit.BAD_INPUT, r"a/b: .*; name another"),
    "threads": (RuntimeError("can't start new thread"), Exit.MACHINE, r"threads: .*ulimit -u"),
    "a package": (
        ModuleNotFoundError("No module named 'duckdb.x'", name="duckdb.x"),
        Exit.MACHINE,
        r"package duckdb: cannot be imported .*; install what",
    ),
    "interrupted": (KeyboardInterrupt(), Exit.INTERRUPTED, r"stopped here"),
    "unforeseen": (ZeroDivisionError("x\ny"), Exit.INTERNAL, r"unexpected ZeroDivisionError: x y"),
    "nothing to say": (AssertionError(), Exit.INTERNAL, r"unexpected AssertionError: raised at"),
    "no words": (NoWords(), Exit.INTERNAL, r"unexpected NoWords: raised at"),
    "long": (
        ValueError("x" * 10_000),
        Exit.INTERNAL,
        r"unexpected ValueError: x+…: raised at",
    ),
    "overflow": (OverflowError("int too large"), Exit.INTERNAL, r"unexpected OverflowError"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_a_status(
    case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    error, status, said = CASES[case]

    def command() -> int:
        raise error

    assert run_command(command, "stopped here") == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.removesuffix("\n").isprintable()
    assert len(err) < 1000
    assert re.search(said, err), err
    assert err.startswith("error: ") == (status != Exit.INTERRUPTED)
    if status == Exit.INTERNAL:
        (file,) = tmp_path.iterdir()
        assert f"{file}" in err
        assert type(error).__name__ in file.read_text()
        assert "test_boundary.py" in file.read_text()
    else:
        assert list(tmp_path.iterdir()) == []


def test_no_traceback_can_be_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert run_command(lambda: 1 // 0) == Exit.INTERNAL
    assert "its traceback could not be saved" in capsys.readouterr().err


def test_several_errors_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise ConfigErrors([ConfigError("a\n", "b", "c"), ConfigError("d", "e", "f")])

    assert run_command(command) == Exit.BAD_INPUT
    assert capsys.readouterr().err == "error: a\\n: b; c\nd: e; f\n"


def test_what_is_nested_too_deeply() -> None:
    with pytest.raises(RecursionError) as deep:
        parse_nested()
    assert isinstance(translated(deep.value), BadInput)


def test_every_error_has_a_documented_status() -> None:
    def tree(kind: type[UnlearnRayError]) -> list[type[UnlearnRayError]]:
        return [kind, *(each for below in kind.__subclasses__() for each in tree(below))]

    for kind in tree(UnlearnRayError):
        error = kind.__new__(kind)
        assert f"{exit_status(error).value} " in EXIT_STATUSES
    for status in Exit:
        assert re.search(rf"\b{status.value} ", EXIT_STATUSES), status


def test_what_passes_is_the_machines() -> None:
    assert is_machines(FULL)
    assert not is_machines(of_system(errno.ENOENT, "x"))
    assert not is_machines(ValueError())


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: uncorrectable ECC error encountered\nCompile with TORCH_USE_CUDA_DSA",
        "CUDA error: all CUDA-capable devices are busy or unavailable",
        "NCCL error: unhandled system error, NCCL version 2.21",
    ],
)
def test_a_broken_accelerator_is_the_machines_fault(said: str) -> None:
    assert is_machines(RuntimeError(said))
    told = translated(RuntimeError(said))
    assert isinstance(told, MachineError)
    assert "its accelerator" in f"{told}"
    # An index out of range fails on any device.
    assert not is_machines(RuntimeError("CUDA error: device-side assert triggered"))


def test_a_missing_package_is_the_machines_fault_but_a_missing_file_of_ours_is_not() -> None:
    missing = ModuleNotFoundError("No module named 'foo'", name="foo.bar")
    assert is_machines(missing)
    assert "package foo" in f"{translated(missing)}"
    assert not is_machines(ModuleNotFoundError("...", name="unlearn_ray.gone"))
    assert not is_machines(ImportError("cannot import name 'x' from 'foo'", name="foo"))


def test_a_thousand_errors_are_told_as_the_first_few(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        raise ConfigErrors([ConfigError(f"a\n{number}", "b", "c") for number in range(1000)])

    assert run_command(command) == Exit.BAD_INPUT
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == r"error: a\n0: b; c"
    assert last == "and 980 more; fix these first"


def test_a_long_subject_costs_no_remedy() -> None:
    reason, remedy = "r" * 1000, "mend /tmp/unlearn_ray-error-abcdefgh.txt"
    told = str(BadInput("s" * 2000, reason, remedy))
    assert reason in told
    assert told.endswith(remedy)
    assert len(told) < 1510


def test_a_traceback_can_be_kept_in_json() -> None:
    error = ValueError("no image: \udcff.png")
    traceback_of(error).encode("utf-8")
    assert r"\udcff.png" in traceback_of(error)
