"""Memorisation, counted model by model."""

from __future__ import annotations

import numpy as np
import pytest

from unlearn_ray.core.errors import DataError
from unlearn_ray.evidence.masks import OUT, states
from unlearn_ray.evidence.memorisation import groups, memorisation


def drawn(models: int, inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether models with these chances are right, and what they were trained on."""
    trained = states(models, len(inside), seed=0) != OUT
    chance = np.random.default_rng(0).random(trained.shape)
    return chance < np.where(trained, inside, outside), trained


def test_it_is_counted_by_hand() -> None:
    right, trained = drawn(12, np.full(20, 0.8), np.full(20, 0.4))
    found = memorisation(right, trained)
    for sample in range(20):
        inside = [bool(right[m, sample]) for m in range(12) if trained[m, sample]]
        outside = [bool(right[m, sample]) for m in range(12) if not trained[m, sample]]
        assert found.value[sample] == sum(inside) / 6 - sum(outside) / 6


def test_its_error_is_its_spread() -> None:
    inside, outside = np.repeat([0.9, 1, 0.5], 4000), np.repeat([0.2, 1, 0.5], 4000)
    found = memorisation(*drawn(64, inside, outside))
    for part in (slice(0, 4000), slice(8000, None)):
        truth = inside[part] - outside[part]
        spread = np.sqrt(np.mean((found.value[part] - truth) ** 2))
        np.testing.assert_allclose(np.mean(found.error[part]), spread, rtol=0.1)
    # Where all models agree there is an error, too.
    assert (found.value[4000:8000] == 0).all()
    assert (found.error[4000:8000] > 0.03).all()


def test_memorised_samples_rank_high() -> None:
    outside = np.linspace(1, 0, 300)
    found = groups(memorisation(*drawn(128, np.ones(300), outside)).value, size=50, seed=0)
    assert [*found] == ["low", "mid", "high"]
    assert [round(float(ids.mean())) for ids in found.values()] == pytest.approx(
        [25, 150, 275], abs=8
    )
    assert len({*found["low"], *found["mid"], *found["high"]}) == 150


def test_equal_estimates_are_ranked_at_random_but_always_alike() -> None:
    found = groups(np.zeros(900), size=300, seed=0)
    assert all(abs(ids.mean() - 450) < 50 for ids in found.values())
    again = groups(np.zeros(900), size=300, seed=0)
    assert all((found[name] == again[name]).all() for name in found)
    assert (groups(np.zeros(900), size=300, seed=1)["low"] != found["low"]).any()


@pytest.mark.parametrize("size", [0, 4])
def test_groups_that_would_overlap_are_refused(size: int) -> None:
    with pytest.raises(DataError, match="choose a size from 1 to 3"):
        groups(np.zeros(10), size=size, seed=0)


def test_a_sample_without_models_is_refused() -> None:
    with pytest.raises(DataError, match="2 samples: all models or none"):
        memorisation(np.ones((4, 2), bool), np.ones((4, 2), bool))
