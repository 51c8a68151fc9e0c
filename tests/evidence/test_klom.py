"""KLOM against loops, its published nulls, and the form that loses the largest value."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unlearn_ray.evidence.klom import klom


def naive(unlearned: list[float], retrained: list[float]) -> float:
    kinds = [[min(max(value, -100.0), 100.0) for value in each] for each in (unlearned, retrained)]
    low, high = min(map(min, kinds)), max(map(max, kinds))
    counts = [[0] * 20, [0] * 20]
    for values, count in zip(kinds, counts, strict=True):
        for value in values:
            place = 0 if high == low else int((value - low) / ((high - low) / 20))
            count[min(place, 19)] += 1
    total = 0.0
    for p, q in zip(*counts, strict=True):
        if p:
            share = p / len(unlearned)
            total += share * math.log(share / max(q / len(retrained), 1e-5))
    return total


def test_it_is_that_of_loops() -> None:
    generator = np.random.default_rng(1)
    unlearned, retrained = generator.normal(1, 60, (7, 9)), generator.normal(0, 90, (11, 9))
    retrained[:, 4] = unlearned[:, 4] = 2.5
    expected = [naive([*u], [*r]) for u, r in zip(unlearned.T, retrained.T, strict=True)]
    assert klom(unlearned, retrained) == pytest.approx(expected)
    assert expected[4] == 0


def test_many_samples_are_computed_in_parts() -> None:
    generator = np.random.default_rng(2)
    unlearned, retrained = generator.normal(size=(3, 9_000)), generator.normal(size=(3, 9_000))
    some = [0, 4095, 4096, 8999]
    assert klom(unlearned, retrained)[some].tolist() == pytest.approx(
        klom(unlearned[:, some], retrained[:, some]).tolist()
    )
    assert klom(unlearned[:, :0], retrained[:, :0]).shape == (0,)


@pytest.mark.parametrize(
    ("models", "shift", "mean", "percentile"),
    [
        (5, 0, 7.96, 10.2),
        (10, 0, 5.57, 7.8),
        (20, 0, 3.09, 5.0),
        (20, 0.5, 3.3, None),
        (20, 1, 3.9, None),
        (20, 2, 6.3, None),
        (50, 0, 0.87, None),
        (100, 0, 0.35, 0.65),
        (100, 0.5, 0.61, None),
        (100, 1, 1.16, None),
        (100, 2, 3.6, None),
    ],
)
def test_known_values(models: int, shift: float, mean: float, percentile: float | None) -> None:
    generator = np.random.default_rng(3)
    found = klom(generator.normal(shift, 1, (models, 2000)), generator.normal(size=(models, 2000)))
    assert found.mean() == pytest.approx(mean, rel=0.08)
    assert percentile is None or np.quantile(found, 0.95) == pytest.approx(percentile, rel=0.08)


def test_the_null_of_a_thousand_models_is_small() -> None:
    generator = np.random.default_rng(4)
    found = klom(generator.normal(size=(1000, 200)), generator.normal(size=(1000, 200)))
    assert found.mean() == pytest.approx(0.024, abs=0.003)


def without_the_largest(unlearned: np.ndarray, retrained: np.ndarray) -> np.ndarray:
    """The public form: `digitize` puts the joint maximum beyond the last bin."""
    found = []
    for u, r in zip(unlearned.T, retrained.T, strict=True):
        edges = np.linspace(min(u.min(), r.min()), max(u.max(), r.max()), 21)
        counts = [np.bincount(np.digitize(x, edges), minlength=22)[1:21] for x in (u, r)]
        p, q = (count / count.sum() for count in counts)
        some = p > 0
        found.append(float((p[some] * np.log(p[some] / np.maximum(q[some], 1e-5))).sum()))
    return np.array(found)


@pytest.mark.parametrize(("models", "moved"), [(10, 0.24), (100, 0.03)])
def test_the_largest_value_counts(models: int, moved: float) -> None:
    """Mirrored confidences have the same KLOM; without the largest value they have not."""
    generator = np.random.default_rng(5)
    unlearned, retrained = (
        generator.normal(size=(models, 400)),
        generator.normal(size=(models, 400)),
    )
    ours, mirrored = klom(unlearned, retrained), klom(-unlearned, -retrained)
    assert mirrored == pytest.approx(ours, abs=1e-9)
    faulty = without_the_largest(unlearned, retrained)
    assert not np.allclose(faulty, without_the_largest(-unlearned, -retrained), atol=1e-2)
    assert np.abs(faulty - ours).mean() > moved / 3
