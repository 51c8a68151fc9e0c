"""The score KLOM: its null, power, interval and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.scores.replicates import SIZES, bank
from unlearn_ray.evidence.klom import klom
from unlearn_ray.scores.klom import KLOM


def test_values_are_the_mean_and_the_percentile_over_each_set() -> None:
    given = bank(1, 20, shift=1)
    scores = KLOM().measure(given)
    assert scores.estimates.keys() == KLOM.columns.keys()
    for part in ("forget", "retain", "test"):
        each = klom(given.unlearned.confidence[part], given.retrained.confidence[part])
        assert scores.arrays[f"klom_{part}"].tolist() == each.tolist()
        assert scores.estimates[f"klom_{part}"].value == pytest.approx(each.mean())
        assert scores.estimates[f"klom_{part}_p95"].value == pytest.approx(np.quantile(each, 0.95))


def test_shifted_confidences_are_beyond_the_null_and_others_within() -> None:
    scores = KLOM().measure(bank(2, 30, shift=1)).estimates
    assert scores["klom_forget"].value > scores["klom_forget"].null_high
    assert scores["klom_forget"].low > scores["klom_forget"].null
    for part in ("retain", "test"):
        each = scores[f"klom_{part}"]
        assert each.null_low <= each.value <= each.null_high
        assert each.low <= each.null <= each.high


def test_the_null_is_that_of_as_many_models() -> None:
    generator = np.random.default_rng(3)
    expected = klom(generator.normal(size=(20, 3000)), generator.normal(size=(20, 3000))).mean()
    found = KLOM().measure(bank(4, 20, shift=1)).estimates["klom_forget"]
    assert found.null == pytest.approx(expected, rel=0.1)
    assert found.models == 20


def test_few_models_are_refused() -> None:
    found = KLOM().measure(bank(5, 19)).estimates["klom_test"]
    assert math.isnan(found.value)
    assert "train 20 or more" in found.refused


def test_an_empty_set_is_refused() -> None:
    scores = KLOM().measure(bank(6, 20, sizes={**SIZES, "test": 0})).estimates
    assert "empty" in scores["klom_test"].refused
    assert scores["klom_forget"].refused == ""


def test_it_is_the_same_every_time() -> None:
    assert KLOM().measure(bank(7, 20)).estimates == KLOM().measure(bank(7, 20)).estimates
