"""Residual knowledge against counting, and where nothing can be divided by."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.metrics.evidence import SIZES, GivenEvidence, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.metrics.ratio import ratio_of
from unlearn_ray.metrics.residual_knowledge import ResidualKnowledge


def right(model: GivenEvidence, epsilon: int, draws: int, samples: int) -> int:
    count = 0
    for draw in range(draws):
        logits = model.perturbed_logits("forget", epsilon, draw, samples).tolist()
        for row, label in zip(logits, model.labels("forget").tolist(), strict=False):
            count += row.index(max(row)) == label
    return count


@pytest.mark.parametrize(("epsilon", "draws", "samples"), [(8, 10, 5000), (20, 3, 11), (0, 1, 23)])
def test_it_is_the_ratio_of_right_predictions(epsilon: int, draws: int, samples: int) -> None:
    labels = random_evidence(seed=1).given_labels
    retrained = replace(random_evidence(seed=2), given_labels=labels)
    model = replace(random_evidence(seed=1), reference=retrained)
    metric = ResidualKnowledge(epsilon=epsilon, draws=draws, samples=samples)
    own, other = (right(each, epsilon, draws, samples) for each in (model, retrained))
    measured = metric.measure(model).values
    assert measured["residual_knowledge"] == own / other
    shown = draws * min(samples, SIZES["forget"])
    assert measured["perturbed_forget_accuracy"] == pytest.approx(100 * own / shown)


def test_a_model_knows_as_much_as_itself() -> None:
    assert ResidualKnowledge().measure(random_evidence()).values["residual_knowledge"] == 1.0


def always(label: int, labels: Tensor) -> GivenEvidence:
    outputs = torch.full((len(labels), 3), 1e-30)
    outputs[:, label] = 1.0
    given = replace(random_evidence(), given_labels={**random_evidence().given_labels})
    given.given_labels["forget"] = labels
    return replace(given, given_probabilities={"forget": outputs})


def test_what_retraining_never_knows_is_divided_by_one() -> None:
    labels = torch.zeros(6, dtype=torch.long)
    knowing, ignorant = always(0, labels), always(1, labels)
    metric = ResidualKnowledge(draws=4)

    def ratio(model: GivenEvidence, retrained: GivenEvidence) -> float:
        return metric.measure(replace(model, reference=retrained)).values["residual_knowledge"]

    assert ratio(ignorant, ignorant) == 1.0
    assert ratio(knowing, knowing) == 1.0
    assert ratio(ignorant, knowing) == 0.0
    assert ratio(knowing, ignorant) == 6 * 4


def test_ratios() -> None:
    assert [ratio_of(*pair) for pair in ((0, 0), (3, 0), (0, 3), (3, 3), (1, 4))] == [
        1.0, 3.0, 0.0, 1.0, 0.25,
    ]  # fmt: skip


def test_nothing_is_forgotten() -> None:
    with pytest.raises(DataError, match="forget set of 0 samples"):
        ResidualKnowledge().measure(random_evidence({**SIZES, "forget": 0}))
