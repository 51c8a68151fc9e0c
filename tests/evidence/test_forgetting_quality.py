"""Epsilon against loops over thresholds, its null, and the public code's faults."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unlearn_ray.evidence.forgetting_quality import epsilons, points


def naive_epsilon(positives: list[bool], negatives: list[bool]) -> float:
    """Of an attack that takes these positives and these negatives for positive."""
    fpr, fnr = sum(negatives) / len(negatives), 1 - sum(positives) / len(positives)
    if fpr == 0 and fnr == 0:
        return math.inf
    if fpr == 0 or fnr == 0:
        return math.nan
    found = [0.0]
    for a, b in ((fpr, fnr), (fnr, fpr)):
        if 1 - 1e-5 - a > 0:
            found.append(math.log((1 - 1e-5 - a) / b))
    return max(found)


def naive(unlearned: list[float], retrained: list[float], step: float) -> float:
    """By a grid of thresholds, which finds no more than the limit of a fine one."""
    found = [0.0]
    larger = float(np.median(retrained)) > float(np.median(unlearned))
    positive, negative = (retrained, unlearned) if larger else (unlearned, retrained)
    low, high = min(*positive, *negative), max(*positive, *negative)
    for number in range(int((high - low) / step) + 2):
        t = low + number * step
        found.append(naive_epsilon([p >= t for p in positive], [n >= t for n in negative]))
    widths = [max(each) - min(each) for each in (unlearned, retrained)]
    narrow, wide = (retrained, unlearned) if widths[1] <= widths[0] else (unlearned, retrained)
    width, top = min(widths), max(narrow)
    for right in np.arange(top - 2, top + 2 + step / 2, step):
        for left in np.arange(right - width - 2, right - width + 2 + step / 2, step):
            inside = [[left <= v <= right for v in each] for each in (narrow, wide)]
            found.append(naive_epsilon(*inside))
    return float(min(np.nanmax(found), 50))


@pytest.mark.parametrize("shift", [0, 1.5])
def test_it_is_that_of_loops(shift: float) -> None:
    generator = np.random.default_rng(1)
    # Multiples of the step: a grid then finds all that the limit finds.
    unlearned = (generator.normal(shift, 1, (7, 6)) * 4).round() / 4
    retrained = (generator.normal(0, 1.5, (7, 6)) * 4).round() / 4
    expected = [naive([*u], [*r], 0.125) for u, r in zip(unlearned.T, retrained.T, strict=True)]
    assert epsilons(unlearned, retrained) == pytest.approx(expected)


def test_both_kinds_are_treated_alike() -> None:
    generator = np.random.default_rng(2)
    unlearned, retrained = generator.normal(1, 2, (15, 20)), generator.normal(size=(15, 20))
    assert epsilons(unlearned, retrained) == pytest.approx(epsilons(retrained, unlearned))


def test_many_samples_are_computed_in_parts() -> None:
    generator = np.random.default_rng(3)
    unlearned, retrained = generator.normal(size=(200, 30)), generator.normal(size=(200, 30))
    assert epsilons(unlearned, retrained)[[0, 24, 29]] == pytest.approx(
        epsilons(unlearned[:, [0, 24, 29]], retrained[:, [0, 24, 29]])
    )
    assert epsilons(unlearned[:, :0], retrained[:, :0]).shape == (0,)


def test_separate_and_peaked_confidences_have_the_largest_epsilon() -> None:
    generator = np.random.default_rng(4)
    retrained = generator.normal(size=(10, 1))
    assert epsilons(retrained + 20, retrained).tolist() == [50]
    assert epsilons(0.001 * retrained, retrained).tolist() == [50]


def test_equal_constants_have_none() -> None:
    constant = np.ones((6, 2))
    assert epsilons(constant, constant).tolist() == [0, 0]
    assert epsilons(constant, constant + 1).tolist() == [50, 50]


def test_two_surviving_thresholds_are_no_error() -> None:
    """The public code asserts the truth of an array and stops wherever two thresholds survive."""
    unlearned = np.array([[0.0], [1.0], [2.0], [3.0]])
    retrained = unlearned + 0.5
    surviving = np.array([naive([0, 1, 2, 3], [0.5, 1.5, 2.5, 3.5], 0.25)] * 2)
    with pytest.raises(ValueError, match="ambiguous"):
        assert surviving
    assert epsilons(unlearned, retrained).tolist() == pytest.approx(surviving[:1].tolist())


def test_points_halve_at_every_half() -> None:
    epsilon = np.array([0, 0.49, 0.5, 1.0, 1.99, 2.0, 4.99, 5.0, 50.0])
    assert points(epsilon, 100).tolist() == [1, 1, 0.5, 0.25, 0.125, 2**-4, 2**-9, 0, 0]
    # ceil(ln 7) = 2.
    assert points(epsilon, 8).tolist() == [1, 1, 0.5, 0.25, 0.125, 0, 0, 0, 0]


@pytest.mark.parametrize(("models", "samples"), [(8, 800), (16, 600), (64, 300), (100, 200)])
def test_the_null_is_0_18_at_any_number_of_models(models: int, samples: int) -> None:
    generator = np.random.default_rng(5)
    shape = (models, samples)
    found = points(epsilons(generator.normal(size=shape), generator.normal(size=shape)), models)
    error = found.std() / math.sqrt(samples)
    assert 0.15 - 2 * error <= found.mean() <= 0.2 + 2 * error
