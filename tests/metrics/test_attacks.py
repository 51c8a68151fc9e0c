"""The membership attacks against ones that are tried sample by sample and pair by pair."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.metrics.evidence import SIZES, GivenEvidence, random_evidence
from tests.metrics.test_emia_efficacy import naive_scores
from tests.metrics.test_member_prediction_rate import logistic_regression
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.registry import parts
from unlearn_ray.metrics.attacks import Attack, AttackOutput, attack_split, best_threshold, success
from unlearn_ray.metrics.base import Metric
from unlearn_ray.metrics.entropy_attack import entropy
from unlearn_ray.metrics.modified_entropy_attack import modified_entropy
from unlearn_ray.metrics.view_similarity import ViewSimilarity
from unlearn_ray.quantities.base import Pairs

ATTACKS = {name: metric for name, metric in parts(Metric).items() if issubclass(metric, Attack)}
Score = Callable[[list[float], int], float]
Numbers = list[float]
Cuts = tuple[Numbers, Numbers]


def log(value: float) -> float:
    return math.log(max(value, 1e-30))


def confidence(p: Numbers, y: int) -> float:
    return p[y]


def minus_entropy(p: Numbers, y: int) -> float:
    return math.fsum(q * log(q) for q in p)


def minus_modified_entropy(p: Numbers, y: int) -> float:
    others = math.fsum(q * log(1 - q) for i, q in enumerate(p) if i != y)
    return (1 - p[y]) * log(p[y]) + others


def is_right(p: Numbers, y: int) -> float:
    return float(all(p[y] > q or (p[y] == q and y <= i) for i, q in enumerate(p)))


SCORES: dict[str, Score] = {
    "confidence_attack": confidence,
    "entropy_attack": minus_entropy,
    "modified_entropy_attack": minus_modified_entropy,
}


def naive_sides(evidence: GivenEvidence) -> tuple[list[int], list[int]]:
    """Test samples that are learnt from, and that are tried."""
    retain, forget, test = (evidence.labels(p).tolist() for p in ("retain", "forget", "test"))
    learnt, tried = [], []
    for k, label in enumerate(test):
        before = sum(1 for earlier in test[:k] if earlier == label)
        if label in forget and (label not in retain or before % 2 == 0):
            tried.append(k)
        elif label in retain:
            learnt.append(k)
    return learnt, tried


def naive_threshold(members: Numbers, others: Numbers) -> float:
    best, chosen = -1, math.nan
    for threshold in sorted(members + others):
        found = sum(1 for s in members if s >= threshold) * len(others)
        rejected = sum(1 for s in others if s < threshold) * len(members)
        if found + rejected > best:
            best, chosen = found + rejected, threshold
    return chosen


def naive_report(members: Numbers, others: Numbers, cuts: Cuts | None = None) -> list[float]:
    """Success, AUC by counting pairs, TPR by trying every threshold.

    `cuts` are each sample's own thresholds, on both sides; 0 if left out.
    """
    ours, theirs = cuts or ([0.0] * len(members), [0.0] * len(others))
    found = sum(1 for s, cut in zip(members, ours, strict=True) if s >= cut) / len(members)
    rejected = sum(1 for s, cut in zip(others, theirs, strict=True) if s < cut) / len(others)
    pairs = math.fsum(1.0 if m > o else 0.5 * (m == o) for m in members for o in others)
    tails = []
    for percent in (1.0, 0.1):
        allowed = [0.0]
        for threshold in members + others:
            false = sum(1 for s in others if s >= threshold)
            if 100 * false <= percent * len(others):
                allowed.append(sum(1 for s in members if s >= threshold) / len(members))
        tails.append(100 * max(allowed))
    return [50 * (found + rejected), 100 * pairs / len(members) / len(others), *tails]


def naive_attack(
    evidence: GivenEvidence, scores: dict[str, Numbers], by_class: bool
) -> list[float]:
    labels = {part: evidence.given_labels[part].tolist() for part in scores}
    learnt, tried = naive_sides(evidence)
    members = range(min(len(learnt), len(labels["retain"])))

    def threshold(label: int) -> float:
        ours = [scores["retain"][k] for k in members if labels["retain"][k] == label]
        theirs = [scores["test"][k] for k in learnt if labels["test"][k] == label]
        if not by_class or not ours or not theirs:
            ours = [scores["retain"][k] for k in members]
            theirs = [scores["test"][k] for k in learnt]
        return naive_threshold(ours, theirs)

    cuts = {label: threshold(label) for part in labels.values() for label in part}
    return naive_report(
        scores["forget"],
        [scores["test"][k] for k in tried],
        ([cuts[y] for y in labels["forget"]], [cuts[labels["test"][k]] for k in tried]),
    )


def naive_outputs(evidence: GivenEvidence, score: Score) -> dict[str, Numbers]:
    return {
        part: [
            score(p, y)
            for p, y in zip(table.double().tolist(), evidence.given_labels[part], strict=True)
        ]
        for part, table in evidence.given_probabilities.items()
    }


def rough(evidence: GivenEvidence) -> GivenEvidence:
    """The same with outputs in eighths, so that many are equal, and exactly 0 or 1."""
    tables = {}
    for part, table in evidence.given_probabilities.items():
        first = (table[:, 0] * 8).round() / 8
        second = torch.minimum(1 - first, (table[:, 1] * 8).round() / 8)
        rest = 1 - first - second
        tables[part] = torch.stack((first, second, rest, torch.zeros_like(rest)), dim=1)
    return GivenEvidence(evidence.given_labels, tables, evidence.given_views)


def overfitted(seed: int, forgotten: str = "samples") -> GivenEvidence:
    """The true class is likelier in the retain, a little less in the forget and test set."""
    evidence = random_evidence(
        {"retain": 90, "forget": 33, "test": 61}, seed=seed, forgotten=forgotten
    )
    tables = {}
    for part, boost in {"retain": 2.5, "forget": 2.0, "test": 1.0}.items():
        chosen = evidence.given_labels[part][:, None]
        logits = evidence.given_probabilities[part].log() * 1.5
        more = torch.full(chosen.shape, boost)
        tables[part] = logits.scatter_add(1, chosen, more).softmax(1)
    return GivenEvidence(evidence.given_labels, tables, evidence.given_views)


CASES = {
    "samples": lambda seed: overfitted(seed),
    "classes": lambda seed: overfitted(seed, "classes"),
    "ties": lambda seed: rough(overfitted(seed)),
    "few retained": lambda seed: random_evidence(
        {"retain": 7, "forget": 20, "test": 60}, seed=seed
    ),
    "tiny": lambda seed: random_evidence({"retain": 12, "forget": 2, "test": 9}, seed=seed + 3),
}


# Entropies that are equal on paper differ in the last digit where sums take another order.
OUTPUT_CASES = [
    (name, case)
    for name in SCORES
    for case in CASES
    if case != "ties" or name == "confidence_attack"
]


def values_of(name: str, evidence: GivenEvidence) -> list[float]:
    return list(ATTACKS[name]().measure(evidence).values.values())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "case"), OUTPUT_CASES)
def test_threshold_attacks_are_those_tried_one_by_one(name: str, case: str, seed: int) -> None:
    evidence = CASES[case](seed)
    scores = naive_outputs(evidence, SCORES[name])
    expected = naive_attack(evidence, scores, by_class=True)
    assert values_of(name, evidence) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", CASES)
def test_correctness_attack_is_that_tried_one_by_one(case: str, seed: int) -> None:
    evidence = CASES[case](seed)
    right = naive_outputs(evidence, is_right)
    tried = [right["test"][k] - 0.5 for k in naive_sides(evidence)[1]]
    expected = naive_report([r - 0.5 for r in right["forget"]], tried)
    found = values_of("correctness_attack", evidence)
    assert found == pytest.approx(expected, abs=1e-9)
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", ["samples", "classes", "few retained", "tiny"])
def test_cosine_attack_is_that_tried_one_by_one(case: str, seed: int) -> None:
    evidence = CASES[case](seed)
    scores = {part: naive_scores(views) for part, views in evidence.given_views.items()}
    expected = naive_attack(evidence, scores, by_class=False)
    assert values_of("cosine_attack", evidence) == pytest.approx(expected, abs=1e-9)


def naive_observations(p: Numbers, y: int) -> Numbers:
    others = math.fsum(q for i, q in enumerate(p) if i != y)
    return [
        *(log(q) for q in sorted(p, reverse=True)),
        is_right(p, y),
        p[y],
        log(p[y]),
        log(p[y]) - log(others),
        -minus_entropy(p, y),
        -minus_modified_entropy(p, y),
    ]


@pytest.mark.parametrize("case", ["samples", "classes"])
def test_learned_attack_is_a_plain_logistic_regression(case: str) -> None:
    evidence = CASES[case](0)
    learnt, tried = naive_sides(evidence)
    seen = {
        part: [
            naive_observations(p, y)
            for p, y in zip(
                evidence.given_probabilities[part].double().tolist(),
                evidence.given_labels[part].tolist(),
                strict=True,
            )
        ]
        for part in SIZES
    }
    rows = seen["retain"][: len(learnt)] + [seen["test"][k] for k in learnt]
    assert len(rows) == 2 * len(learnt)
    count = len(rows[0])
    means = [math.fsum(row[k] for row in rows) / len(rows) for k in range(count)]
    spreads = [
        math.sqrt(math.fsum((row[k] - means[k]) ** 2 for row in rows) / len(rows))
        for k in range(count)
    ]

    def standard(row: Numbers) -> Numbers:
        return [(v - m) / s for v, m, s in zip(row, means, spreads, strict=True)]

    is_member = [1] * len(learnt) + [0] * len(learnt)
    weights = logistic_regression([standard(row) for row in rows], is_member)

    def margin(row: Numbers) -> float:
        return math.fsum(w * x for w, x in zip(weights, [*standard(row), 1.0], strict=True))

    expected = naive_report(
        [margin(row) for row in seen["forget"]], [margin(seen["test"][k]) for k in tried]
    )
    assert values_of("learned_attack", evidence) == pytest.approx(expected, abs=1e-9)
    assert {margin(row) >= 0 for row in seen["forget"]} == {True, False}


def scored(members: NDArray[np.float64], others: NDArray[np.float64]) -> list[float]:
    """With members at or above 0."""
    return list(success(AttackOutput(members, members >= 0), AttackOutput(others, others >= 0)))


@pytest.mark.parametrize("seed", range(5))
def test_scoring_equals_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for ours, theirs in ((40, 150), (300, 1000), (3, 2)):
        for digits in (0, 1, 9):
            members = (rng.normal(0.5, 1, ours)).round(digits)
            others = (rng.normal(-0.5, 1, theirs)).round(digits)
            expected = naive_report(members.tolist(), others.tolist())
            assert scored(members, others) == pytest.approx(expected, abs=1e-9)


def test_low_rates_are_steps_and_need_enough_non_members() -> None:
    others = np.arange(1000.0)
    members = np.array([999.5, 998.5, 997.5, 990.5, 989.5, 0.0])
    # One false positive in 1,000 is allowed at 0.1 %, and ten at 1 %.
    assert scored(members, others)[2:] == pytest.approx([100 * 5 / 6, 100 * 2 / 6])
    # Of 999, none and nine.
    assert scored(members, others[1:])[2:] == pytest.approx([100 * 4 / 6, 100 * 1 / 6])
    # Equal scores are not split by a straight line between two steps.
    assert scored(np.zeros(5), np.zeros(2000)) == [50.0, 50.0, 0.0, 0.0]


@pytest.mark.parametrize("seed", range(5))
def test_threshold_equals_the_naive_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for members, others in ((40, 40), (7, 90), (90, 7), (1, 1)):
        a, b = rng.normal(0.6, 0.3, members).round(1), rng.normal(0.4, 0.3, others).round(1)
        assert best_threshold(a, b) == naive_threshold(a.tolist(), b.tolist())


@pytest.mark.parametrize("case", CASES)
def test_sides_are_those_of_the_plain_loop(case: str) -> None:
    for seed in range(5):
        evidence = CASES[case](seed)
        sides = attack_split(evidence)
        learnt, tried = naive_sides(evidence)
        assert np.flatnonzero(sides.learnt).tolist() == learnt
        assert np.flatnonzero(sides.tried).tolist() == tried
        assert sides.members == min(len(learnt), evidence.size("retain"))


def test_a_forgotten_class_is_compared_with_its_own_test_samples_alone() -> None:
    """Were it with others', a model that lost the class would look as if it kept no secret."""
    labels = {"retain": [1, 2] * 20, "forget": [0] * 10, "test": [0, 1, 2] * 10}
    sides = attack_split(GivenEvidence({part: torch.tensor(y) for part, y in labels.items()}))
    assert np.flatnonzero(sides.tried).tolist() == list(range(0, 30, 3))
    assert sides.learnt.sum() == 20


