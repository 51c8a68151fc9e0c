"""Metrics say whether they need classes: those that do not are measured without a classifier."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.metrics.evidence import FORGET_SETS, metrics_of, random_evidence
from unlearn_ray.core.registry import parts
from unlearn_ray.metrics.base import Metric

METRICS = parts(Metric)


@pytest.mark.parametrize("name", metrics_of("samples"))
def test_what_needs_no_classes_asks_for_no_probabilities(name: str) -> None:
    assert FORGET_SETS["samples"].whole_classes is False
    before = replace(random_evidence(seed=2, classes=1), given_probabilities={})
    evidence = replace(random_evidence(seed=1, classes=1, before=before), given_probabilities={})
    if METRICS[name].needs_classes:
        with pytest.raises(KeyError):
            METRICS[name]().measure(evidence)
    else:
        assert list(METRICS[name]().measure(evidence).values) == list(METRICS[name].columns)


def test_what_tells_classes_apart_needs_them() -> None:
    only_of_classes = METRICS.keys() - metrics_of("samples").keys()
    assert all(METRICS[name].needs_classes for name in only_of_classes)
