"""RULI's densities against sklearn's, sample by sample."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.neighbors import KernelDensity

from tests.evidence.populations_of_masks import area, bank
from unlearn_ray.evidence import kernel_density
from unlearn_ray.evidence.kernel_density import density_ratio
from unlearn_ray.evidence.masks import FORGET, OUT, RETAIN, States, states


def log_density(
    values: np.ndarray, of: States, model: int, x: int, chosen: tuple[int, ...]
) -> float:
    fitted = [[values[m, x]] for m in range(len(of)) if m // 4 != model // 4 and of[m, x] in chosen]
    estimate = KernelDensity(kernel="gaussian", bandwidth=1.0).fit(fitted)
    return float(estimate.score_samples([[values[model, x]]])[0])


@pytest.mark.parametrize("members", [(FORGET,), (RETAIN, FORGET)])
@pytest.mark.parametrize("at_once", [1, 1000, 10**6])
def test_ratios_are_those_of_densities(
    members: tuple[int, ...], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_density, "_AT_ONCE", at_once)
    of, values = bank(12, 7, shift=1, seed=0, members=members)
    found = density_ratio(values, of, members)
    for model, x in np.ndindex(*of.shape):
        member, out = (log_density(values, of, model, x, chosen) for chosen in (members, (OUT,)))
        np.testing.assert_allclose(found[model, x], member - out, atol=1e-4)


def test_nothing_to_find_is_at_chance_and_members_are_not() -> None:
    for shift, low, high in ((0, 0.49, 0.51), (1, 0.68, 0.77), (-1, 0.68, 0.77)):
        of, values = bank(24, 2000, shift=shift, seed=0, members=(FORGET,))
        assert low < area(density_ratio(values, of, (FORGET,)), of, (FORGET,)) < high


def test_equal_values_are_at_chance_and_distant_ones_have_a_ratio() -> None:
    of = states(12, 30, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        equal = density_ratio(np.full(of.shape, 1 / 3), of, (FORGET,))
        assert area(equal, of, (FORGET,)) == 0.5
        distant = density_ratio(1000.0 * (of == FORGET), of, (FORGET,))
    assert np.isfinite(distant).all()
    assert area(distant, of, (FORGET,)) == 1
