"""The shadow device itself: what it refuses, what it counts, and whose line caused it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from tests.shadow.device import CUDA, counting
from tests.shadow.ledger import WAITS, shown
from tests.tiny import run, tiny_sweep
from unlearn_ray.core.transfer import to_device
from unlearn_ray.scheduling.worker import WorkerConfig
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import reference_steps
from unlearn_ray.train.loop import check_weights


def cases() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """One of each."""
    for kind, operation in OPERATIONS.items():
        yield kind, partial(_counted, operation)
    for what, refused in REFUSED.items():
        yield what, partial(_refused, refused)
    yield "a line is named", _line
    yield "workers", _workers


def _vector() -> torch.Tensor:
    return torch.arange(6.0, device=CUDA)


_HOST = torch.arange(6.0)
_PLACES = torch.tensor([1, 3])
OPERATIONS: dict[str, Callable[[], Any]] = {
    "launch": lambda: _vector() + 1,
    "no launch": lambda: _vector().view(2, 3)[0],
    "sync item": lambda: float(_vector()[0]),
    "sync mask": lambda: _vector()[_vector() > 2],
    "sync nonzero": lambda: (_vector() > 2).nonzero(),
    "filled mask": lambda: _vector().__setitem__(_vector() > 2, 0.0),
    "read": lambda: _vector().cpu(),
    "read list": lambda: _vector().tolist(),
    "waited": lambda: _HOST.to(CUDA),
    "waited tensor": lambda: torch.tensor([1.0], device=CUDA),
    "waited index": lambda: _vector()[_PLACES],
    "waited list": lambda: _vector()[[1, 3]],
    "staged": lambda: _HOST.to(CUDA, non_blocking=True),
    "drawn": lambda: torch.rand(2, device=CUDA, generator=torch.Generator(CUDA).manual_seed(3)),
    "pinned": lambda: to_device(_HOST, torch.device("cuda")),
}
REFUSED: dict[str, Callable[[], Any]] = {
    "refuses both devices": lambda: _vector() + _HOST,
    "refuses an index on the device": lambda: _HOST[_PLACES.to(CUDA)],
    "refuses a generator of the host": lambda: torch.rand(
        2, device=CUDA, generator=torch.Generator().manual_seed(5)
    ),
    "refuses a generator of the device": lambda: torch.rand(2, generator=torch.Generator(CUDA)),
}


def _counted(operation: Callable[[], Any]) -> dict[str, Any]:
    with counting() as ledger:
        operation()
    return {kind: ledger.total(kind) for kind in ("launch", "pinned", *WAITS)}


def _refused(operation: Callable[[], Any]) -> dict[str, Any]:
    try:
        operation()
    except RuntimeError as error:
        return {"refused": str(error)}
    return {"refused": ""}


def _line() -> dict[str, Any]:
    """The package's line that waits, though PyTorch's own, or none, calls the operation."""
    with counting() as ledger:
        check_weights(nn.Linear(2, 2).to(CUDA), "weights", "")
        whole = nn.Linear(2, 2).to(CUDA)(_vector().view(3, 2)).sum()
        whole.backward()
    return {"synchronised": sorted({shown(line) for kind, line in ledger.counts if kind == "sync"})}


def _workers() -> dict[str, Any]:
    """What workers compute on that asked for no GPU and for a share of one."""
    with TemporaryDirectory() as folder:
        store = open_store(f"{folder}/store")
        runtimes = [
            WorkerConfig(f"{folder}/store", 600, 1, gpu, store.identify()).runtime(None, ["here"])
            for gpu in (0, 0.25)
        ]
        with counting() as ledger:
            step = reference_steps(tiny_sweep(Path(folder)), 1)[0]
            run(step, Runtime(store, runtimes[0].compute, 600))
        none, share = (runtime.compute for runtime in runtimes)
        return {
            "of none": str(none.device),
            "machine": none.machine.device,
            "of a share": str(share.device),
            "counted": sum(ledger.counts.values()),
        }