def one_hot(labels: Tensor, right: Tensor, classes: int = 4) -> Tensor:
    """Outputs that are certain, and wrong where not `right`."""
    return torch.nn.functional.one_hot(torch.where(right, labels, (labels + 1) % classes), classes)


@pytest.mark.parametrize("forgotten", ["samples", "classes"])
@pytest.mark.parametrize("name", ATTACKS)
def test_a_constant_model_gives_nobody_away(name: str, forgotten: str) -> None:
    evidence = random_evidence(
        {"retain": 90, "forget": 23, "test": 61}, seed=1, forgotten=forgotten
    )
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(10, 64, generator=generator)
    sizes = {part: evidence.size(part) for part in SIZES}
    views = {part: features.expand(n, -1, -1).clone() for part, n in sizes.items()}
    flat = {part: torch.full((n, 4), 0.25) for part, n in sizes.items()}
    pairs = {part: pairs_at(features[:1].expand(n, -1), features[1]) for part, n in sizes.items()}
    same = GivenEvidence(evidence.given_labels, flat, views, None, pairs)
    if name not in ("correctness_attack", "learned_attack"):  # class 0 is right, and others not
        assert values_of(name, same) == [50.0, 50.0, 0.0, 0.0]
    # What is constant within a class gives no member of it away either.
    sure = {p: one_hot(y, torch.ones(len(y), dtype=torch.bool)).float() for p, y in labels(same)}
    certain = GivenEvidence(evidence.given_labels, sure, views, None, pairs)
    assert values_of(name, certain) == [50.0, 50.0, 0.0, 0.0]


