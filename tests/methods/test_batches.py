"""How many images and updates an epoch of each method has, with the real engine."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import find
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import Split
from unlearn_ray.families.base import Family
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.measure.probe import Probe
from unlearn_ray.methods.base import Method, Phase, Task
from unlearn_ray.methods.contrastive_unlearning import ContrastiveUnlearning
from unlearn_ray.methods.finetune import Finetune
from unlearn_ray.methods.gradient_ascent import GradientAscent
from unlearn_ray.methods.scrub import SCRUB
from unlearn_ray.testing.toy import TwoLayerBackbone
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.training import train_from_scratch
from unlearn_ray.train.unlearning import unlearn

COUNT = 620
SPLIT = Split(
    validation=np.arange(600, 620), forget=np.arange(500), retain=np.arange(500, 600)
)  # fmt: skip
# What is known of the codes behind them.
DROPPED = {"simclr", "moco", "byol", "simsiam", "clip"}
KEEPING = {
    "adversarial", "bad_teacher", "boundary_expanding", "boundary_shrink",
    "contrastive_unlearning", "random_label", "salun", "scrub", "unsir",
}  # fmt: skip


def data() -> ResidentData:
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (COUNT, 4, 4, 3), dtype=torch.uint8, generator=noise)
    labels = torch.arange(COUNT) % 10
    return ResidentData(pixels, labels, pixels, labels, 10)


def shown_by(method: type[Method], family: Family, **fields: object) -> list[tuple[list[int], ...]]:
    """Ids of each update's own batch and of its companions."""
    seen: list[tuple[list[int], ...]] = []

    @schema
    class Counting(method):  # type: ignore[valid-type, misc]
        """Notes the images of every batch."""

        def phases(self, model: nn.Module, task: Task) -> list[Phase]:
            return [
                replace(phase, loss=partial(self.noting, phase), until=None)
                for phase in super().phases(model, task)
            ]

        def noting(self, phase: Phase, model: nn.Module, batch: Batch, task: Task) -> Tensor:
            seen.append(tuple(each.ids.tolist() for each in (batch, *batch.companions)))
            return phase.loss(model, batch, task)

    model = family.build(TwoLayerBackbone(), 10)
    report = unlearn(
        model, family, Counting(epochs=1, **fields), data(), SPLIT, seed=3,
        compute=Compute.cpu(), make_model=lambda _: family.build(TwoLayerBackbone(), 10),
    )  # fmt: skip
    assert report.iterations == len(seen)
    return seen


@pytest.mark.parametrize("size", [64, 128, 256])
def test_contrastive_unlearning_sees_all_500_at_every_batch_size(size: int) -> None:
    """Figure 4 of its paper compares these: sweeps/cu_cifar_batch.yaml."""
    seen = shown_by(ContrastiveUnlearning, Supervised(embedding_size=4), batch_size=size)
    assert len(seen) == 4 * math.ceil(500 / size)
    assert sorted(id_ for own, _ in seen[::4] for id_ in own) == [*range(500)]
    for begin in range(0, len(seen), 4):
        assert all(own == seen[begin][0] for own, _ in seen[begin : begin + 4])
    # A retain batch is cut to the forget batch's size, and no larger than the retain set.
    assert all(len(retain) == min(len(own), size, 100) for own, retain in seen)


@pytest.mark.parametrize(
    ("family", "last_batch", "updates", "images"),
    [
        (Supervised(), None, 4, 500), (SimCLR(projection_size=4), None, 3, 384),
        (Supervised(), "drop", 3, 384), (SimCLR(projection_size=4), "keep", 4, 500),
    ],
)  # fmt: skip
def test_a_method_of_many_families_does_as_the_family(
    family: Family, last_batch: Literal["keep", "drop"] | None, updates: int, images: int
) -> None:
    seen = shown_by(GradientAscent, family, batch_size=128, last_batch=last_batch)
    ids = [id_ for (own,) in seen for id_ in own]
    assert (len(seen), len(ids), len(set(ids))) == (updates, images, images)


def test_both_sets_of_scrub_are_seen_whole() -> None:
    seen = shown_by(SCRUB, Supervised(), batch_size=33, forget_batch_size=499)
    # 500 = 499 + 1, which is no batch; 100 = 3 * 33 + 1.
    assert [len(own) for (own,) in seen] == [500, 33, 33, 34]
    assert sorted(id_ for (own,) in seen for id_ in own) == [*range(600)]


def test_one_request_of_a_classifier() -> None:
    split = Split(SPLIT.validation, SPLIT.forget[:1], np.arange(1, 600))
    model = Supervised().build(TwoLayerBackbone(), 10)
    before = model.classifier.weight.detach().clone()
    report = unlearn(
        model, Supervised(), GradientAscent(epochs=2), data(), split, seed=3,
        compute=Compute.cpu(), make_model=lambda _: model,
    )  # fmt: skip
    assert report.iterations == 2
    assert model.classifier.weight.isfinite().all()
    assert not torch.equal(model.classifier.weight, before)


@pytest.mark.parametrize("family", [Supervised(), SimCLR(projection_size=4)])
def test_pretraining_does_as_the_family(family: Family) -> None:
    for last_batch, batches in (("keep", 10), ("drop", 9), (None, 9 + (family.name != "simclr"))):
        recipe = Recipe(epochs=2, batch_size=64, last_batch=last_batch)
        report = train_from_scratch(
            family.build(TwoLayerBackbone(), 10), family, recipe, data(), np.arange(600),
            seed=1, compute=Compute.cpu(),
        )  # fmt: skip
        assert report.iterations == 2 * batches


def test_defaults_are_those_of_the_sources() -> None:
    assert all(find(Family, name).last_batch == "drop" for name in DROPPED)
    assert Supervised.last_batch == "keep"
    assert all(find(Method, name)().last_batch == "keep" for name in KEEPING)
    assert Finetune().last_batch is None
    assert Probe().last_batch == "drop"


def test_the_last_batch_is_part_of_what_a_method_is() -> None:
    found = [find(Method, "finetune")(last_batch=last).content() for last in (None, "keep", "drop")]
    assert len({str(content) for content in found}) == 3
