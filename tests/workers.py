"""Real processes that train together: torch.distributed over gloo, on this machine."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from torch import distributed, multiprocessing

# Each check returns nothing, or raises what is wrong.
Checks = dict[str, Callable[[], None]]


def in_workers(count: int, work: Callable[[], None]) -> None:
    """Run a module's function in `count` processes that know each other."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_join, (count, folder, work), nprocs=count)


def _join(rank: int, count: int, folder: str, work: Callable[[], None]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=count
    )
    try:
        work()
    finally:
        distributed.destroy_process_group()


def noted(checks: Checks, path: Path) -> None:
    """Run every check, and leave what each raised as a folder of files."""
    path.mkdir(parents=True)
    for name, check in checks.items():
        try:
            check()
        except Exception:
            (path / name).write_text(traceback.format_exc())
        else:
            (path / name).write_text("")
