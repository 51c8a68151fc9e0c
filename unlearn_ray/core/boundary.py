"""The outermost error handler of every command: an exception becomes one line and an exit status.

Errors of the system, Ray, PyTorch or another library are translated into `core.errors`. Only an
unexpected error keeps its own name, and its traceback goes to a file.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from unlearn_ray.core.errors import (
    BadInput,
    ClusterError,
    Exit,
    InternalError,
    MachineError,
    UnlearnRayError,
    exit_status,
)
from unlearn_ray.core.printable import printable

_PACKAGE = Path(__file__).resolve().parents[1]
_LONGEST_REASON = 400
_LONGEST_TRACEBACK = 200_000
# Remedies by errno, for any file or folder.
_REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): "free space there, or write elsewhere",
    (errno.EACCES, errno.EPERM, errno.EROFS): "allow this user to write there, or write elsewhere",
    (errno.EMFILE, errno.ENFILE): "raise the limit of open files (ulimit -n)",
    (errno.ENOMEM, errno.EAGAIN): "free memory, or raise the limits (ulimit -u, ulimit -v)",
}
# Errors that need not recur on another machine, or on this one later.
_PASSING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EAGAIN),
    *(errno.EIO, errno.ESTALE, errno.EROFS, errno.ETIMEDOUT),
}
# What CUDA and NCCL say of a device or a link that broke, rather than of what was computed on it.
_BROKEN_DEVICE = (
    *("uncorrectable ECC error", "CUDA-capable device", "CUDA error: initialization error"),
    *("CUDA error: hardware stack error", "CUDA error: system not yet initialized"),
    *("CUDA driver version is insufficient", "NCCL error: unhandled system error"),
)
# The extras of this package that bring others, by the name under which those are imported.
EXTRAS = {
    **dict.fromkeys(("filelock", "optuna", "packaging", "PIL"), "run"),
    **dict.fromkeys(("ray", "sklearn", "torch", "torchvision"), "run"),
    **dict.fromkeys(("open_clip", "timm"), "clip"),
    "obstore": "azure",
    "cmaes": "cma",
    "boto3": "s3",
    "botocore": "s3",
    "shtab": "completion",
    **dict.fromkeys(("altair", "jinja2", "vl_convert"), "report"),
    "cryptography": "audit",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "pytest": "testing",
}
_MEMORY = (
    *("can't allocate memory", "Cannot allocate memory", "std::bad_alloc"),
    *("CUDA error: out of memory", "CUDA driver error: out of memory", "STATUS_ALLOC_FAILED"),
)


def run_command(command: Callable[[], int], interrupted: str = "interrupted") -> int:
    """Run a command and return its exit status.

    Each error is printed as one line on stderr; a closed stdout pipe is no error.

    Args:
        command: returns its own status.
        interrupted: message after Ctrl-C; none if empty.
    """
    try:
        _be_able_to_print()
        _have_a_home()
        _check_working_folder()
        status = command()
        _flush()
    except KeyboardInterrupt:
        _say(interrupted)
        return Exit.INTERRUPTED
    except SystemExit:
        raise  # argparse's, which has said why
    except BaseException as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return Exit.DONE  # whoever read has seen enough, which is no failure
        return _told(translated(error) or internal(error))
    return status


def translated(error: BaseException) -> UnlearnRayError | None:
    """An error of the system or a library as an `UnlearnRayError`; None for any other error."""
    if isinstance(error, UnlearnRayError):
        return error
    said = reason_of(error)
    if is_out_of_memory(error):
        remedy = "use less at a time, close other programs, or raise the limit (ulimit -v)"
        return MachineError("memory", f"there is not enough ({said})", remedy)
    if isinstance(error, ImportError):
        return _not_importable(error)
    if _is_broken_device(error):
        remedy = "take this machine out of the cluster, or restart it, and run again"
        return MachineError("its accelerator", f"is not usable ({said})", remedy)
    if isinstance(error, OSError):
        return _refused_by_system(error)
    if "getpwuid" in said:
        return MachineError("this user", f"is not in passwd ({said})", "set USER and HOME")
    if "determine home directory" in said:  # pathlib's
        return BadInput("a path with ~", "no such user has a home", "write the folder itself")
    if "can't start new thread" in said:
        return MachineError("threads", said, "raise the limit of processes (ulimit -u)")
    if isinstance(error, RecursionError) and not _is_ours(_frames(error)[-1:]):
        return BadInput("the input", f"nested too deeply ({said})", "nest it less deeply")
    if is_rays(error):
        return ClusterError("Ray", said, "see its logs, and run the sweep again")
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the machine or one of its accelerators ran out of memory."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ in ("OutOfMemoryError", "ArrowMemoryError", "OutOfMemoryException")
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and any(w in reason_of(error) for w in _MEMORY))
    )


def is_rays(error: BaseException) -> bool:
    """Whether Ray raised it."""
    return type(error).__module__.partition(".")[0] == "ray"


def is_machines(error: BaseException) -> bool:
    """Whether it is the machine's fault, and may not recur elsewhere or later."""
    if isinstance(error, ModuleNotFoundError):
        return _not_importable(error) is not None
    return _is_broken_device(error) or (isinstance(error, OSError) and error.errno in _PASSING)


