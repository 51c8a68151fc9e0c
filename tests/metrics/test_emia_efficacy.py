from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.metrics.evidence import SIZES, GivenEvidence, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.metrics.attacks import best_threshold
from unlearn_ray.metrics.emia_efficacy import EDGES, EMIAEfficacy
from unlearn_ray.quantities.similarity import mean_pair_cosine


def cosine(a: list[float], b: list[float]) -> float:
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    lengths = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return dot / lengths if lengths else 0.0


def naive_scores(views: torch.Tensor) -> list[float]:
    scores = []
    for sample in views.double().tolist():
        pairs = [cosine(sample[i], sample[j]) for i in range(len(sample)) for j in range(i)]
        scores.append(math.fsum(pairs) / len(pairs))
    return scores


def naive_threshold(members: list[float], non_members: list[float]) -> float:
    best, threshold = -1.0, 0.0
    for step in range(501):
        edge = step / 500
        found = sum(1 for score in members if score >= edge) / len(members)
        rejected = sum(1 for score in non_members if score < edge) / len(non_members)
        if found + rejected > best + 1e-12:
            best, threshold = found + rejected, edge
    return threshold


def test_closed_form_equals_the_mean_over_all_pairs() -> None:
    views = random_evidence().view_features("retain", 10, 90)
    torch.testing.assert_close(
        mean_pair_cosine(views),
        torch.tensor(naive_scores(views), dtype=torch.float64),
        rtol=0,
        atol=1e-14,
    )


def test_rows_are_taken_in_turns_without_mixing() -> None:
    views = torch.randn(2500, 3, 2, generator=torch.Generator().manual_seed(0))
    one_by_one = torch.cat([mean_pair_cosine(views[i : i + 1]) for i in range(len(views))])
    torch.testing.assert_close(mean_pair_cosine(views), one_by_one, rtol=0, atol=1e-15)


@pytest.mark.parametrize("seed", range(6))
def test_equals_the_naive_loop(seed: int) -> None:
    evidence = random_evidence(seed=seed)
    members = naive_scores(evidence.view_features("retain", 10, SIZES["test"]))
    threshold = naive_threshold(members, naive_scores(evidence.view_features("test", 10, 99)))
    forget = naive_scores(evidence.view_features("forget", 10, 99))
    expected = 100 * sum(1 for score in forget if score < threshold) / len(forget)
    measured = EMIAEfficacy().measure(evidence).values
    assert measured == {"emia_efficacy": pytest.approx(expected, abs=1e-12)}
    assert 0 < expected < 100


@pytest.mark.parametrize(("members", "others"), [(400, 400), (37, 250), (250, 37)])
def test_threshold_equals_the_naive_search(members: int, others: int) -> None:
    rng = np.random.default_rng(members)
    for _ in range(20):
        a, b = rng.normal(0.6, 0.2, members), rng.normal(0.45, 0.2, others)
        assert best_threshold(a, b, EDGES) == pytest.approx(
            naive_threshold(a.tolist(), b.tolist()), abs=1e-12
        )


def test_the_first_of_equal_edges_wins_and_the_edge_itself_is_a_member() -> None:
    assert best_threshold(np.array([0.8, 0.9]), np.array([0.1, 0.2]), EDGES) == pytest.approx(0.202)
    assert best_threshold(np.array([0.5]), np.array([0.499]), EDGES) == 0.5
    # All alike: rejecting nobody is as good as rejecting everybody, and comes first.
    assert best_threshold(np.full(5, 0.7), np.full(5, 0.7), EDGES) == 0.0


def test_unequal_numbers_count_alike() -> None:
    """A plain accuracy would call everybody a member here and score 0."""
    rng = np.random.default_rng(0)
    members, others = rng.normal(0.7, 0.1, 5000), rng.normal(0.5, 0.1, 100)
    assert 0.55 < best_threshold(members, others, EDGES) < 0.65


def test_members_limit() -> None:
    evidence = random_evidence({"retain": 90, "forget": 20, "test": 60})
    views = dict(evidence.given_views)
    views["retain"] = torch.cat([views["retain"][:30], torch.randn(60, 10, 6)])
    changed_after_30 = GivenEvidence(evidence.given_labels, {}, views)
    limited = EMIAEfficacy(members=30)
    assert limited.measure(evidence) == limited.measure(changed_after_30)


def test_constant_and_zero_features_are_defined() -> None:
    labels = random_evidence().given_labels
    constant = {p: torch.ones(n, 10, 4) for p, n in SIZES.items()}
    zero = {p: torch.zeros(n, 10, 4) for p, n in SIZES.items()}
    for views in (constant, zero):
        value = EMIAEfficacy().measure(GivenEvidence(labels, {}, views)).values["emia_efficacy"]
        assert value == 0.0


@pytest.mark.parametrize("part", SIZES)
def test_an_empty_set_is_refused(part: str) -> None:
    with pytest.raises(DataError, match=f"{part} set of 0 samples"):
        EMIAEfficacy().measure(random_evidence({**SIZES, part: 0}))
