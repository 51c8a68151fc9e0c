"""Probes of blocks: which samples they learn, and that the scale of features plays no part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from tests.measure.test_inference import split_of, watch
from tests.metrics.evidence import GivenEvidence, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.quantities.base import SetName
from unlearn_ray.quantities.block_predictions import BlockPredictions


@dataclass(frozen=True)
class Scaled(GivenEvidence):
    """The features of a model, multiplied and moved, and a real probe."""

    factor: float = 1.0
    probe: Callable[..., Tensor] = lambda *_: torch.zeros(0)

    def block_features(self, part: SetName, limit: int) -> dict[str, Tensor]:
        found = super().block_features(part, limit)
        return {name: self.factor * values + 5 * self.factor for name, values in found.items()}

    def probe_logits(
        self, inputs: Tensor, labels: Tensor, others: Tensor, recipe: Recipe
    ) -> Tensor:
        return self.probe(inputs, labels, others, recipe)


def scaled(factor: float, given: GivenEvidence, probe: Callable[..., Tensor]) -> Scaled:
    fields = {name: getattr(given, name) for name in given.__dataclass_fields__}
    return Scaled(**fields, factor=factor, probe=probe)


def test_probes_learn_retain_samples_and_some_forget_samples() -> None:
    given = random_evidence(seed=1)
    asked: list[tuple[Tensor, Tensor, Tensor, Recipe]] = []

    def probe(*arguments: Tensor) -> Tensor:
        asked.append(arguments)  # type: ignore[arg-type]
        return torch.eye(4)[torch.arange(len(arguments[2])) % 4]

    quantity = BlockPredictions(samples=30, shots=7, epochs=3)
    found = quantity.observe(scaled(1.0, given, probe)).samples["forget"]
    assert quantity.shots_of(23) == 7
    assert torch.equal(found, (torch.arange(23) % 4)[:, None].expand(23, 2))
    retain, forget = (given.block_features(part, 30) for part in ("retain", "forget"))
    labels = torch.cat([given.labels("retain")[:30], given.labels("forget")[:7]])
    for (inputs, truth, others, recipe), name in zip(asked, ("first", "second"), strict=True):
        assert recipe.epochs == 3
        assert torch.equal(truth, labels)
        known = torch.cat([retain[name], forget[name][:7]]).double()
        for column in range(known.shape[1]):
            values = known[:, column].tolist()
            mean = sum(values) / 37
            spread = (sum((v - mean) ** 2 for v in values) / 37) ** 0.5 * known.shape[1] ** 0.5
            expected = [(v - mean) / spread for v in values]
            assert inputs[:, column].tolist() == pytest.approx(expected, abs=1e-6)
            expected = [(v - mean) / spread for v in forget[name][:, column].double().tolist()]
            assert others[:, column].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("factor", [1e-6, 1e5])
def test_the_scale_of_features_plays_no_part(factor: float) -> None:
    given, probe = random_evidence(seed=1), watch().inference.probe_logits
    given = replace(given, given_labels={p: each % 3 for p, each in given.given_labels.items()})
    quantity = BlockPredictions(epochs=20)
    found, expected = (
        quantity.observe(scaled(each, given, probe)).samples["forget"] for each in (factor, 1.0)
    )
    assert float((found == expected).double().mean()) > 0.95


def test_constant_features_are_probed() -> None:
    given, probe = random_evidence(seed=1), watch().inference.probe_logits
    given = replace(
        given,
        given_labels={p: each % 3 for p, each in given.given_labels.items()},
        given_views={p: torch.full_like(v, 0.1) for p, v in given.given_views.items()},
    )
    found = BlockPredictions(epochs=2).observe(scaled(1.0, given, probe)).samples["forget"]
    assert bool((found == found[0]).all())


def test_at_most_half_of_the_forget_set_is_learned() -> None:
    shots = BlockPredictions(shots=100, samples=50).shots_of
    assert [shots(size) for size in (1, 2, 9, 40, 1000)] == [0, 1, 4, 20, 25]


def test_no_retain_set() -> None:
    inference = watch(split=split_of(60, 57)).inference
    assert inference.size("retain") == 0
    with pytest.raises(DataError, match="retain set of 0 samples"):
        BlockPredictions(shots=0).observe(inference)
