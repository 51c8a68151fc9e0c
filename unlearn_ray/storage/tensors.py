"""Tensors as safetensors bytes, which are read without running any code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.storage.stored import json_value

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

# Files of artifacts: a model's weights; what a metric, score or quantity has beside its numbers.
MODEL = "model.safetensors"
ARRAYS = "arrays.safetensors"
_METADATA = "metadata"


def pack_tensors(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Named tensors of any shape and dtype as safetensors, on the CPU and contiguous.

    Equal tensors and metadata give equal bytes. Tensors that share memory are stored separately.
    """
    import safetensors.torch  # torch: imported only if tensors are used

    copies = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    addresses = [copy.untyped_storage().data_ptr() for copy in copies.values() if copy.numel()]
    if len(set(addresses)) < len(addresses):
        copies = {name: copy.clone() for name, copy in copies.items()}
    # One entry: safetensors writes several in an order that varies from call to call.
    text = {_METADATA: json.dumps(metadata, sort_keys=True)} if metadata else None
    return bytes(safetensors.torch.save(copies, metadata=text))


def unpack_tensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of `pack_tensors`.

    Raises:
        CorruptObject: the bytes are truncated or not safetensors.
    """
    import safetensors.torch

    try:
        tensors = safetensors.torch.load(data)
        header = json_value(data[8 : 8 + int.from_bytes(data[:8], "little")])
        text = header.get("__metadata__", {}).get(_METADATA, "{}")
        metadata = json_value(text)
        if not isinstance(metadata, dict):
            raise ValueError("its metadata is not a mapping")
        return tensors, metadata
    except (SafetensorError, ValueError, KeyError) as error:
        raise _corrupt(data, error) from error


def unpack_arrays(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of `pack_tensors` as arrays, without PyTorch.

    Raises:
        CorruptObject: the bytes are truncated or not safetensors, or hold a type that numpy lacks.
    """
    import safetensors.numpy

    try:
        arrays: dict[str, np.ndarray] = safetensors.numpy.load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _corrupt(data, error) from error
    return arrays


def _corrupt(data: bytes, error: Exception) -> CorruptObject:
    return CorruptObject(
        f"tensors in {len(data)} bytes",
        f"not complete safetensors ({str(error)[:200]})",
        "delete the object and run again",
    )
