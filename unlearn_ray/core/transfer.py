"""Copies from the host to a device, which the host does not wait for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from unlearn_ray.core.capture import Host, capturer, refuse

T = TypeVar("T")
Moment = TypeVar("Moment")

# Of each tensor in the buffer, in bytes: that of the widest loads on a GPU.
_ALIGNMENT = 16


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device, ready for what is launched next.

    An iteration that may be captured takes what it needs by `capture.given`.

    On a GPU it goes through pinned memory: from pageable memory, even a copy that is not blocking
    may wait for what was launched before. PyTorch's allocator reuses that memory once the copy is
    done, so it need not be kept.

    Args:
        tensor: on the CPU, or already on the device.
        device: where to.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        refuse("copies tensors to the device other than by Batch.drawn")
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def moved(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """CPU tensors of any shapes and dtypes on `device`, moved there in one copy.

    To a GPU it is asynchronous, from pinned memory. On the CPU they are the tensors themselves.
    """
    if device.type == "cpu":
        return list(tensors)
    host = packed(tensors, pinned=device.type == "cuda")
    return unpacked(host.to(device, non_blocking=True), tensors)


def given(make: Callable[[Moment], Host[T]], moment: Moment, device: torch.device) -> T:
    """What the host gives an iteration, on the device, in one copy.

    Args:
        make: draws or computes it for an iteration. All that differs between iterations it has
            from its argument: it is called again for each of them, in the order of the calls of
            this function.
        moment: the iteration, with its `generator` and its `progress`.
        device: where to.
    """
    captured = capturer()
    if captured is not None:
        made: T = captured.given(make)
        return made
    host = make(moment)
    return host.made(moved(host.tensors, device))


def packed(tensors: Sequence[Tensor], *, pinned: bool = False) -> UInt8[Tensor, " bytes"]:
    """The bytes of CPU tensors in one buffer, in memory that is pinned or not."""
    total = _begins(tensors)[-1]
    buffer = torch.empty(total, dtype=torch.uint8, pin_memory=pinned)
    for part, tensor in zip(unpacked(buffer, tensors), tensors, strict=True):
        part.copy_(tensor)
    return buffer


def unpacked(buffer: UInt8[Tensor, " bytes"], like: Sequence[Tensor]) -> list[Tensor]:
    """Tensors with the shapes and dtypes of `like`, in a buffer that `packed` made of such."""
    return [
        buffer[begin : begin + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        for begin, tensor in zip(_begins(like), like, strict=False)
    ]


def _begins(tensors: Sequence[Tensor]) -> list[int]:
    """Where each tensor begins in the buffer, and where the last one ends."""
    lengths = (-(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT for tensor in tensors)
    return list(accumulate(lengths, initial=0))
