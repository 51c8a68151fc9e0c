"""Memory that is refused: whose it was, and that nothing of it stays."""

from __future__ import annotations

import gc
import pickle
import weakref

import pytest
import torch
from torch import Tensor

from unlearn_ray.core.boundary import is_out_of_memory
from unlearn_ray.core.errors import Exit, MachineError, OutOfMemory, exit_status
from unlearn_ray.train.compute import CONTEXT_BYTES, Compute, share_of_memory
from unlearn_ray.train.memory import GpuMemory, gpu_shortage, let_go, shortage

CPU = Compute(torch.device("cpu"))
GIB = 2**30
# As PyTorch words them.
OF_CUDA = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 139.72 GiB of "
    "which 1.00 GiB is free. Process 42 has 34.00 GiB memory in use. 35.00 GiB allowed; Of the"
)
OF_CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`")


def refused() -> BaseException:
    """What PyTorch raises for more than any machine can address."""
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**48)
    return raised.value


def test_memory_of_the_machine() -> None:
    told = shortage(refused(), "unlearn", "kept there", CPU)
    assert isinstance(told, OutOfMemory)
    assert "you tried to allocate 1125899906842624 bytes" in told.reason
    assert "the machine has" in told.reason
    assert told.remedy.startswith("lower the batch size")
    assert "torch.empty(2**48)" in told.traceback
    assert exit_status(told) == Exit.SOME_FAILED
    sent = pickle.loads(pickle.dumps(told))
    assert str(sent) == str(told)
    assert sent.traceback == told.traceback


@pytest.mark.parametrize("error", [OF_CUDA, OF_CUBLAS, MemoryError()])
def test_errors_of_several_allocators_are_known(error: BaseException) -> None:
    assert is_out_of_memory(error)


def test_beyond_its_share_of_a_gpu_a_step_fails() -> None:
    gpu = GpuMemory("H200", 140 * GIB, 1 * GIB, 33 * GIB, 0.25)
    told = gpu_shortage(OF_CUDA, "unlearn", "kept there", gpu)
    assert isinstance(told, OutOfMemory)
    assert str(told) == (
        "unlearn: CUDA out of memory: it asked for 2.50 GiB and held 33.00 GiB of its 34.07 GiB "
        "(0.25 of H200, which has 140.00 GiB); lower the batch size, or request a larger share of "
        "a GPU (resources); kept there"
    )


@pytest.mark.parametrize("error", [OF_CUDA, OF_CUBLAS])
def test_within_its_share_others_are_to_blame(error: BaseException) -> None:
    gpu = GpuMemory("H200", 140 * GIB, 1 * GIB, 20 * GIB, 1.0)
    told = gpu_shortage(error, "unlearn", "kept there", gpu)
    assert isinstance(told, MachineError)
    assert "it held 20.00 GiB of its 139.07 GiB (H200, which has 140.00 GiB)" in told.reason
    assert "other processes leave 1.00 GiB free" in told.reason


@pytest.mark.parametrize("total", [2 * GIB, 8 * GIB, 140 * GIB])
@pytest.mark.parametrize("processes", [1, 2, 4, 10])
def test_shares_leave_room_for_what_is_no_tensor(total: int, processes: int) -> None:
    each = share_of_memory(1 / processes, total)
    assert 0 < each < total / processes
    if total / processes >= 2 * CONTEXT_BYTES:
        assert processes * (each + CONTEXT_BYTES) <= total


def test_what_failed_holds_no_memory() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def step() -> None:
        held = torch.ones(10)
        alive.append(weakref.ref(held))
        raise MemoryError

    try:
        step()
    except MemoryError as error:
        caught = error
    gc.collect()
    assert alive[0]() is not None
    let_go(caught, CPU)
    gc.collect()
    assert alive[0]() is None
