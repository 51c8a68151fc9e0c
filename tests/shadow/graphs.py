"""CUDA graphs of the device: what a capture launches is written down, and a replay does it again.

As on CUDA, a capture computes nothing, and a replay runs no Python: numbers from the host, and the
way that was taken through the code, are those of the capture, and every operation reads and writes
the memory of then. What may not be captured, copies from the host and whatever waits for the
device, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map


class CUDAGraph:
    """What was launched during a capture."""

    def __init__(self) -> None:
        self._launched: list[tuple[Any, Sequence[Any], Mapping[str, Any], Any]] = []
        self._own: dict[int, torch.UntypedStorage] = {}
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    @property
    def operations(self) -> int:
        """How many were launched."""
        return len(self._launched)

    def launch(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Capture an operation on tensors of the host; its result has the right shape only."""
        for storage in _storages((args, kwargs)):
            address = storage.data_ptr()
            if address not in self._own and address not in self._before:
                self._before[address] = storage, storage.clone()
        found = func(*args, **kwargs)
        for storage in _storages(found):
            if storage.data_ptr() not in self._before:
                self._own[storage.data_ptr()] = storage
        self._launched.append((func, args, kwargs, found))
        return found

    def end(self) -> None:
        """Undo what the capture computed."""
        for storage, before in self._before.values():
            storage.copy_(before)
        self._before.clear()

    @torch.no_grad()
    def replay(self) -> None:
        """Do it again, on the same memory."""
        for func, args, kwargs, found in self._launched:
            again = func(*args, **kwargs)
            tree_map(_write, found, again)


def _storages(nested: Any) -> Iterator[torch.UntypedStorage]:
    for each in tree_flatten(nested)[0]:
        if isinstance(each, Tensor) and each.untyped_storage().nbytes():
            yield each.untyped_storage()


def _write(place: Any, value: Any) -> None:
    if isinstance(place, Tensor) and _address(place) != _address(value):
        place.copy_(value)


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Stream:
    """A queue of launches; there is only one that computes."""

    def wait_stream(self, _: Stream) -> None:
        """Nothing else is under way."""

    def is_capturing(self) -> bool:
        """Whether launches are captured."""
        return bool(_captures)


_ONLY = Stream()
_captures: list[CUDAGraph] = []


def current_stream() -> Stream:
    """The one there is."""
    return _ONLY


@contextmanager
def stream(_: Stream) -> Iterator[None]:
    """Launch on a stream."""
    yield


def capturing() -> CUDAGraph | None:
    """The graph that launches are captured in."""
    return _captures[-1] if _captures else None


@contextmanager
def graph(cuda_graph: CUDAGraph, **_: Any) -> Iterator[None]:
    """Capture in a graph."""
    _captures.append(cuda_graph)
    try:
        yield
    finally:
        _captures.pop()
        cuda_graph.end()