def pairs_at(images: Tensor, text: Tensor) -> Pairs:
    """Images that all have one caption."""
    count = len(images)
    return Pairs(images, text[None], torch.zeros(count, dtype=torch.long), torch.arange(count + 1))


def labels(evidence: GivenEvidence) -> list[tuple[str, Tensor]]:
    return list(evidence.given_labels.items())


@pytest.mark.parametrize("name", ATTACKS)
def test_a_model_that_memorised_gives_everybody_away(name: str) -> None:
    """Certain and right of members; of the others unsure, wrong, and of differing views.

    Of others, no image is near its caption.
    """
    evidence = random_evidence({"retain": 90, "forget": 23, "test": 61}, seed=1)
    generator = torch.Generator().manual_seed(0)
    tables, views, pairs = {}, {}, {}
    for part, y in labels(evidence):
        member = torch.full((len(y),), part != "test")
        tables[part] = one_hot(y, member).float() * (1.0 if part != "test" else 0.7)
        tables[part] += 0.0 if part != "test" else 0.075
        noise = torch.randn(len(y), 10, 6, generator=generator)
        views[part] = noise if part == "test" else noise[:, :1].expand(-1, 10, -1)
        images = noise[:, 0] if part == "test" else torch.ones(len(y), 6)
        pairs[part] = pairs_at(images, torch.ones(6))
    found = values_of(name, GivenEvidence(evidence.given_labels, tables, views, None, pairs))
    assert found == [100.0, 100.0, 100.0, 100.0]


