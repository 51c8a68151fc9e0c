"""The membership attack against one that is trained and asked sample by sample."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.metrics.evidence import SIZES, GivenEvidence, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.metrics.member_prediction_rate import MemberPredictionRate

Rows = list[list[float]]


def outputs(count: int, sharpness: float, seed: int, classes: int = 4) -> Tensor:
    """Softmax outputs; the sharper, the more like a trained-on sample's."""
    noise = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=noise)
    chosen = torch.randint(classes, (count, 1), generator=noise)
    return logits.scatter_add(1, chosen, torch.full((count, 1), sharpness)).softmax(1)


def evidence_of(retain: Tensor, test: Tensor, forget: Tensor) -> GivenEvidence:
    tables = {"retain": retain, "test": test, "forget": forget}
    labels = {part: torch.zeros(len(table), dtype=torch.long) for part, table in tables.items()}
    return GivenEvidence(labels, tables)


def measure(retain: Tensor, test: Tensor, forget: Tensor) -> tuple[float, float]:
    values = MemberPredictionRate().measure(evidence_of(retain, test, forget)).values
    return values["member_rate_forget"], values["member_rate_members"]


def solved(matrix: Rows, right: list[float]) -> list[float]:
    """Gaussian elimination."""
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    size = len(rows)
    for pivot in range(size):
        best = max(range(pivot, size), key=lambda r: abs(rows[r][pivot]))
        rows[pivot], rows[best] = rows[best], rows[pivot]
        for other in range(size):
            if other != pivot:
                factor = rows[other][pivot] / rows[pivot][pivot]
                rows[other] = [
                    a - factor * b for a, b in zip(rows[other], rows[pivot], strict=True)
                ]
    return [row[-1] / row[k] for k, row in enumerate(rows)]


def logistic_regression(rows: Rows, is_member: list[int]) -> list[float]:
    """Weights, then the intercept, that minimise |w|^2 / 2 + the sum of log losses: Newton."""
    size = len(rows[0]) + 1
    weights = [0.0] * size
    for _ in range(50):
        gradient = [*weights[:-1], 0.0]
        hessian = [[float(a == b and a < size - 1) for b in range(size)] for a in range(size)]
        for row, label in zip(rows, is_member, strict=True):
            features = [*row, 1.0]
            score = sum(w * x for w, x in zip(weights, features, strict=True))
            probability = 1 / (1 + math.exp(-score))
            for a in range(size):
                gradient[a] += (probability - label) * features[a]
                for b in range(size):
                    spread = probability * (1 - probability)
                    hessian[a][b] += spread * features[a] * features[b]
        step = solved(hessian, gradient)
        weights = [w - s for w, s in zip(weights, step, strict=True)]
    return weights


def rate(weights: list[float], rows: Rows) -> float:
    said = 0
    for row in rows:
        said += sum(w * x for w, x in zip(weights, [*row, 1.0], strict=True)) > 0
    return 100 * said / len(rows)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("retain", "test"), [(120, 41), (60, 80), (31, 33)])
def test_rates_are_those_of_a_plain_attack(retain: int, test: int, seed: int) -> None:
    tables = outputs(retain, 4.0, seed), outputs(test, 2.0, seed + 9), outputs(25, 3.0, seed + 20)
    ordered: list[Rows] = []
    for table in tables:
        ordered.append([sorted(row, reverse=True) for row in table.double().tolist()])
    kept, tested, forgotten = ordered
    size = min(len(kept), len(tested)) // 2
    learnt = [tested[k * (len(tested) // size)] for k in range(size)]
    weights = logistic_regression(kept[:size] + learnt, [1] * size + [0] * size)
    expected = rate(weights, forgotten), rate(weights, kept[size : 2 * size])
    assert measure(*tables) == pytest.approx(expected)


def test_samples_like_members_are_taken_for_members() -> None:
    retain, test = outputs(400, 9.0, 0), outputs(200, 1.0, 1)
    seen, members = measure(retain, test, outputs(100, 9.0, 2))
    unseen, _ = measure(retain, test, outputs(100, 1.0, 3))
    assert members > 90
    assert seen > 90
    assert unseen < 20


def test_the_order_of_classes_says_nothing() -> None:
    retain, test, forget = outputs(90, 4.0, 0), outputs(60, 2.0, 1), outputs(30, 3.0, 2)
    turned = [table[:, torch.tensor([2, 0, 3, 1])] for table in (retain, test, forget)]
    assert measure(*turned) == measure(retain, test, forget)


def test_held_out_samples_are_not_learnt_from() -> None:
    """The odd test samples, and retain samples beyond twice the half, change nothing."""
    retain, test, forget = outputs(90, 4.0, 0), outputs(40, 2.0, 1), outputs(30, 3.0, 2)
    expected = measure(retain, test, forget)
    changed_test = test.clone()
    changed_test[1::2] = 0.25
    changed_retain = torch.cat((retain[:40], outputs(50, 0.0, 5)))
    assert measure(changed_retain, changed_test, forget) == expected
    # The second twenty are held out, and tried.
    changed_retain[20:40] = 0.25
    assert measure(changed_retain, test, forget)[0] == expected[0]
    assert measure(changed_retain, test, forget)[1] in (0.0, 100.0)


def test_a_large_test_set_takes_seconds_at_most() -> None:
    found = measure(
        outputs(40_000, 9.0, 0, 10), outputs(26_000, 5.0, 1, 10), outputs(500, 5.0, 2, 10)
    )
    assert 0 < found[0] < found[1]


@pytest.mark.parametrize("part", SIZES)
def test_an_empty_set_is_refused(part: str) -> None:
    with pytest.raises(DataError, match=f"{part} set of 0 samples"):
        MemberPredictionRate().measure(random_evidence({**SIZES, part: 0}))


@pytest.mark.parametrize("part", ["retain", "test"])
def test_one_sample_cannot_be_learnt_from_and_held_out(part: str) -> None:
    with pytest.raises(DataError, match="one to train on and one to evaluate on"):
        MemberPredictionRate().measure(random_evidence({**SIZES, part: 1}))
