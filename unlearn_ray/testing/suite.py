"""`conformance_of`: the checks of given parts as one parametrised test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from unlearn_ray.core.registry import Part, parts
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.families.base import Family
from unlearn_ray.methods.base import Method
from unlearn_ray.models.base import Model
from unlearn_ray.objectives.base import Objective
from unlearn_ray.scores.base import Score
from unlearn_ray.testing.check import Check
from unlearn_ray.testing.data import dataset_checks, forget_set_checks
from unlearn_ray.testing.digits import unlearning_checks
from unlearn_ray.testing.families import family_checks
from unlearn_ray.testing.methods import method_checks, range_checks
from unlearn_ray.testing.models import model_checks
from unlearn_ray.testing.objectives import objective_checks
from unlearn_ray.testing.parts import part_checks
from unlearn_ray.testing.scores import score_checks
from unlearn_ray.testing.sparsity import sparsity_checks


def conformance_of(*tested: type[Part]) -> Callable[[Check], None]:
    """A test that pytest runs once for each check of the given parts.

    Args:
        tested: registered classes.
    """
    # A method and a family that are both tested meet once.
    checks = {check.id: check for part in tested for check in checks_of(part)}

    @pytest.mark.parametrize("check", checks.values(), ids=list(checks))
    def test(check: Check) -> None:
        check()

    return test


def checks_of(part: type[Part]) -> Iterator[Check]:
    """The checks of a part: as a part, for its kind, and in pairs with parts of other kinds."""
    yield from part_checks(part)
    if issubclass(part, Dataset):
        yield from dataset_checks(part)
    if issubclass(part, ForgetSet):
        yield from forget_set_checks(part)
    if issubclass(part, Model):
        yield from model_checks(part)
    if issubclass(part, Objective):
        yield from objective_checks(part)
    if issubclass(part, Score):
        yield from score_checks(part)
    if issubclass(part, Method):
        yield from range_checks(part)
        yield from unlearning_checks(part)
        for family in parts(Family).values():
            yield from _pair_checks(part, family)
    if issubclass(part, Family):
        yield from family_checks(part)
        for method in parts(Method).values():
            yield from _pair_checks(method, part)


def _pair_checks(method: type[Method], family: type[Family]) -> Iterator[Check]:
    yield from method_checks(method, family)
    yield from sparsity_checks(method, family)
