"""Where a command meets the world: whatever is raised becomes one line and an exit status.

What the system, Ray, PyTorch or another library raises is told in this program's words. Only an
error that nobody foresaw is told by its own name, with a file that holds its traceback.
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
# Remedies by what the system says, for whatever file or folder it says it of.
_REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): "free space there, or write elsewhere",
    (errno.EACCES, errno.EPERM, errno.EROFS): "allow this user to write there, or write elsewhere",
    (errno.EMFILE, errno.ENFILE): "raise the limit of open files (ulimit -n)",
    (errno.ENOMEM, errno.EAGAIN): "free memory, or raise the limits (ulimit -u, ulimit -v)",
}
# What another machine, or this one later, would not say again.
_PASSING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EAGAIN),
    *(errno.EIO, errno.ESTALE, errno.EROFS, errno.ETIMEDOUT),
}
_MEMORY = ("can't allocate memory", "Cannot allocate memory", "std::bad_alloc")


def run_command(command: Callable[[], int], interrupted: str = "interrupted") -> int:
    """The exit status of a command.

    Errors are one line each on stderr; nothing is said where the reader of stdout has gone.

    Args:
        command: returns its own status.
        interrupted: what is said after Ctrl-C; nothing if empty.
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
    """What the system or a library raised, as an error of the tree; None for what is neither."""
    if isinstance(error, UnlearnRayError):
        return error
    said = reason_of(error)
    if is_out_of_memory(error):
        remedy = "ask for less at a time, close other programs, or raise the limit (ulimit -v)"
        return MachineError("memory", f"there is not enough ({said})", remedy)
    if isinstance(error, ImportError):
        return _not_importable(error)
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
    """Whether the machine, or an accelerator of it, had no memory left."""
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
    """Whether it is the machine's, and may go well on another one or another day."""
    return isinstance(error, OSError) and error.errno in _PASSING


def internal(error: BaseException) -> InternalError:
    """An error that nobody foresaw; its traceback goes into a file."""
    place = _place(error)
    where = "".join(f"at {frame.filename}:{frame.lineno} " for frame in place)
    subject = f"unexpected {reason_of(error)}"
    file = _keep_traceback(error)
    kept = f"its traceback is in {file}" if file else "no traceback could be kept"
    remedy = "report it with that file" if _is_ours(place) and file else "mend what raises it"
    return InternalError(subject, f"raised {where}({kept})", remedy)


def reason_of(error: BaseException) -> str:
    """An error in one short line: its name and what it says; it may say nothing, or many lines."""
    try:
        said = one_line(str(error))
    except Exception:  # a person's own error, whose __str__ fails
        said = ""
    name = type(error).__name__
    told = f"{name}: {said}" if said else name
    return told if len(told) <= _LONGEST_REASON else f"{told[:_LONGEST_REASON]}…"


def one_line(text: str) -> str:
    """A text without line breaks, and with control characters written out."""
    return printable(" ".join(text.split()))


def traceback_of(error: BaseException) -> str:
    """The traceback, at most so long; of a longer one the end."""
    # A file's name that is not UTF-8 may stand in it, which JSON cannot hold.
    text = "".join(traceback.format_exception(error))
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST_TRACEBACK else f"…{text[-_LONGEST_TRACEBACK:]}"


def _not_importable(error: ImportError) -> UnlearnRayError | None:
    name = error.name or ""
    if name.partition(".")[0] == _PACKAGE.name:
        return None
    subject = f"package {name.partition('.')[0]}" if name else "a package"
    remedy = "install what unlearn_ray needs: pip install --editable . --constraint constraints.txt"
    return MachineError(subject, f"cannot be imported ({reason_of(error)})", remedy)


def _refused_by_system(error: OSError) -> UnlearnRayError | None:
    if error.errno is None:
        # A library's own, such as a path that is too long for a socket.
        return MachineError("the system", reason_of(error), "see what it names, and run again")
    remedy = next((told for codes, told in _REMEDIES.items() if error.errno in codes), None)
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
    """The last line of a person's code, or of this package's, that an error went through."""
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
    """Many a container's user has neither HOME nor an entry in passwd, and need have none.

    What does look for something there does not find it, and what would write there says so.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/nonexistent"  # as Debian calls it


def _check_working_folder() -> None:
    """PyTorch's libraries end the process where there is none."""
    try:
        Path.cwd()
    except OSError as error:
        raise MachineError(
            "the working folder", os.strerror(error.errno or 0), "change into one that is there"
        ) from error


def _be_able_to_print() -> None:
    """Let what a terminal's or a pipe's encoding lacks be written out, rather than fail."""
    if sys.stdout is None:  # closed before Python was started: nobody wants to read
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Meet a full disk or a reader that has gone now, and not once the interpreter ends."""
    sys.stdout.flush()


def _told(error: UnlearnRayError) -> int:
    # Of several errors each is a line.
    _say("error: " + "\n".join(map(one_line, str(error).split("\n"))))
    _drop_output()
    return exit_status(error)


def _say(text: str) -> None:
    if text and sys.stderr is not None:
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
    """What could not be written must not fail again while the interpreter ends."""
    try:
        _flush()
    except (OSError, ValueError):
        # What is written from now on, buffers included, goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