def test_entropies_of_rough_outputs_are_those_of_the_plain_sums() -> None:
    evidence = rough(overfitted(0))
    table, y = evidence.given_probabilities["test"].double().numpy(), evidence.labels("test")
    assert {0.0, 1.0} <= set(table.flatten().tolist())
    plain = naive_outputs(evidence, minus_entropy)["test"]
    assert entropy(table) == pytest.approx([-score for score in plain], abs=1e-12)
    plain = naive_outputs(evidence, minus_modified_entropy)["test"]
    found = modified_entropy(table, y.numpy())
    assert found == pytest.approx([-score for score in plain], abs=1e-12)


def test_modified_entropy_of_certain_outputs_is_finite_and_orders_them() -> None:
    certain = np.array([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0]])
    right, nearly, wrong = modified_entropy(certain, np.zeros(3, dtype=np.int64))
    assert right == 0
    # -(0.1 log 0.9) - 0.1 log 0.9: not -(0.1 log 0.9) - 0.1 log 0.1, as in much unlearning code.
    assert nearly == pytest.approx(-0.2 * math.log(0.9))
    assert wrong == pytest.approx(-2 * math.log(1e-30))


def test_view_similarity_is_the_mean_over_samples_and_pairs() -> None:
    for forgotten in ("samples", "classes"):
        evidence = random_evidence(seed=2, forgotten=forgotten)
        forget = naive_scores(evidence.given_views["forget"])
        present = evidence.given_labels["forget"].tolist()
        test = [
            score
            for score, y in zip(
                naive_scores(evidence.given_views["test"]),
                evidence.given_labels["test"].tolist(),
                strict=True,
            )
            if y in present
        ]
        assert ViewSimilarity().measure(evidence).values == pytest.approx(
            {
                "view_similarity_forget": math.fsum(forget) / len(forget),
                "view_similarity_test": math.fsum(test) / len(test),
            },
            abs=1e-12,
        )


