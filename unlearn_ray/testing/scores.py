"""Checks of scores: on small synthetic banks of models."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np

from unlearn_ray.core.errors import UnlearnRayError
from unlearn_ray.evidence.masks import FORGET, OUT, SIZE, states
from unlearn_ray.quantities.base import SetName
from unlearn_ray.scores.base import (
    MaskedBank,
    MaskedScore,
    Population,
    ReplicateBank,
    ReplicateScore,
    Score,
    Scores,
)
from unlearn_ray.testing.check import Check
from unlearn_ray.testing.toy import tiny

_SIZES: dict[SetName, int] = {"forget": 30, "retain": 40, "test": 35}


def score_checks(score: type[Score]) -> Iterator[Check]:
    """The checks of a score."""
    for check in (
        columns_are_named_and_described,
        estimates_are_exactly_its_columns,
        scores_the_same_twice,
        fewer_models_than_its_least_are_refused,
    ):
        yield Check(check, score)


def columns_are_named_and_described(score: type[Score]) -> None:
    """Columns are snake case, and have distinct headers."""
    assert score.columns
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", column) for column in score.columns)
    headers = list(score.columns.values())
    assert all(header.strip() for header in headers)
    assert len(set(headers)) == len(headers)


def estimates_are_exactly_its_columns(score: type[Score]) -> None:
    """Each has a value within its interval, or a reason why not; arrays are finite."""
    found = _measured(score, score.least)
    assert list(found.estimates) == list(score.columns)
    for column, each in found.estimates.items():
        assert each.models == score.least, column
        assert math.isnan(each.value) == bool(each.refused), column
        if not each.refused:
            assert math.isfinite(each.value), column
            assert each.low <= each.value <= each.high, column
            assert each.null_low <= each.null <= each.null_high, column
    for name, array in found.arrays.items():
        assert isinstance(array, np.ndarray), name
        assert np.isfinite(array).all(), name


def scores_the_same_twice(score: type[Score]) -> None:
    """Whatever it draws at random, it draws from seeds of its own."""
    first, second = (_measured(score, score.least) for _ in range(2))
    # NaN is not equal to itself.
    assert repr(first.estimates) == repr(second.estimates)
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name])


def fewer_models_than_its_least_are_refused(score: type[Score]) -> None:
    """An error, or a reason in place of every value."""
    fewer = score.least - (SIZE if issubclass(score, MaskedScore) else 1)
    try:
        found = _measured(score, fewer)
    except UnlearnRayError:
        return
    assert all(each.refused and math.isnan(each.value) for each in found.estimates.values())


def _measured(score: type[Score], models: int) -> Scores:
    made = tiny(score)
    if isinstance(made, MaskedScore):
        return made.measure(_masked(models))
    assert isinstance(made, ReplicateScore)
    return made.measure(_replicates(models))


def _masked(models: int, samples: int = 60) -> MaskedBank:
    """Models that are surer of what they were trained on; unlearning leaves half of that."""
    generator = np.random.default_rng(0)
    of = states(models, samples, 0)
    before, after, unseen = (generator.normal(size=of.shape) for _ in range(3))
    kept = (of != OUT) * 1.0
    return MaskedBank(
        states=of,
        original=before + kept,
        unlearned=after + kept - (of == FORGET) / 2,
        original_unseen=unseen,
        unlearned_unseen=unseen + 0.1,
        classes=generator.integers(5, size=samples),
    )


def _replicates(models: int) -> ReplicateBank:
    generator = np.random.default_rng(0)

    def population(shift: float) -> Population:
        confidence = {
            part: 1 + generator.normal(size=(models, size)) + (shift if part == "forget" else 0)
            for part, size in _SIZES.items()
        }
        return Population(confidence, {part: each > 0 for part, each in confidence.items()})

    return ReplicateBank(population(0.5), population(0), population(2))
