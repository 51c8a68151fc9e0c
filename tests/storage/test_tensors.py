from __future__ import annotations

import os
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.storage.store import pack_tensors, unpack_tensors

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
]


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    values = torch.randint(0, 255, shape, generator=generator)
    tensor = values.to(draw(st.sampled_from(DTYPES)))
    return tensor.T if tensor.ndim == 2 and draw(st.booleans()) else tensor


@settings(max_examples=50)
@given(
    st.dictionaries(st.text(min_size=1).filter(lambda name: name != "__metadata__"), tensors()),
    st.dictionaries(st.text(), st.text()),
)
def test_tensors_and_metadata_come_back(
    given_tensors: dict[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    tensors, text = unpack_tensors(pack_tensors(given_tensors, metadata))
    assert text == metadata
    assert set(tensors) == set(given_tensors)
    for name, tensor in given_tensors.items():
        assert tensors[name].dtype == tensor.dtype
        assert tensors[name].shape == tensor.shape
        assert torch.equal(tensors[name], tensor)


def test_shared_sliced_and_trained_tensors() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    given_tensors = {
        "whole": base,
        "again": base,
        "row": base[1],
        "columns": base[:, 1:3],
        "expanded": torch.ones(1).expand(5),
        "parameter": torch.nn.Parameter(base.T),
        "channels_last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    tensors, _ = unpack_tensors(pack_tensors(given_tensors))
    for name, tensor in given_tensors.items():
        assert torch.equal(tensors[name], tensor)
    tensors["whole"].zero_()  # writable, and each of its own
    assert torch.equal(tensors["again"], base)


def test_equal_tensors_give_equal_bytes() -> None:
    names = [f"key{number}" for number in range(20)]
    packed = {
        pack_tensors(
            {name: torch.full((3,), float(name[3:])) for name in order},
            {name: name for name in order},
        )
        for order in (names, names[::-1], names)
    }
    assert len(packed) == 1


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch unpickled",)


def test_damaged_bytes_are_refused() -> None:
    data = pack_tensors({"weight": torch.rand(100), "bias": torch.rand(3)}, {"a": "b"})
    for length in (0, 1, 7, 8, 9, 40, len(data) // 2, len(data) - 1):
        with pytest.raises(CorruptObject, match=f"{length} bytes.*run again"):
            unpack_tensors(data[:length])
    for garbage in (b"x" * 1000, data[::-1], data + b"more", pickle.dumps(_Trap())):
        with pytest.raises(CorruptObject):
            unpack_tensors(garbage)
    assert not os.path.exists("unpickled")
