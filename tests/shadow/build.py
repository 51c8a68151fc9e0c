"""The guard of the shadow device, compiled against the installed torch. Imports no torch."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).with_name("guard.cpp")


class CannotBuild(Exception):
    """Why there is no shadow device here, and what to do about it."""


def torch_folder() -> Path:
    """Where torch is installed."""
    found = importlib.util.find_spec("torch")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).resolve().parent


def built(compiler: str | None = None, folder: Path | None = None) -> Path:
    """The compiled guard: built once for a version of torch and of the source.

    Args:
        compiler: by default, that of the environment variable CXX, g++, c++ or clang++.
        folder: where to keep it; by default, in the folder of temporary files.

    Raises:
        CannotBuild: there is no compiler, or it refuses.
    """
    torch = torch_folder()
    version = importlib.metadata.version("torch")
    content = hashlib.sha256(f"{version} {torch}\n{SOURCE.read_text()}".encode()).hexdigest()
    folder = folder or Path(tempfile.gettempdir()) / f"shadow-device-{os.getuid()}"
    library = folder / f"guard-{content[:16]}.so"
    if not library.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _compile(compiler or _compiler(), torch, library)
    return library


def _compiler() -> str:
    candidates = [os.environ.get("CXX"), "g++", "c++", "clang++"]
    for name in filter(None, candidates):
        if shutil.which(name):
            return name
    raise CannotBuild(
        "the shadow device needs a C++ compiler, and none of g++, c++, clang++ is on the PATH: "
        "install one (apt-get install g++), or name it in the environment variable CXX"
    )


def _compile(compiler: str, torch: Path, library: Path) -> None:
    # Another process may build the same at the same time: the last rename wins.
    partial = library.with_suffix(f".{os.getpid()}")
    include, lib = torch / "include", torch / "lib"
    command = [
        compiler, "-O1", "-shared", "-fPIC", "-std=c++20", str(SOURCE), "-o", str(partial),
        f"-I{include}", f"-I{include}/torch/csrc/api/include",
        f"-L{lib}", "-lc10", "-ltorch_cpu",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise CannotBuild(f"the shadow device needs a C++ compiler: {error}") from error
    if done.returncode:
        raise CannotBuild(
            f"the shadow device does not compile against torch in {torch}:\n{done.stderr[-3000:]}"
        )
    partial.replace(library)
