"""The kernel that renders views on a GPU, in Triton's interpreter, against the views of the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.data.test_augmentation import each_augmentation, generator, noise
from unlearn_ray.data import augmentation as augmentation_module
from unlearn_ray.data.augmentation import Augmentation, contrastive_views, normalise
from unlearn_ray.data.fused_views import can_fuse, fused_views
from unlearn_ray.data.rendering import scale_and_offset
from unlearn_ray.data.view_parameters import ViewParameters

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# For a tile of its own, images are larger than a program renders.
LARGE = 72
CLOSE = 1e-5 if DEVICE == "cpu" else 1e-4


def fused(
    augmentation: Augmentation,
    images: Tensor,
    parameters: ViewParameters,
    ids: Tensor | None = None,
    rows: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    scale, offset = scale_and_offset(augmentation.mean, augmentation.std)
    ids, rows = (None if part is None else part.to(DEVICE) for part in (ids, rows))
    views = fused_views(
        images.to(DEVICE), parameters.to(DEVICE), ids=ids, rows=rows,
        padding=augmentation.padding, scale=scale, offset=offset, dtype=dtype,
    )  # fmt: skip
    return views.cpu()


def agree(augmentation: Augmentation, size: int, count: int = 12, seed: int = 0) -> None:
    images = noise(count + 5, size)
    images[0], images[-1] = 0, 255
    parameters = augmentation.sample(count, size, generator(seed))
    ids = torch.randperm(count + 5, generator=generator(seed))[:count]
    rows = torch.randperm(count, generator=generator(seed + 1))
    expected = augmentation.apply(images, parameters, ids)
    views = fused(augmentation, images, parameters, ids)
    assert views.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(views, expected, rtol=0, atol=CLOSE)
    views = fused(augmentation, images, parameters, ids, rows)
    torch.testing.assert_close(views, expected[rows], rtol=0, atol=CLOSE)


@each_augmentation
@pytest.mark.parametrize("size", [8, 28, 32, 33])
def test_views_are_those_of_the_cpu(augmentation: Augmentation, size: int) -> None:
    agree(augmentation, size)


@each_augmentation
@pytest.mark.parametrize("size", [64, LARGE])
def test_views_of_large_images_are_those_of_the_cpu(augmentation: Augmentation, size: int) -> None:
    agree(augmentation, size, count=2)


def test_views_of_photographs_are_those_of_the_cpu() -> None:
    agree(contrastive_views(), 224, count=1)


unit = st.floats(0, 1)


@given(
    augmentation=st.builds(
        Augmentation,
        rotation=st.just(0.0) | st.floats(0, 180),
        crop_scale=st.none() | st.just((0.02, 1.0)),
        flip=unit,
        jitter=unit,
        brightness=st.just(0.0) | st.floats(0, 2),
        contrast=st.just(0.0) | st.floats(0, 2),
        saturation=st.just(0.0) | st.floats(0, 2),
        hue=st.just(0.0) | st.floats(0, 0.5),
        gray=unit,
    )
    | st.builds(Augmentation, padding=st.integers(1, 50), flip=unit, rotation=st.floats(0, 180)),
    size=st.integers(1, 40),
    seed=st.integers(0, 99),
)
@settings(max_examples=25)
def test_any_augmentation_of_any_size(augmentation: Augmentation, size: int, seed: int) -> None:
    agree(augmentation, size, count=4, seed=seed)


@pytest.mark.parametrize("size", [32, LARGE])
def test_bf16_is_the_rounded_view(size: int) -> None:
    images, augmentation = noise(4, size), contrastive_views()
    parameters = augmentation.sample(4, size, generator())
    views = fused(augmentation, images, parameters, dtype=torch.bfloat16)
    assert views.dtype == torch.bfloat16
    expected = augmentation.apply(images, parameters).bfloat16()
    # What lies halfway may be rounded either way.
    torch.testing.assert_close(views, expected, rtol=2**-7, atol=1e-4)


def test_the_test_time_view() -> None:
    images = noise(5, 9)
    views = fused(Augmentation(), images, ViewParameters(5))
    torch.testing.assert_close(views, normalise(images), rtol=0, atol=CLOSE)


def test_no_views_of_no_images() -> None:
    augmentation = contrastive_views()
    parameters = augmentation.sample(0, 8, generator())
    assert fused(augmentation, noise(3, 8), parameters, torch.arange(0)).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("with_ids", [False, True])
def test_rows_of_a_batch(monkeypatch: pytest.MonkeyPatch, with_ids: bool) -> None:
    images, augmentation = noise(20, 8).to(DEVICE), contrastive_views()
    ids = torch.randperm(20, generator=generator())[:14] if with_ids else None
    parameters = augmentation.sample(20 if ids is None else 14, 8, generator())
    expected = augmentation.apply(images.cpu(), parameters, ids)
    ids = None if ids is None else ids.to(DEVICE)
    monkeypatch.setattr(augmentation_module, "can_fuse", lambda images: True)
    for rows in (slice(None), slice(3, 9), slice(5, 5), torch.tensor([11, 0, 7])):
        there = rows.to(DEVICE) if isinstance(rows, Tensor) else rows
        views = augmentation.apply(images, parameters, ids, there)
        torch.testing.assert_close(views.cpu(), expected[rows], rtol=0, atol=CLOSE)


def test_without_a_driver_of_a_gpu_there_is_no_kernel() -> None:
    # As on a machine without a C compiler: Triton is there, and cannot launch anything.
    program = "from unlearn_ray.data.fused_views import _has_triton; print(_has_triton())"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_DEFAULT_BACKEND"] = "none"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False"], done.stderr
    assert "C compiler" in done.stderr


def test_on_the_cpu_there_is_no_kernel() -> None:
    assert not can_fuse(noise(1, 4))


@dataclass
class Traffic:
    """Addresses that the kernel's programs touch, and its launches."""

    read: list[np.ndarray] = field(default_factory=list)
    written: list[np.ndarray] = field(default_factory=list)
    launches: int = 0


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    from triton.runtime import interpreter

    from unlearn_ray.data import view_kernel

    seen, builder = Traffic(), interpreter.interpreter_builder
    load, store = builder.create_masked_load, builder.create_masked_store

    def touched(pointers: Any, mask: Any) -> np.ndarray:
        addresses = pointers.data[mask.data].astype(np.int64).reshape(-1, 1)
        return addresses + np.arange(pointers.get_element_ty().primitive_bitwidth // 8)

    def loading(pointers: Any, mask: Any, *rest: Any) -> Any:
        seen.read.append(touched(pointers, mask).ravel())
        return load(pointers, mask, *rest)

    def storing(pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        seen.written.append(touched(pointers, mask).ravel())
        return store(pointers, value, mask, *rest)

    def launching(*arguments: Any, **options: Any) -> None:
        seen.launches += 1

    monkeypatch.setattr(builder, "create_masked_load", loading)
    monkeypatch.setattr(builder, "create_masked_store", storing)
    monkeypatch.setattr(view_kernel._render, "pre_run_hooks", [launching])
    return seen


def addresses(*tensors: Tensor | None) -> set[int]:
    return {
        address
        for tensor in tensors
        if tensor is not None
        for address in range(tensor.data_ptr(), tensor.data_ptr() + tensor.nbytes)
    }


@pytest.mark.skipif(DEVICE == "cuda", reason="on a GPU kernels are compiled")
@each_augmentation
@pytest.mark.parametrize("size", [32, LARGE])
def test_launches_and_bytes_of_a_view(
    traffic: Traffic, augmentation: Augmentation, size: int
) -> None:
    count = 3
    images = noise(count + 2, size)
    parameters = augmentation.sample(count, size, generator())
    ids = torch.arange(1, count + 1)
    views = fused(augmentation, images, parameters, ids, dtype=torch.bfloat16)
    drawn = [*parameters.tensors().values()]
    read, written = (
        np.unique(np.concatenate(parts)).tolist() for parts in (traffic.read, traffic.written)
    )
    assert traffic.launches == (2 if size == LARGE and augmentation.contrast else 1)
    own = addresses(views)
    sums = set(written) - own
    assert len(sums) <= 4 * count * -(-size * size // 1024)
    # Nothing of other images, and nothing beyond the tensors; every byte of the views.
    assert set(read) <= addresses(images[1:-1], ids, *drawn) | sums
    assert own <= set(written)
    # Each level once, and each value of the view once; what is drawn is little.
    minimal = size * size * 3 * (1 + 2)
    assert len(read) + len(written) <= 1.1 * count * minimal


COMPILE = """
import sys
from triton import compile, next_power_of_2
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from unlearn_ray.data.view_kernel import _render

for architecture, warps, types, constants in (
    # Crops of large images with all colours, whose means are known; padded shifts, turned.
    (90, 4, dict(ids="*i64", crop="*i64", flip="*u8", jitter="*u8", factors="*fp32", order="*i64",
                 gray="*u8", sums="*fp32", views="*bf16"),
     dict(height=224, width=224, padding=0, operations=4, block=1024, tiles=49, summing=False)),
    (80, 4, dict(ids="*i64", rows="*i64", angle="*fp64", shift="*i64", flip="*u8", views="*fp32"),
     dict(height=28, width=28, padding=4, operations=0, block=1024, tiles=1, summing=False)),
):
    names = _render.arg_names
    constants["most_tiles"] = next_power_of_2(constants["tiles"])
    types |= {name: "fp32" for name in names if name.endswith(("scale", "offset"))}
    types["images"] = "*u8"
    constants |= {name: None for name in names if name not in types and name not in constants}
    source = ASTSource(
        _render,
        {name: types.get(name, "constexpr") for name in names},
        {(names.index(name),): value for name, value in constants.items()},
    )
    options = dict(num_warps=warps, enable_fp_fusion=False)
    compiled = compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    assert compiled.asm["cubin"]
    print(architecture)
"""


def test_the_kernel_compiles_for_gpus(tmp_path: Any) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["90", "80"], done.stderr
