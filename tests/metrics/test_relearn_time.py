"""Relearn time against a search through given losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.metrics.evidence import SIZES, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.metrics.base import Observed
from unlearn_ray.metrics.relearn_time import RelearnTime, time_to
from unlearn_ray.quantities.base import Observation, Quantity
from unlearn_ray.quantities.relearning import Relearning

LABELS = torch.tensor([0, 1, 2, 1, 0])


def model(
    losses: Sequence[float] = (), outputs: torch.Tensor | None = None, **others: Any
) -> Observed:
    def observe(quantity: Quantity) -> Observation:
        if isinstance(quantity, Relearning):
            return Observation(arrays={"losses": torch.tensor(losses, dtype=torch.float64)})
        assert outputs is not None
        return Observation({"forget": outputs})

    return Observed({"forget": torch.arange(5)}, {"forget": LABELS}, observe, **others)


def measured(
    own: Sequence[float], reference: Sequence[float], samples: int = 512
) -> tuple[float, float, float]:
    """Time and ratio, and the original's loss by hand."""
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    losses = []
    for row, label in list(zip(logits.double().tolist(), LABELS.tolist(), strict=True))[:samples]:
        losses.append(math.log(math.fsum(math.exp(x) for x in row)) - row[label])
    wanted = math.fsum(losses) / len(losses)
    scaled, other = ([wanted * loss for loss in each] for each in (own, reference))
    original, retrained = model(outputs=logits), model(other)
    metric = RelearnTime(updates=len(own) - 1, samples=samples)
    found = metric.measure(model(scaled, original=original, retrained=retrained))
    assert float(found.arrays["original_loss"]) == pytest.approx(wanted, rel=1e-5)
    assert found.arrays["losses"].tolist() == scaled
    return (*found.values.values(), wanted)  # type: ignore[return-value]


def test_the_first_update_at_the_loss_of_the_original() -> None:
    time, ratio, _ = measured([4, 3, 0.9, 2, 0.5], [4, 3, 2, 1.5, 0.99])
    assert (time, ratio) == (2, 0.5)


def test_only_the_first_samples_count() -> None:
    assert measured([2, 0.5], [2, 0.5])[2] != measured([2, 0.5], [2, 0.5], samples=2)[2]


def test_the_original_needs_no_update_though_it_rounds() -> None:
    assert measured([1.00001, 0.5], [4, 0.5])[:2] == (0, 0.0)
    assert measured([1.001, 0.5], [4, 0.5])[:2] == (1, 1.0)


def test_times_are_censored_and_ratios_finite() -> None:
    assert measured([4, 3, 2], [4, 3, 0.5])[:2] == (2, 1.0)
    assert measured([4, 3, 2], [4, 0.5, 2])[:2] == (2, 2.0)
    assert measured([4, 3, 2], [0.5, 3, 2])[:2] == (2, 2.0)
    assert measured([0.5, 3, 2], [0.5, 3, 2])[:2] == (0, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_time_is_a_naive_search(seed: int) -> None:
    losses = torch.rand(9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    below = [place for place, loss in enumerate(losses.tolist()) if loss <= 0.2]
    assert time_to(losses, 0.2) == min([*below, 8])


def test_nothing_is_forgotten() -> None:
    with pytest.raises(DataError, match="forget set of 0 samples"):
        RelearnTime().measure(random_evidence({**SIZES, "forget": 0}))
