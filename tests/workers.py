"""Real processes that train together: torch.distributed over gloo, on this machine."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, distributed, multiprocessing

from unlearn_ray.core.collective import rank
from unlearn_ray.methods.base import Method

Weights = dict[str, Tensor]
# Each check returns nothing, or raises what is wrong.
Checks = dict[str, Callable[[], None]]


def in_workers(count: int, work: Callable[[], None]) -> None:
    """Run a module's function in `count` processes that know each other."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(  # type: ignore[attr-defined]
            _join, (count, folder, work), nprocs=count
        )


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


def found_by_two(
    methods: dict[str, Method],
    unlearned: Callable[[Method, Weights], Weights],
    before: Weights,
    folder: Path,
) -> dict[str, Weights]:
    """What each method leaves of a model, once two workers have been seen to leave the same.

    Args:
        methods: by names of their own.
        unlearned: a module's function: a method, and the weights before, to those after it.
        before: given, because two workers would train another original, by roundings.
        folder: an empty one.
    """
    torch.save(before, folder / "before.pt")
    in_workers(2, partial(_save, methods, unlearned, folder))
    found = {}
    for name, method in methods.items():
        found[name] = unlearned(method, before)
        for worker in range(2):
            theirs = torch.load(folder / f"{name}-{worker}.pt")
            for key, value in found[name].items():
                torch.testing.assert_close(theirs[key], value, rtol=0, atol=1e-9)
    return found


def _save(
    methods: dict[str, Method], unlearned: Callable[[Method, Weights], Weights], folder: Path
) -> None:
    before = torch.load(folder / "before.pt")
    for name, method in methods.items():
        torch.save(unlearned(method, before), folder / f"{name}-{rank()}.pt")


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
