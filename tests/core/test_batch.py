"""Two batches that pass a model as one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.toy import random_batch
from unlearn_ray.core.batch import Batch


def pair() -> tuple[Batch, Batch]:
    first, second = random_batch(5, (0, 1, 2, 3, 4), seed=1), random_batch(3, seed=2)
    return replace(first, beside=second, progress=0.25), second


def test_joined_is_the_one_after_the_other() -> None:
    first, second = pair()
    joined = first.joined
    assert joined.size == 8
    assert joined.beside is None
    assert joined.progress == 0.25
    assert joined.labels.tolist() == first.labels.tolist() + second.labels.tolist()
    assert joined.is_forget.tolist() == [True] * 5 + [False] * 3
    assert joined.ids.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    for view in range(2):
        assert torch.equal(joined.view(view), torch.cat([first.view(view), second.view(view)]))


@pytest.mark.parametrize("begin", range(9))
def test_any_rows_of_the_joined_view(begin: int) -> None:
    first, second = pair()
    whole = torch.cat([first.view(0), second.view(0)])
    for end in range(begin, 9):
        assert torch.equal(first.joined.views[0][begin:end], whole[begin:end])
    order = torch.randperm(8, generator=torch.Generator().manual_seed(begin))
    assert torch.equal(first.joined.view(0, order), whole[order])