@pytest.mark.parametrize("part", SIZES)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_empty_set_is_refused(name: str, part: str) -> None:
    with pytest.raises(DataError, match=f"{part} set of 0 samples"):
        ATTACKS[name]().measure(random_evidence({**SIZES, part: 0}))


@pytest.mark.parametrize("part", ["forget", "test"])
def test_view_similarity_of_an_empty_set_is_refused(part: str) -> None:
    with pytest.raises(DataError, match=f"{part} set of 0 samples"):
        ViewSimilarity().measure(random_evidence({**SIZES, part: 0}))


@pytest.mark.parametrize("name", ATTACKS)
def test_nobody_to_learn_from_or_to_be_tried_on_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="none to train an attack on"):
        ATTACKS[name]().measure(random_evidence({**SIZES, "test": 1}))
    evidence = random_evidence()
    evidence.given_labels["test"].clamp_(min=1)
    evidence.given_labels["forget"].zero_()
    with pytest.raises(DataError, match="none to evaluate it on"):
        ATTACKS[name]().measure(evidence)
    with pytest.raises(DataError, match="no sample of the forget set's classes"):
        ViewSimilarity().measure(evidence)


def test_each_attack_has_four_columns_and_prints_two() -> None:
    assert len(ATTACKS) == 7
    for name, metric in ATTACKS.items():
        names = [name, f"{name}_auc", f"{name}_tpr_at_1", f"{name}_tpr_at_0_1"]
        assert list(metric.columns) == names
        assert metric.stored_only == set(names[2:])
        assert not metric.by_default
        assert not metric.in_average_gap
