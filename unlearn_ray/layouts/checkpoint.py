"""The tensors of a checkpoint, read without unpickling anything."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from unlearn_ray.core.errors import DataError, listed, shown

_REMEDY = "save the state dict alone, torch.save(model.state_dict(), ...), or as safetensors"
# Under which training scripts keep the state dict.
_WITHIN = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
# What torch raises for truncated and damaged files.
_DAMAGED = (
    AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError,
    ValueError, struct.error,
)  # fmt: skip
# A pickled checkpoint begins as a ZIP archive, or in older files as a pickle.
_PICKLED = (b"PK", b"\x80")


@dataclass(frozen=True)
class Tensors:
    """What a checkpoint holds.

    Attributes:
        values: by name.
        metadata: of a safetensors file.
    """

    values: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


def tensors(data: bytes, name: str) -> Tensors:
    """The tensors of a file: safetensors, or saved by `torch.save`.

    Args:
        data: its bytes.
        name: for errors.

    Raises:
        DataError: it is something else, damaged, or would have to be unpickled.
    """
    if data.startswith(_PICKLED) and not _has_header(data):
        return Tensors(_state_dict(_loaded(data, name), name))
    try:
        values = load(data)
    except (SafetensorError, ValueError) as error:
        reason = f"neither safetensors nor a checkpoint of torch: {_first(error)}"
        raise DataError(f"checkpoint {shown(name, 200)}", reason, _REMEDY) from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return Tensors(_state_dict(values, name), header.get("__metadata__", {}))


def _has_header(data: bytes) -> bool:
    """Whether it begins as safetensors do: its header's length may look like a pickle's mark."""
    return int.from_bytes(data[:8], "little") <= len(data) - 8 and data[8:9] == b"{"


def _loaded(data: bytes, name: str) -> Any:
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "holds objects other than tensors, which only unpickling could read"
        raise DataError(f"checkpoint {shown(name, 200)}", reason, _REMEDY) from error
    except _DAMAGED as error:
        reason = f"cannot be read: {_first(error)}"
        raise DataError(f"checkpoint {shown(name, 200)}", reason, _REMEDY) from error


def _first(error: Exception) -> str:
    return shown(str(error).partition("\n")[0] or type(error).__name__, 200)


def _state_dict(found: Any, name: str) -> dict[str, Tensor]:
    """The tensors by name, at the top or within what a training script saved."""
    at: Any = found
    while isinstance(at, Mapping):
        if at and all(map(_is_tensor, at.items())):
            return dict(at)
        within = [key for key in _WITHIN if isinstance(at.get(key), Mapping)]
        if not within:
            break
        at = at[within[0]]
    keys = (
        f", at the top [{listed(map(shown, map(str, found)))}]"
        if isinstance(found, Mapping)
        else ""
    )
    reason = f"holds no state dict: no tensors by name{keys}"
    raise DataError(f"checkpoint {shown(name, 200)}", reason, _REMEDY)


def _is_tensor(item: tuple[Any, Any]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)