def _is_broken_device(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(w in reason_of(error) for w in _BROKEN_DEVICE)


def internal(error: BaseException) -> InternalError:
    """Wrap an unexpected error, and write its traceback to a file."""
    place = _place(error)
    where = "".join(f"at {frame.filename}:{frame.lineno} " for frame in place)
    subject = f"unexpected {reason_of(error)}"
    file = _keep_traceback(error)
    saved = f"its traceback is in {file}" if file else "its traceback could not be saved"
    remedy = "report it with that file" if _is_ours(place) and file else "fix the code there"
    return InternalError(subject, f"raised {where}({saved})", remedy)


def reason_of(error: BaseException) -> str:
    """An error in one short line: its name and its message, if it has one."""
    try:
        said = one_line(str(error))
    except Exception:  # a person's own error, whose __str__ fails
        said = ""
    name = type(error).__name__
    reason = f"{name}: {said}" if said else name
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}…"


def one_line(text: str) -> str:
    """A text in one line, with control characters escaped."""
    return printable(" ".join(text.split()))


def traceback_of(error: BaseException) -> str:
    """The traceback; only the end of a very long one."""
    # A file's name that is not UTF-8 may stand in it, which JSON cannot hold.
    text = "".join(traceback.format_exception(error))
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST_TRACEBACK else f"…{text[-_LONGEST_TRACEBACK:]}"


def _not_importable(error: ImportError) -> UnlearnRayError | None:
    name = (error.name or "").partition(".")[0]
    if name == _PACKAGE.name:
        return None
    subject = f"package {name}" if name else "a package"
    extra = f"[{EXTRAS[name]}]" if name in EXTRAS else ""
    remedy = f"install what this needs: pip install 'unlearn_ray{extra}'"
    return MachineError(subject, f"cannot be imported ({reason_of(error)})", remedy)


def _refused_by_system(error: OSError) -> UnlearnRayError | None:
    if error.errno is None:
        # A library's own, such as a path that is too long for a socket.
        return MachineError("the system", reason_of(error), "fix the cause, and run again")
    remedy = next((text for codes, text in _REMEDIES.items() if error.errno in codes), None)
    if remedy is None:
        remedy = "check that it is there, and that this user may use it"
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if _is_path(name)]
    subject = " -> ".join(names) or "the output or a temporary file"
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return BadInput(subject, os.strerror(error.errno), "name another path")
    return MachineError(subject, os.strerror(error.errno), remedy)


def _is_path(name: object) -> bool:
    return isinstance(name, str | bytes)


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(error.__traceback__))


def _is_ours(frames: list[traceback.FrameSummary]) -> bool:
    """Whether these are lines of this package."""
    return bool(frames) and all(Path(each.filename).is_relative_to(_PACKAGE) for each in frames)


def _place(error: BaseException) -> list[traceback.FrameSummary]:
    """The innermost frame of the user's code, or of this package's, in the traceback."""
    libraries = {"site-packages", "dist-packages", Path(os.__file__).parent.name}
    frames = [
        frame
        for frame in _frames(error)
        if not libraries & set(Path(frame.filename).parts) and frame.filename[:1] != "<"
    ]
    return (frames or _frames(error))[-1:]


def _keep_traceback(error: BaseException) -> str | None:
    versions = f"Python {platform.python_version()} on {platform.platform()}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="unlearn_ray-error-", suffix=".txt", delete=False,
            encoding="utf-8", errors="backslashreplace",
        ) as file:  # fmt: skip
            file.write(f"{versions}\n{traceback_of(error)}")
    except OSError:
        return None
    return file.name


def _have_a_home() -> None:
    """Set HOME for container users that have neither HOME nor an entry in passwd.

    Code that reads from it finds nothing there, and code that writes to it gets an error.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/nonexistent"  # as Debian calls it


def _check_working_folder() -> None:
    """PyTorch's libraries kill the process if the working folder does not exist."""
    try:
        Path.cwd()
    except OSError as error:
        raise MachineError(
            "the working folder", os.strerror(error.errno or 0), "change into a folder that exists"
        ) from error


def _be_able_to_print() -> None:
    """Escape characters that the terminal's or pipe's encoding lacks, rather than fail."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before Python started
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Let a full disk or a closed pipe raise now, not while the interpreter exits."""
    sys.stdout.flush()


def _told(error: UnlearnRayError) -> int:
    # Of several errors each is a line, and of a table each row, which is indented.
    lines = str(error).split("\n")
    told = (printable(line) if line.startswith("  ") else one_line(line) for line in lines)
    _say("error: " + "\n".join(told))
    _drop_output()
    return exit_status(error)


def _say(text: str) -> None:
    if text:
        try:
            print(text, file=sys.stderr, flush=True)  # noqa: T201
        except OSError:
            return  # nobody is left to tell


def _reader_has_gone() -> bool:
    try:
        _flush()
    except BrokenPipeError:
        _drop_output()
        return True
    except (OSError, ValueError):
        return False
    return False


def _drop_output() -> None:
    """Output that could not be written must not fail again while the interpreter exits."""
    try:
        _flush()
    except (OSError, ValueError):
        # What is written from now on, buffers included, goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
