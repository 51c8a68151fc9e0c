"""A CUDA device that is none: its tensors say `cuda:0`, and compute on the CPU.

Import it before torch does anything else, in a process of its own. Code for CUDA then runs as it
is written: PyTorch's autocast, autograd's thread of the device, its fused optimizers. What tensors
do is counted in `LEDGER`; what CUDA refuses, above all tensors of both devices in one operation, is
refused. There is no cuDNN, no TF32, no NCCL, no limit of memory, and no time; Triton is said to be
there, and what it would compile has a stand-in.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from tests.shadow.build import built, torch_folder

os.environ["TRITON_INTERPRET"] = "1"  # it looks for no GPU then

_LIBRARIES = ("libtorch_global_deps.so", "libc10.so", "libtorch_cpu.so", "libtorch.so")
# The guard is registered before torch first asks whether there is a device.
for _name in _LIBRARIES:
    ctypes.CDLL(str(torch_folder() / "lib" / _name), mode=ctypes.RTLD_GLOBAL)
ctypes.CDLL(str(built()))

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils._python_dispatch import (  # noqa: E402
    TorchDispatchMode,
    return_and_correct_aliasing,
)
from torch.utils._pytree import tree_flatten, tree_map  # noqa: E402

from tests.shadow import graphs  # noqa: E402
from tests.shadow.ledger import Ledger  # noqa: E402

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
LEDGER = Ledger()

# These only describe memory, or reserve it.
_FREE = {
    "_fused_sdp_choice", "_local_scalar_dense", "_reshape_alias", "_unsafe_view", "alias",
    "as_strided", "chunk", "detach", "diagonal", "empty", "empty_like", "empty_strided", "expand",
    "is_pinned", "is_same_size", "lift_fresh", "movedim", "narrow", "new_empty",
    "new_empty_strided", "permute", "resize_", "select", "set_", "slice", "split",
    "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsafe_split",
    "unsqueeze", "view", "view_as",
}  # fmt: skip
# The shape of their result, or the result itself, is known to the host only once they are done.
_SYNCHRONISE = {
    "_linalg_check_errors", "_local_scalar_dense", "_unique2", "bincount", "equal", "is_nonzero",
    "masked_select", "nonzero", "unique_consecutive", "unique_dim",
}  # fmt: skip
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
# Tensors that one launch of PyTorch's multi-tensor kernels takes, roughly.
_PER_LAUNCH = 30
# Bytes that it says to have; nothing is limited to them.
_MEMORY = 16 << 30


class OnDevice(torch.Tensor):
    """A tensor on the device.

    Attributes:
        host: its values, on the CPU.
    """

    host: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        made: OnDevice = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, layout=inner.layout, device=CUDA, requires_grad=False,
        )  # fmt: skip
        made.host = inner
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"OnDevice({self.host!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            with torch.no_grad():
                copied: Tensor = self.detach().clone()
            if isinstance(self, torch.nn.Parameter):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            else:
                copied.requires_grad_(self.requires_grad)
            memo[id(self)] = copied
        found: Tensor = memo[id(self)]
        return found


class Device(TorchDispatchMode):
    """Within it, tensors can be made on the device."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run an operation of PyTorch, which may concern the device."""
    name = func._schema.name.split("::")[-1]
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
    ours = [each for each in tensors if isinstance(each, OnDevice)]
    wanted = kwargs.get("device")
    target = None if wanted is None else torch.device(wanted).type
    pinned = _of_pinned_memory(func, name, args, kwargs)
    if pinned is not None:
        return pinned
    if ours or target == "cuda":
        _refuse(name, args, tensors)
        _count(name, args, kwargs, tensors, target)
    if name == "_fused_sdp_choice" and ours:
        return 0  # attention made of its parts
    inner = dict(kwargs) if target != "cuda" else {**kwargs, "device": CPU}
    if kwargs.get("generator") is not None:
        _refuse_generator(kwargs["generator"], on_device=bool(ours) or target == "cuda")
    graph = graphs.capturing()
    if graph is not None and (ours or target == "cuda"):
        found = graph.launch(func, tree_map(_inner, args), tree_map(_inner, inner))
    else:
        found = func(*tree_map(_inner, args), **tree_map(_inner, inner))
    if target == "cpu" or (target is None and not ours):
        return found
    wrapped = tree_map(_outer, found)
    if not ours:
        return wrapped
    if len(ours) == len(tensors) or name in _INDEXING or name in ("_to_copy", "copy_"):
        return return_and_correct_aliasing(func, args, kwargs, wrapped)
    return args[0] if func._schema.is_mutable and isinstance(args[0], OnDevice) else wrapped


