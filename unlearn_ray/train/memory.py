"""Memory that a step asked for in vain: whose it was, and what helps."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass

import torch

from unlearn_ray.core.boundary import reason_of, traceback_of
from unlearn_ray.core.errors import MachineError, OutOfMemory
from unlearn_ray.train.compute import Compute, share_of_memory

_OF_A_GPU = ("CUDA", "CUBLAS", "CUDNN", "cuDNN", "NCCL")


def shortage(
    error: BaseException, subject: str, kept: str, compute: Compute
) -> OutOfMemory | MachineError:
    """An allocation that failed, as the error that ends the step.

    Beyond its own share of a GPU a step would fail again: `OutOfMemory`. Within it, other processes
    hold what was promised to this one, and it may succeed later: `MachineError`.

    Args:
        error: the allocator's.
        subject: the step.
        kept: where the traceback is kept, in words.
        compute: where the step ran.
    """
    said = reason_of(error)
    if not compute.on_gpu or not any(library in said for library in _OF_A_GPU):
        told = OutOfMemory(
            subject,
            f"{said} (the machine has {_gib(_of_machine())})",
            f"lower the batch size, or use a machine with more memory; {kept}",
        )
        told.traceback = traceback_of(error)
        return told
    free, total = torch.cuda.mem_get_info(compute.device)
    name = torch.cuda.get_device_name(compute.device)
    gpu = GpuMemory(name, total, free, torch.cuda.memory_reserved(compute.device), compute.share)
    return gpu_shortage(error, subject, kept, gpu)


@dataclass(frozen=True)
class GpuMemory:
    """A GPU after an allocation failed, and what this process may have of it.

    Attributes:
        name: the GPU's model.
        total, free: its bytes, and those that no process holds.
        held: bytes that this process holds for tensors.
        share: of the GPU, in (0, 1], that is this process's.
    """

    name: str
    total: int
    free: int
    held: int
    share: float


def gpu_shortage(
    error: BaseException, subject: str, kept: str, gpu: GpuMemory
) -> OutOfMemory | MachineError:
    """The same as `shortage`, on a GPU in this state."""
    asked = _asked(reason_of(error))
    allowed = share_of_memory(gpu.share, gpu.total)
    part = "" if gpu.share == 1 else f"{gpu.share:g} of "
    whose = f"{part}{gpu.name}, which has {_gib(gpu.total)}"
    if gpu.held + asked <= allowed:
        return MachineError(
            subject,
            f"CUDA out of memory: it held {_gib(gpu.held)} of its {_gib(allowed)} ({whose}), and "
            f"other processes leave {_gib(gpu.free)} free",
            "end what else runs on that GPU, then run the sweep again",
        )
    told = OutOfMemory(
        subject,
        f"CUDA out of memory: it asked for {_gib(asked)} and held {_gib(gpu.held)} of its "
        f"{_gib(allowed)} ({whose})",
        f"lower the batch size, or request a larger share of a GPU (resources); {kept}",
    )
    told.traceback = traceback_of(error)
    return told


def let_go(error: BaseException, compute: Compute) -> None:
    """Free what the frames of an error hold, which the next step of this process may need."""
    each: BaseException | None = error
    while each is not None:
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__
    if compute.on_gpu:
        torch.cuda.empty_cache()


def _asked(said: str) -> int:
    """The bytes of PyTorch's "Tried to allocate 2.00 GiB"; 0 where no size is said."""
    words = said.partition("Tried to allocate ")[2].split()
    units = {"bytes": 0, "KiB": 10, "MiB": 20, "GiB": 30}
    if len(words) < 2 or words[1].rstrip(".,") not in units:
        return 0
    return int(float(words[0]) * 2 ** units[words[1].rstrip(".,")])


def _of_machine() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gib(count: int) -> str:
    return f"{count / 2**30:,.2f} GiB"
