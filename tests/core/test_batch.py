"""Batches that pass a model as one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unlearn_ray.core.batch import Batch
from unlearn_ray.testing.toy import random_batch


def three() -> list[Batch]:
    """A batch with two companions, and those."""
    first = random_batch(5, (0, 1, 2, 3, 4), seed=1)
    second, third = random_batch(3, seed=2), random_batch(2, seed=3)
    return [replace(first, companions=(second, third), done=0.25), second, third]


def test_joined_is_the_one_after_the_other() -> None:
    batches = three()
    joined = batches[0].joined
    assert joined.size == 10
    assert joined.companions == ()
    assert joined.progress == 0.25
    assert joined.labels.tolist() == [label for each in batches for label in each.labels.tolist()]
    assert joined.is_forget.tolist() == [True] * 5 + [False] * 5
    assert torch.equal(joined.texts, torch.cat([each.texts for each in batches]))  # type: ignore[arg-type, misc]
    assert joined.ids.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1]
    for view in range(2):
        assert torch.equal(joined.view(view), torch.cat([each.view(view) for each in batches]))


@pytest.mark.parametrize("begin", range(11))
def test_any_rows_of_the_joined_view(begin: int) -> None:
    batches = three()
    whole = torch.cat([each.view(0) for each in batches])
    joined = batches[0].joined
    for end in range(begin, 11):
        assert torch.equal(joined.views[0][begin:end], whole[begin:end])
    order = torch.randperm(10, generator=torch.Generator().manual_seed(begin))
    assert torch.equal(joined.view(0, order), whole[order])