def _inner(each: Any) -> Any:
    return each.host if isinstance(each, OnDevice) else each


def _outer(each: Any) -> Any:
    return OnDevice(each) if isinstance(each, Tensor) and not isinstance(each, OnDevice) else each


def _refuse(name: str, args: Sequence[Any], tensors: Sequence[Tensor]) -> None:
    """Refuse tensors of both devices in one operation; numbers may come from the host."""
    others = [each for each in tensors if not isinstance(each, OnDevice) and each.dim() > 0]
    if not others or name in ("_to_copy", "copy_"):
        return
    if name in _INDEXING and isinstance(args[0], OnDevice):
        others = [each for each in others if not any(each is index for index in args[1])]
    if others and len(others) < len(tensors):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"cuda:0 and cpu! (in {name}, of shapes {[tuple(each.shape) for each in tensors]})"
        )


def _count(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    tensors: Sequence[Tensor],
    target: str | None,
) -> None:
    crossed = _crossing(name, args, kwargs, target)
    if graphs.capturing() is not None:
        # Launches count when they are replayed.
        if crossed is not None or _waits(name, args, kwargs):
            raise RuntimeError(f"operation not permitted when stream is capturing ({name})")
        return
    if crossed is not None:
        moved, to_device, non_blocking = crossed
        size = moved.numel() * moved.element_size()
        if not to_device:
            # PyTorch makes pinned memory itself for a copy that may go on.
            asynchronous = non_blocking and (name == "_to_copy" or _is_pinned(args[0]))
            LEDGER.add("pinned" if asynchronous else "read", size=size)
        elif not non_blocking:
            LEDGER.add("waited", size=size)
        else:
            LEDGER.add("pinned" if _is_pinned(moved) else "staged", size=size)
        return
    if name in _INDEXING:
        for index in args[1]:
            if index is not None and not isinstance(index, OnDevice):
                LEDGER.add("waited", size=index.numel() * index.element_size())
    if _waits(name, args, kwargs):
        LEDGER.add("sync")
    if name not in _FREE:
        many = name.startswith(("_foreach", "_fused_ad", "_fused_sgd"))
        LEDGER.add("launch", -(-len(args[0]) // _PER_LAUNCH) if many else 1, operation=name)


def _crossing(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], target: str | None
) -> tuple[Tensor, bool, bool] | None:
    """What an operation moves between host and device, whereto, and whether it may go on."""
    if name == "_to_copy" and target is not None:
        source, non_blocking = args[0], bool(kwargs.get("non_blocking"))
        if isinstance(source, OnDevice) != (target == "cuda"):
            return source, target == "cuda", non_blocking
    if name == "copy_":
        to, source = args[:2]
        if isinstance(to, OnDevice) != isinstance(source, OnDevice):
            non_blocking = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking"))
            return source, isinstance(to, OnDevice), non_blocking
    return None


def _waits(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation waits until everything before it is done."""
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    if name not in _INDEXING:
        return name in _SYNCHRONISE
    indices = [index for index in args[1] if index is not None]
    masks = [index for index in indices if index.dtype in (torch.bool, torch.uint8)]
    # A number from the host is written under a mask without looking for the places.
    fills = name != "index" and len(indices) == 1 and args[2].numel() == 1
    return bool(masks) and not (fills and not isinstance(args[2], OnDevice))


# ----- memory that the device reads by itself

# By address; held, so that no other memory gets the same one.
_PINNED: dict[int, torch.UntypedStorage] = {}


def _is_pinned(tensor: Tensor) -> bool:
    return not isinstance(tensor, OnDevice) and (
        tensor.untyped_storage().data_ptr() in _PINNED or tensor.numel() == 0
    )


def _pin(tensor: Tensor) -> Tensor:
    storage = tensor.untyped_storage()
    _PINNED[storage.data_ptr()] = storage
    return tensor


def _of_pinned_memory(func: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result of an operation that makes pinned memory, or looks for it."""
    if name == "is_pinned":
        return _is_pinned(args[0])
    if name == "_pin_memory":
        return _pin(args[0].clone())
    if kwargs.get("pin_memory"):
        return _pin(func(*args, **{**kwargs, "pin_memory": False}))
    return None


# ----- what PyTorch does in C++, past any dispatch

# The latest of the device. An operation gets another object for the same generator.
_GENERATORS: deque[torch.Generator] = deque(maxlen=16)
_REAL_GENERATOR = torch.Generator


class _GeneratorType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _REAL_GENERATOR)


class _Generator(metaclass=_GeneratorType):
    """Makes generators, of which those of the device are remembered."""

    def __new__(cls, device: Any = "cpu") -> Any:
        made = _REAL_GENERATOR("cpu")
        if torch.device(device).type == "cuda":
            _GENERATORS.append(made)
        return made


def _is_of_device(generator: torch.Generator) -> bool:
    seed, state = generator.initial_seed(), generator.get_state()
    alike = (each for each in _GENERATORS if each.initial_seed() == seed)
    return any(torch.equal(each.get_state(), state) for each in alike)


def _refuse_generator(generator: torch.Generator, *, on_device: bool) -> None:
    if on_device != _is_of_device(generator):
        wanted, found = ("cuda", "cpu") if on_device else ("cpu", "cuda")
        raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{found}'")


def _moved(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that makes tensors of data on the host, for either device."""

    def moved(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        made = make(*args, **kwargs)
        return made if device is None else made.to(device)

    return moved


def _as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    if isinstance(data, Tensor):
        return data.to(device=device or data.device, dtype=dtype or data.dtype)
    made = _REAL_AS_TENSOR(data, dtype=dtype)
    return made if device is None else made.to(device)


_REAL_AS_TENSOR = torch.as_tensor
_REAL_TENSOR = torch.tensor


def _for_ours(name: str, ours: Callable[..., Any]) -> None:
    """Replace a method of tensors, for those on the device."""
    theirs = getattr(torch.Tensor, name)

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self, OnDevice):
            return ours(theirs, self, *args, **kwargs)
        return theirs(self, *args, **kwargs)

    setattr(torch.Tensor, name, method)


def _index(index: Any) -> Any:
    """Lists of numbers are copied to the device, where they become an index."""
    if isinstance(index, tuple):
        return tuple(map(_index, index))
    if not isinstance(index, list):
        return index
    return (_REAL_TENSOR(index) if index else torch.empty(0, dtype=torch.int64)).to(CUDA)


def _new_tensor(_: Any, self: Tensor, data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    return _REAL_TENSOR(data, dtype=dtype or self.dtype).to(device or CUDA)


class Event:
    """A moment on the device, which is never behind: no time passes between two."""

    def __init__(self, **_: Any) -> None:
        pass

    def record(self, *_: Any) -> None:
        """Mark the moment."""

    def elapsed_time(self, _: Event) -> float:
        """Milliseconds."""
        return 1.0

    def synchronize(self) -> None:
        """Wait for the moment."""
        LEDGER.add("sync")


class CUDAGraph(graphs.CUDAGraph):
    """A graph whose replay is one launch."""

    def replay(self) -> None:
        """Do what was captured again."""
        LEDGER.add("launch", operation="replay")
        super().replay()


def _patch() -> None:
    torch.Generator = _Generator  # type: ignore[misc]
    torch.tensor = _moved(_REAL_TENSOR)
    torch.as_tensor = _as_tensor
    _for_ours("tolist", lambda theirs, self: theirs(self.cpu()))
    _for_ours("new_tensor", _new_tensor)
    _for_ours("__getitem__", lambda theirs, self, index: theirs(self, _index(index)))
    _for_ours("__setitem__", lambda theirs, self, at, value: theirs(self, _index(at), value))
    replaced: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
        "is_bf16_supported": lambda *_, **__: True,
        "get_device_name": lambda *_: "shadow",
        "get_device_capability": lambda *_: (0, 0),
        "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda *_, **__: None,
        "manual_seed": lambda *_: None,
        "manual_seed_all": lambda *_: None,
        "synchronize": lambda *_: LEDGER.add("sync"),
        "Event": Event,
        "CUDAGraph": CUDAGraph,
        "graph": graphs.graph,
        "Stream": graphs.Stream,
        "stream": graphs.stream,
        "current_stream": graphs.current_stream,
        "default_generators": (),
        "get_device_properties": lambda *_: SimpleNamespace(name="shadow", total_memory=_MEMORY),
        "mem_get_info": lambda *_: (_MEMORY, _MEMORY),
        "memory_reserved": lambda *_: 0,
        "max_memory_reserved": lambda *_: 0,
        "set_per_process_memory_fraction": lambda *_: None,
        "empty_cache": lambda: None,
    }
    for name, value in replaced.items():
        setattr(torch.cuda, name, value)
    torch.accelerator.current_stream = graphs.current_stream  # type: ignore[assignment]
    torch.cuda._initialized = True
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    # A module's parameters cannot change their type in place.
    torch.__future__.set_overwrite_module_params_on_conversion(True)


_patch()


@contextmanager
def counting() -> Iterator[Ledger]:
    """Count from zero; complete once the context ends."""
    LEDGER.clear()
    found = Ledger()
    yield found
    found.take(LEDGER)
