"""Copies to the device; what they cost on a GPU is tested in tests/shadow."""

from __future__ import annotations

import torch

from unlearn_ray.core.transfer import moved, packed, to_device, unpacked

TENSORS = [
    torch.arange(6, dtype=torch.float64).view(2, 3),
    torch.tensor([True, False, True]),
    torch.tensor(7),
    torch.empty(0, 4, dtype=torch.int64),
    torch.arange(10, dtype=torch.float32)[::2],  # not contiguous
]


def test_what_is_packed_is_unpacked() -> None:
    buffer = packed(TENSORS)
    for part, tensor in zip(unpacked(buffer, TENSORS), TENSORS, strict=True):
        assert part.dtype == tensor.dtype
        assert part.is_contiguous()
        assert torch.equal(part, tensor)
        assert part.untyped_storage().data_ptr() == buffer.data_ptr()
        assert part.storage_offset() * part.element_size() % 16 == 0


def test_nothing_is_packed() -> None:
    assert unpacked(packed([]), []) == []


def test_on_the_cpu_nothing_moves() -> None:
    assert all(a is b for a, b in zip(moved(TENSORS, torch.device("cpu")), TENSORS, strict=True))


def test_shapes_and_dtypes_on_another_device() -> None:
    there = moved(TENSORS, torch.device("meta"))
    assert [(part.shape, part.dtype) for part in there] == [(t.shape, t.dtype) for t in TENSORS]
    assert all(part.device.type == "meta" for part in there)


def test_on_the_cpu_nothing_is_copied() -> None:
    rows = torch.arange(4)
    assert to_device(rows, torch.device("cpu")) is rows


def test_shape_and_type_are_kept() -> None:
    there = to_device(torch.zeros(2, 3, dtype=torch.uint8), torch.device("meta"))
    assert (there.shape, there.dtype, there.device.type) == ((2, 3), torch.uint8, "meta")
