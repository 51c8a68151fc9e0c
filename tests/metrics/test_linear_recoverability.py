"""Linear recoverability against counting, from predictions of given blocks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.metrics.evidence import SIZES, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.metrics.base import Observed
from unlearn_ray.metrics.linear_recoverability import LinearRecoverability
from unlearn_ray.quantities.base import Observation


def model(predicted: Tensor, labels: Tensor, retrained: Observed | None = None) -> Observed:
    ids = {"forget": torch.arange(len(labels))}
    seen = Observation({"forget": predicted})
    return Observed(ids, {"forget": labels}, lambda _: seen, retrained=retrained)  # type: ignore[dict-item]


@pytest.mark.parametrize(("shots", "samples"), [(0, 5000), (4, 5000), (1000, 5000), (4, 11)])
def test_held_out_samples_are_counted_block_by_block(shots: int, samples: int) -> None:
    drawn = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (21,), generator=drawn)
    own, other = (torch.randint(3, (min(21, samples), 2), generator=drawn) for _ in range(2))
    seen = min(shots, min(21, samples) // 2)

    def percent(predicted: Tensor, block: int) -> float:
        hits = [
            row[block] == label
            for row, label in zip(predicted.tolist(), labels.tolist(), strict=False)
        ][seen:]
        return 100 * sum(hits) / len(hits)

    metric = LinearRecoverability(shots=shots, samples=samples)
    measured = metric.measure(model(own, labels, model(other, labels)))
    apart = [percent(own, block) - percent(other, block) for block in range(2)]
    assert measured.values["linear_recoverability"] == pytest.approx(sum(apart) / 2)
    assert measured.values["linear_recoverability_last"] == pytest.approx(apart[1])
    for name, predicted in (("accuracy", own), ("retrained_accuracy", other)):
        expected = [percent(predicted, block) for block in range(2)]
        assert measured.arrays[name].tolist() == pytest.approx(expected)


def test_features_that_still_separate_forgotten_samples_show() -> None:
    labels = torch.zeros(20, dtype=torch.long)
    knowing, ignorant = labels[:, None], labels[:, None] + 1
    measured = LinearRecoverability().measure(model(knowing, labels, model(ignorant, labels)))
    assert set(measured.values.values()) == {100.0}


def test_nothing_is_forgotten() -> None:
    with pytest.raises(DataError, match="forget set of 0 samples"):
        LinearRecoverability().measure(random_evidence({**SIZES, "forget": 0}))
