"""The queue of the newest rows, against a list."""

from __future__ import annotations

import pytest
import torch

from unlearn_ray.families.momentum import enqueue


@pytest.mark.parametrize(("size", "count"), [(10, 4), (4, 4), (5, 12), (3, 7)])
def test_a_queue_holds_the_latest_rows(size: int, count: int) -> None:
    queue, labels = torch.randn(size, 2, dtype=torch.float64), torch.arange(size)
    pointer = torch.zeros((), dtype=torch.int64)
    expected = list(zip(queue.tolist(), labels.tolist(), strict=True))
    place = 0
    for iteration in range(5):
        rows, new = (
            torch.randn(count, 2, dtype=torch.float64),
            torch.arange(count) + 100 * iteration,
        )
        enqueue(pointer, (queue, rows), (labels, new))
        for row in zip(rows.tolist(), new.tolist(), strict=True):
            expected[place % size] = row
            place += 1
        assert list(zip(queue.tolist(), labels.tolist(), strict=True)) == expected
        assert int(pointer) == place % size
