"""Collective communication between the workers that train one model.

Worker r of W computes a consecutive slice of every batch, its own rows. The outputs are gathered,
so that every worker computes the same loss over the whole batch; parameter gradients are then
averaged. For the average to be the gradient of that loss, the gradient of gathered rows is
multiplied by W: a parameter's gradient through the rows is a sum over workers, while a
penalty on the parameter itself has the same gradient on every worker, which averaging keeps.

A batch of fewer rows than workers is computed whole by every worker: none is left without a row,
and each gradient is already that of the loss.

A single process, with or without `torch.distributed`, is a single worker, at no overhead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, distributed

from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.errors import UnlearnRayError

Value = TypeVar("Value")

# Errors of a connection between workers contain one of these.
_TRANSPORTS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")


def world_size() -> int:
    """Number of workers."""
    if not distributed.is_available() or not distributed.is_initialized():
        return 1
    return distributed.get_world_size()


def rank() -> int:
    """Rank of this worker: 0 .. W - 1."""
    return distributed.get_rank() if world_size() > 1 else 0


def lost_another(error: BaseException) -> bool:
    """Whether this worker raised an error because another one of its group is gone."""
    if world_size() == 1 or not isinstance(error, RuntimeError):
        return False
    told = reason_of(error)
    return isinstance(error, distributed.DistError) or any(word in told for word in _TRANSPORTS)


def rows_of(worker: int, count: int) -> slice:
    """The consecutive rows, out of `count`, that a worker computes; sizes differ by at most one.

    If there are fewer rows than workers, every worker computes all of them.
    """
    workers = world_size()
    if count < workers:
        return slice(0, count)
    return slice(count * worker // workers, count * (worker + 1) // workers)


def own_rows(count: int) -> slice:
    """The rows, out of `count`, that this worker computes."""
    return rows_of(rank(), count)


_together: list[int] = []


@contextmanager
def sharing(count: int) -> Iterator[None]:
    """Announce the size of the whole batch to layers that need it (batch norm).

    A worker's own rows do not determine it: with two workers, batches of 6 and of 7 both give
    one of them 3 rows.
    """
    _together.append(count)
    try:
        yield
    finally:
        _together.pop()


def rows_together() -> int:
    """The size announced by the innermost `sharing`."""
    assert _together, "call within `sharing`"
    return _together[-1]


def gather_rows(rows: Float[Tensor, "own ..."], count: int) -> Float[Tensor, "count ..."]:
    """The rows of all workers, in order, on every worker; differentiable.

    Args:
        rows: this worker's own (`own_rows(count)`).
        count: rows of all workers together.
    """
    if world_size() == 1:
        return rows
    return cast(Tensor, _GatherRows.apply(rows, count))  # type: ignore[no-untyped-call]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, count: int) -> Tensor:
        ctx.count = count
        if count < world_size():
            # All have computed the same, up to rounding.
            gathered = rows.clone()
            distributed.broadcast(gathered, 0)
            return gathered
        # Adding zeros is exact, and allows slices of different sizes.
        gathered = rows.new_zeros(count, *rows.shape[1:])
        gathered[own_rows(count)] = rows
        distributed.all_reduce(gathered)
        return gathered

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        if ctx.count < world_size():
            return gradient, None
        return gradient[own_rows(ctx.count)] * world_size(), None


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over workers, with one all-reduce for all of them.

    The result is the same bit for bit on every worker.
    """
    if world_size() == 1:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= world_size()
    parts = flat.split_with_sizes([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


def gather_objects(own: Value) -> list[Value]:
    """Every worker's object, in the order of their ranks."""
    if world_size() == 1:
        return [own]
    gathered: list[Any] = [None] * world_size()
    distributed.all_gather_object(gathered, own)
    return gathered


def on_first(action: Callable[[], Value]) -> Value:
    """Run `action` on worker 0 only, and return its result on every worker.

    Raises:
        UnlearnRayError: on every worker, the error of worker 0.
    """
    if world_size() == 1:
        return action()
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = action()
        except UnlearnRayError as error:
            outcome[1] = error
    distributed.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return cast(Value, outcome[0])


def on_every(action: Callable[[], Value]) -> Value:
    """Run an action that may fail on some workers only.

    Raises:
        UnlearnRayError: on every worker, the error of the first that failed, so that no worker
            waits for one that has given up.
    """
    if world_size() == 1:
        return action()
    value: Value | None = None
    error: UnlearnRayError | None = None
    try:
        value = action()
    except UnlearnRayError as caught:
        error = caught
    for found in gather_objects(error):
        if found is not None:
            raise found
    return cast(Value, value)
