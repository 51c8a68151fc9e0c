from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.svm import SVC

from tests.metrics.evidence import SIZES, GivenEvidence, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.metrics.cmia_efficacy import EXACT_UP_TO, CMIAEfficacy

Values = NDArray[np.float64]


def reference(members: Values, non_members: Values, forget: Values) -> float:
    """The plain attack, sample by sample."""
    machine = SVC(C=3, gamma="auto", kernel="rbf")
    machine.fit(
        np.concatenate([members, non_members]).reshape(-1, 1),
        [1] * len(members) + [0] * len(non_members),
    )
    said_out = sum(1 for value in forget if machine.predict([[value]])[0] == 0)
    return 100 * said_out / len(forget)


def evidence_of(retain: Values, test: Values, forget: Values) -> GivenEvidence:
    """Observed in which the true class (which varies) has the given probability."""
    labels, probabilities = {}, {}
    for part, values in {"retain": retain, "test": test, "forget": forget}.items():
        true = torch.arange(len(values)) % 3
        rest = (1 - torch.tensor(values))[:, None] / 2
        table = rest.expand(-1, 3).clone().scatter_(1, true[:, None], torch.tensor(values)[:, None])
        labels[part], probabilities[part] = true, table.float()
    return GivenEvidence(labels, probabilities)


def measure(retain: Values, test: Values, forget: Values) -> float:
    return CMIAEfficacy().measure(evidence_of(retain, test, forget)).values["cmia_efficacy"]


def as_float32(*values: Values) -> list[Values]:
    return [v.astype(np.float32).astype(np.float64) for v in values]


def test_small_sets_equal_the_plain_machine() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        retain, test, forget = as_float32(
            rng.beta(8, 2, 120), rng.beta(5, 2, 70), rng.beta(6, 2, 40)
        )
        expected = reference(retain[:70], test, forget)
        assert measure(retain, test, forget) == pytest.approx(expected, abs=1e-9)


def logistic(values: Values) -> Values:
    return 1 / (1 + np.exp(-values))


SHAPES = {
    "skewed": lambda r: (r.beta(8, 1.5, 3000), r.beta(6, 1.6, 2500), r.beta(6.5, 1.6, 2000)),
    # Most confidences equal 1 in float32, in members more than in non-members.
    "saturated": lambda r: (
        logistic(r.normal(18, 6, 3000)),
        logistic(r.normal(10, 8, 2500)),
        logistic(r.normal(12, 8, 2000)),
    ),
    "bimodal": lambda r: (
        np.where(r.random(3000) < 0.1, r.beta(1, 3, 3000), r.beta(20, 1, 3000)),
        np.where(r.random(2500) < 0.25, r.beta(1, 3, 2500), r.beta(10, 1, 2500)),
        np.where(r.random(2000) < 0.15, r.beta(1, 3, 2000), r.beta(10, 1, 2000)),
    ),
    "fewer members": lambda r: (
        r.beta(9, 1, 1800),
        r.beta(5, 2, 2500),
        r.beta(6, 1.5, 2000),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_binned_is_within_a_fifth_of_a_point_and_faster(shape: str) -> None:
    retain, test, forget = as_float32(*SHAPES[shape](np.random.default_rng(1)))
    members = retain[: len(test)]
    assert len(members) + len(test) > EXACT_UP_TO
    machine = SVC(C=3, gamma="auto", kernel="rbf")
    started = time.process_time()
    machine.fit(
        np.concatenate([members, test])[:, None],
        np.concatenate([np.ones(len(members)), np.zeros(len(test))]),
    )
    exact = 100 * float(np.mean(machine.predict(forget[:, None]) == 0))
    plain_seconds = time.process_time() - started
    started = time.process_time()
    fast = measure(retain, test, forget)
    # Four of 2,000 samples.
    assert abs(fast - exact) <= 0.2 + 1e-9
    assert 1 < exact < 99
    assert time.process_time() - started < plain_seconds


def test_only_the_first_retain_samples_are_members() -> None:
    rng = np.random.default_rng(0)
    test, forget = rng.beta(5, 2, 50), rng.beta(6, 2, 30)
    first = rng.beta(9, 1, 50)
    some = measure(np.concatenate([first, np.zeros(200)]), test, forget)
    assert some == measure(first, test, forget)


def test_equal_confidences_are_one_answer_for_all() -> None:
    same = np.full(60, 0.25)
    assert measure(same, same, same[:7]) in (0.0, 100.0)


@pytest.mark.parametrize("part", SIZES)
def test_an_empty_set_is_refused(part: str) -> None:
    with pytest.raises(DataError, match=f"{part} set of 0 samples"):
        CMIAEfficacy().measure(random_evidence({**SIZES, part: 0}))
