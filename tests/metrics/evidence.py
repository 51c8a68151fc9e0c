"""Evidence made of given tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import parts
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.confusion import Confusion
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.metrics.base import Metric, Observed
from unlearn_ray.quantities.base import (
    SETS,
    Head,
    Inference,
    Observation,
    Pairs,
    Quantity,
    SetName,
)
from unlearn_ray.train.resident import ResidentData

FORGET_SETS: dict[str, ForgetSet] = {
    "samples": Random(),
    "classes": Classes(classes=(0,)),
    "swapped": Confusion(classes=(0, 1), count=5),
}


def metrics_of(forgotten: str, *, captions: bool = True) -> dict[str, type[Metric]]:
    """The registered metrics that have something to say of a forget set.

    Args:
        forgotten: samples, classes, or samples of two classes whose labels are swapped.
        captions: whether the model reads captions.
    """
    forget_set = FORGET_SETS[forgotten]
    return {
        name: metric
        for name, metric in parts(Metric).items()
        if metric.unsupported(forget_set) is None and (captions or not metric.needs_captions)
    }


@dataclass(frozen=True)
class GivenEvidence(Observed):
    """What metrics ask of a model and, of its quantities, `quantities.base.Inference`."""

    given_labels: dict[SetName, Tensor]
    given_probabilities: dict[SetName, Tensor] = field(default_factory=dict)
    given_views: dict[SetName, Tensor] = field(default_factory=dict)
    before: GivenEvidence | None = None
    given_pairs: dict[SetName, Pairs] = field(default_factory=dict)
    reference: GivenEvidence | None = None
    given_model: nn.Module | None = None

    def __post_init__(self) -> None:
        related = {"original": self.before, "retrained": self.reference or self, "other_seeds": ()}
        for name, value in related.items():
            object.__setattr__(self, name, value)

    @property
    def model(self) -> nn.Module:
        assert self.given_model is not None
        return self.given_model

    def size(self, part: SetName) -> int:
        return len(self.given_labels[part])

    def ids(self, part: SetName) -> Tensor:
        """Forget and retain samples are interleaved, and none stands at its id's place."""
        total = len(self.given_labels.get("forget", ())) + len(self.given_labels.get("retain", ()))
        order = torch.randperm(total, generator=torch.Generator().manual_seed(5))
        forget, retain = order.split([self.size("forget"), self.size("retain")])
        return {"forget": forget, "retain": retain, "test": torch.arange(self.size("test"))}[part]

    def labels(self, part: SetName) -> Tensor:
        return self.given_labels[part]

    def observation(self, quantity: Quantity) -> Observation:
        return quantity.observe(self)

    def probabilities(self, part: SetName) -> Tensor:
        return self.given_probabilities[part]

    def logits(self, part: SetName) -> Tensor:
        return self.given_probabilities[part].log()

    def features(self, part: SetName) -> Tensor:
        return self.given_views[part][:, 0]

    def view_features(self, part: SetName, views: int, limit: int) -> Tensor:
        return self.given_views[part][:limit, :views]

    def pairs(self, part: SetName, limit: int) -> Pairs:
        given = self.given_pairs[part]
        begins = given.begins[: limit + 1]
        captions = given.captions[: int(begins[-1])]
        return Pairs(given.images[:limit], given.texts, captions, begins)

    def block_features(self, part: SetName, limit: int) -> dict[str, Tensor]:
        """Two blocks of different width, each made of one view."""
        views = self.given_views[part][:limit]
        return {"first": views[:, 0, :-1], "second": views[:, 1]}

    def head(self, part: SetName, limit: int) -> Head:
        """A last layer that hands its inputs on."""
        logits = self.logits(part)[:limit]
        return Head(logits, torch.eye(logits.shape[1]), torch.zeros(logits.shape[1]))

    def perturbed_logits(self, part: SetName, radius: int, draw: int, limit: int) -> Tensor:
        """Noise on logits, which is the same for all models."""
        logits = self.logits(part)[:limit]
        generator = torch.Generator().manual_seed(100 + draw)
        return logits + radius / 10 * torch.randn(logits.shape, generator=generator)

    def random_logits(self, part: SetName) -> Tensor:
        generator = torch.Generator().manual_seed(200)
        return torch.randn(self.given_probabilities[part].shape, generator=generator)

    def probe_logits(
        self, inputs: Tensor, labels: Tensor, others: Tensor, recipe: Recipe
    ) -> Tensor:
        """Minus the distance from the mean of each class."""
        means = torch.zeros(self.given_probabilities["forget"].shape[1], inputs.shape[1])
        for label in labels.unique():
            means[label] = inputs[labels == label].mean(dim=0)
        return -torch.cdist(others, means)

    def relearning_losses(self, part: SetName, recipe: Recipe, updates: int, limit: int) -> Tensor:
        """Each update takes a tenth of the loss away."""
        probabilities, labels = self.given_probabilities[part][:limit], self.labels(part)[:limit]
        loss = functional.nll_loss(probabilities.double().log(), labels)
        return loss * 0.9 ** torch.arange(updates + 1)


