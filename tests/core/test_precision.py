"""What a GPU's float32 means: one setting, which everything that reads it agrees on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from unlearn_ray.core.precision import round_to_tf32, rounds_to_tf32, tf32


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = rounds_to_tf32()
    yield
    round_to_tf32(*before)


@pytest.mark.parametrize("products", [True, False])
@pytest.mark.parametrize("convolutions", [True, False])
def test_all_who_ask_agree(products: bool, convolutions: bool) -> None:
    round_to_tf32(products, convolutions)
    assert rounds_to_tf32() == (products, convolutions)
    # PyTorch's compiler and its context managers read these, and fail if they contradict.
    assert torch.backends.cuda.matmul.allow_tf32 == products
    assert torch.backends.cudnn.allow_tf32 == convolutions
    assert (torch.get_float32_matmul_precision() != "highest") == products
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=convolutions):
        pass


def test_a_block_leaves_it_as_it_was() -> None:
    def fail() -> None:
        with tf32():
            assert rounds_to_tf32() == (True, True)
            raise KeyError

    round_to_tf32(False, True)
    with pytest.raises(KeyError):
        fail()
    assert rounds_to_tf32() == (False, True)


def test_a_cpu_computes_as_ever() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 32, 32, generator=generator)
    with tf32():
        rounded = first @ second
    assert torch.equal(rounded, first @ second)
