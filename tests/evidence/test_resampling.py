"""Relabelled and halved models, on a score whose distribution is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unlearn_ray.evidence.resampling import (
    TIMES,
    ends,
    evenly,
    halved_rows,
    null_of,
    permuted_rows,
)


def test_relabelled_rows_are_all_models_once() -> None:
    rows = [*permuted_rows(3, 5)]
    assert len(rows) == TIMES
    for first, second in rows:
        assert (len(first), len(second)) == (3, 5)
        assert sorted([*first, *second]) == [*range(8)]


def test_halves_are_of_each_kind() -> None:
    for first, second in halved_rows(6, 5):
        assert (len(set(first)), len(set(second))) == (3, 2)
        assert max(first) < 6 <= min(second) <= max(second) < 11


def test_they_are_the_same_every_time() -> None:
    for rows in (permuted_rows, halved_rows):
        once, again = ([np.concatenate(each).tolist() for each in rows(4, 4)] for _ in range(2))
        assert once == again


def test_the_interval_of_a_difference_of_means_holds_it() -> None:
    generator = np.random.default_rng(1)
    held, lengths = [], []
    for _ in range(200):
        models = np.concatenate([generator.normal(1, 1, 20), generator.normal(0, 1, 20)])
        halves = [[models[u].mean() - models[r].mean()] for u, r in halved_rows(20, 20)]
        low, high = ends(np.array([models[:20].mean() - models[20:].mean()]), np.array(halves))
        held.append(bool(low[0] <= 1 <= high[0]))
        lengths.append(float(high[0] - low[0]))
    assert 0.88 <= np.mean(held) <= 0.99
    assert np.mean(lengths) == pytest.approx(2 * 1.96 * math.sqrt(2 / 20), rel=0.1)


def test_the_null_is_the_mean_and_the_middle_95_percent() -> None:
    values = np.stack([np.arange(101.0), np.zeros(101)], axis=1)
    assert null_of(values)[:, 0].tolist() == pytest.approx([50, 2.5, 97.5])
    assert null_of(values).shape == (3, 2)


def test_samples_are_kept_at_even_distances() -> None:
    assert evenly(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert evenly(101, 3).tolist() == [0, 50, 100]
    assert evenly(0, 3).tolist() == []
