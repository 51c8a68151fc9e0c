"""What is measured of a model is the same on a GPU; no iteration of the probe waits for it."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest

from tests.shadow.budgets import spent
from tests.shadow.conftest import Shadow
from unlearn_ray.core.registry import parts
from unlearn_ray.measure.probe import Probe
from unlearn_ray.metrics.base import Metric
from unlearn_ray.quantities.base import Quantity

PROBES = [f"probe {features}" for features in get_args(get_type_hints(Probe)["features"])]


@pytest.mark.parametrize("quantity", parts(Quantity))
def test_what_is_observed_is_the_same_but_for_rounding(shadow: Shadow, quantity: str) -> None:
    found = shadow("measures")[f"quantity {quantity}"]
    assert "error" not in found, found["error"]
    assert found["apart"], "no metric asks for it"
    assert all(each < 1e-3 for each in found["apart"].values()), found["apart"]


@pytest.mark.parametrize("metric", parts(Metric))
def test_metrics_are_the_same_but_for_rounding(shadow: Shadow, metric: str) -> None:
    found = shadow("measures")[f"metric {metric}"]
    assert "error" not in found, found["error"]
    assert found["found"] == pytest.approx(found["expected"], rel=0.02, abs=0.02)
    # Relearning's hundred updates enlarge a rounding.
    assert found["apart"] < 0.1


@pytest.mark.parametrize("case", [*PROBES, "relearning"])
def test_no_iteration_of_the_probe_waits_for_the_gpu(shadow: Shadow, case: str) -> None:
    found = shadow("measures")[case]
    assert "error" not in found, found["error"]
    assert found["waits"] == []
    assert found["apart"] < 1e-3
    assert not spent(case, found["counts"], found["launching"])


def test_a_sweep_on_a_gpu_has_the_rows_of_one_on_the_cpu(shadow: Shadow) -> None:
    found = shadow("measures")["sweep"]
    assert "error" not in found, found["error"]
    assert found["devices"] == ["cuda: shadow"]
    assert found["expected"]
    for row, expected in zip(found["found"], found["expected"], strict=True):
        assert row == pytest.approx(expected, abs=2)
