"""Forgetting score, negative alignment and alignment matrices against loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from tests.metrics.evidence import SIZES, GivenEvidence, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.metrics import negative_alignment
from unlearn_ray.metrics.alignment_matrices import AlignmentMatrices
from unlearn_ray.metrics.base import Metric
from unlearn_ray.metrics.forgetting_score import ForgettingScore
from unlearn_ray.metrics.negative_alignment import NegativeAlignment


def naive_matrix(evidence: GivenEvidence, samples: int) -> list[list[float]]:
    views = evidence.view_features("forget", 2, samples).double().tolist()

    def cosine(a: list[float], b: list[float]) -> float:
        dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))

    return [[cosine(first, second) for _, second in views] for first, _ in views]


def mean_and_deviation(values: list[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))


@pytest.fixture
def evidence() -> GivenEvidence:
    return random_evidence(seed=1, before=random_evidence(seed=2))


def naive_gap(evidence: GivenEvidence, samples: int) -> list[list[float]]:
    assert isinstance(evidence.before, GivenEvidence)
    before, after = naive_matrix(evidence.before, samples), naive_matrix(evidence, samples)
    return [
        [b - a for b, a in zip(row, other, strict=True)]
        for row, other in zip(before, after, strict=True)
    ]


def test_forgetting_score(evidence: GivenEvidence) -> None:
    gap = naive_gap(evidence, SIZES["forget"])
    mean, deviation = mean_and_deviation([gap[i][i] for i in range(len(gap))])
    assert ForgettingScore().measure(evidence).values == {
        "forgetting_score": pytest.approx(mean, abs=1e-14),
        "forgetting_score_std": pytest.approx(deviation, abs=1e-14),
    }


def test_forgetting_score_is_positive_when_views_were_closer_before() -> None:
    close, far = torch.ones(5, 2, 3), torch.ones(5, 2, 3)
    far[:, 1, 0] = -1
    labels = {"forget": torch.zeros(5, dtype=torch.long)}
    before = GivenEvidence(labels, {}, {"forget": close})
    after = GivenEvidence(labels, {}, {"forget": far}, before)
    assert ForgettingScore().measure(after).values == {
        "forgetting_score": pytest.approx(2 / 3),
        "forgetting_score_std": pytest.approx(0.0, abs=1e-12),
    }


@pytest.mark.parametrize("samples", [5, 23, 1000])
@pytest.mark.parametrize("block", [4, 512])
def test_negative_alignment(
    evidence: GivenEvidence, samples: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(negative_alignment, "BLOCK", block)
    gap = naive_gap(evidence, samples)
    mean, deviation = mean_and_deviation(
        [value for i, row in enumerate(gap) for j, value in enumerate(row) if i != j]
    )
    assert NegativeAlignment(samples=samples).measure(evidence).values == {
        "negative_alignment_mean": pytest.approx(mean, abs=1e-14),
        "negative_alignment_std": pytest.approx(deviation, abs=1e-14),
    }


def test_alignment_matrices(evidence: GivenEvidence) -> None:
    arrays = AlignmentMatrices(samples=6).measure(evidence).arrays
    expected = {
        "am_before": naive_matrix(evidence.before, 6),  # type: ignore[arg-type]
        "am_after": naive_matrix(evidence, 6),
        "agm": naive_gap(evidence, 6),
    }
    assert set(arrays) == set(expected)
    for name, matrix in expected.items():
        torch.testing.assert_close(
            arrays[name], torch.tensor(matrix, dtype=torch.float64), rtol=0, atol=1e-14
        )


def test_the_gap_matrix_s_diagonal_averages_to_the_forgetting_score(
    evidence: GivenEvidence,
) -> None:
    agm = AlignmentMatrices(samples=1000).measure(evidence).arrays["agm"]
    score = ForgettingScore().measure(evidence).values["forgetting_score"]
    assert agm.shape == (SIZES["forget"], SIZES["forget"])
    assert float(agm.diagonal().mean()) == pytest.approx(score, abs=1e-14)


@pytest.mark.parametrize("metric", [ForgettingScore(), NegativeAlignment()])
def test_an_unchanged_model_scores_exactly_zero(metric: Metric) -> None:
    same = random_evidence(seed=3, before=random_evidence(seed=3))
    assert set(metric.measure(same).values.values()) == {0.0}


@pytest.mark.parametrize("metric", [ForgettingScore(), NegativeAlignment()])
def test_one_sample_has_no_deviation(metric: Metric) -> None:
    sizes = {"retain": 3, "forget": 1, "test": 3}
    one = random_evidence(sizes, seed=1, before=random_evidence(sizes, seed=2))
    values = metric.measure(one).values
    assert [value for name, value in values.items() if name.endswith("std")] == [0.0]
    assert all(math.isfinite(value) for value in values.values())
    if isinstance(metric, NegativeAlignment):
        assert values["negative_alignment_mean"] == 0.0


def test_zero_features_have_similarity_zero() -> None:
    labels = {"forget": torch.zeros(4, dtype=torch.long)}
    before = GivenEvidence(labels, {}, {"forget": torch.ones(4, 2, 3)})
    collapsed = GivenEvidence(labels, {}, {"forget": torch.zeros(4, 2, 3)}, before)
    assert ForgettingScore().measure(collapsed).values["forgetting_score"] == pytest.approx(1.0)
    gap = NegativeAlignment().measure(collapsed).values["negative_alignment_mean"]
    assert gap == pytest.approx(1.0)


@pytest.mark.parametrize("metric", [ForgettingScore(), NegativeAlignment(), AlignmentMatrices()])
def test_an_empty_forget_set_is_refused(metric: Metric) -> None:
    empty = {**SIZES, "forget": 0}
    with pytest.raises(DataError, match="forget set of 0 samples"):
        metric.measure(random_evidence(empty, before=random_evidence(empty)))