def observed(
    inference: Inference, data: ResidentData, original: Inference | None = None
) -> Observed:
    """What metrics see of a model that is observed when they ask."""
    ids = {part: inference.ids(part) for part in SETS}
    labels = {
        part: (data.test_labels if part == "test" else data.train_labels)[of_set]
        for part, of_set in ids.items()
    }
    before = None if original is None else observed(original, data)
    return Observed(ids, labels, lambda quantity: quantity.observe(inference), original=before)


SIZES: dict[SetName, int] = {"retain": 90, "forget": 23, "test": 41}


def random_evidence(
    sizes: dict[SetName, int] = SIZES,
    *,
    seed: int = 0,
    classes: int = 4,
    views: int = 10,
    size: int = 6,
    before: GivenEvidence | None = None,
    forgotten: str = "samples",
) -> GivenEvidence:
    """Random labels, probabilities, views and pairs; what is of one sample resembles each other.

    Forgotten "classes" are class 0, which the forget set alone has, and all of it. "Swapped" are
    samples of classes 0 and 1 in turn.
    """
    generator = torch.Generator().manual_seed(seed)
    closeness: dict[SetName, float] = {"retain": 1.5, "forget": 1.0, "test": 0.7}

    def views_of(part: SetName, n: int) -> Tensor:
        center = closeness[part] * torch.randn(n, 1, size, generator=generator)
        return center + torch.randn(n, views, size, generator=generator)

    def pairs_of(part: SetName, n: int) -> Pairs:
        """Every image has one to three of 2n captions, which it may share with others."""
        begins = torch.cat([torch.zeros(1), torch.randint(1, 4, (n,), generator=generator)])
        begins = begins.cumsum(0).long()
        captions = torch.randint(max(2 * n, 1), (int(begins[-1]),), generator=generator)
        texts = functional.normalize(torch.randn(2 * n, size, generator=generator))
        own = texts[captions[begins[:-1]]]
        near = torch.randn(n, size, generator=generator) + closeness[part] * own
        return Pairs(functional.normalize(near), texts, captions, begins)

    labels = {p: torch.randint(classes, (n,), generator=generator) for p, n in sizes.items()}
    if forgotten == "classes":
        labels["forget"].zero_()
        labels["retain"].clamp_(min=1)
        labels["test"][:1] = 0
    if forgotten == "swapped":
        labels["forget"] = torch.arange(sizes["forget"]) % 2
        labels["test"][:1] = 0
    return GivenEvidence(
        labels,
        {p: torch.randn(n, classes, generator=generator).softmax(1) for p, n in sizes.items()},
        {p: views_of(p, n) for p, n in sizes.items()},
        before,
        {p: pairs_of(p, n) for p, n in sizes.items()},
        given_model=model_of(seed),
    )


def model_of(seed: int) -> nn.Module:
    """A small network of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4))
