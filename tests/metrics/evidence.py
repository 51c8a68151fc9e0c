"""Evidence made of given tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from unlearn_ray.core.registry import parts
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.metrics.base import Evidence, Metric, Pairs, SetName

FORGET_SETS: dict[str, ForgetSet] = {"samples": Random(), "classes": Classes(classes=(0,))}


def metrics_of(forgotten: str, *, captions: bool = True) -> dict[str, type[Metric]]:
    """The registered metrics that have something to say of forgotten samples, or classes.

    Args:
        forgotten: which of both.
        captions: whether the model reads captions.
    """
    forget_set = FORGET_SETS[forgotten]
    return {
        name: metric
        for name, metric in parts(Metric).items()
        if metric.unsupported(forget_set) is None and (captions or not metric.needs_captions)
    }


@dataclass(frozen=True)
class GivenEvidence:
    given_labels: dict[str, Tensor]
    given_probabilities: dict[str, Tensor] = field(default_factory=dict)
    given_views: dict[str, Tensor] = field(default_factory=dict)
    before: Evidence | None = None
    given_pairs: dict[str, Pairs] = field(default_factory=dict)

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

    def features(self, part: SetName) -> Tensor:
        return self.given_views[part][:, 0]

    def probabilities(self, part: SetName) -> Tensor:
        return self.given_probabilities[part]

    def view_features(self, part: SetName, views: int, limit: int) -> Tensor:
        return self.given_views[part][:limit, :views]

    def pairs(self, part: SetName, limit: int) -> Pairs:
        given = self.given_pairs[part]
        begins = given.begins[: limit + 1]
        captions = given.captions[: int(begins[-1])]
        return Pairs(given.images[:limit], given.texts, captions, begins)

    @property
    def original(self) -> Evidence:
        assert self.before is not None
        return self.before


SIZES = {"retain": 90, "forget": 23, "test": 41}


def random_evidence(
    sizes: dict[str, int] = SIZES,
    *,
    seed: int = 0,
    classes: int = 4,
    views: int = 10,
    size: int = 6,
    before: Evidence | None = None,
    forgotten: str = "samples",
) -> GivenEvidence:
    """Random labels, probabilities, views and pairs; what is of one sample resembles each other.

    Forgotten "classes" are class 0, which the forget set alone has, and all of it.
    """
    generator = torch.Generator().manual_seed(seed)
    closeness = {"retain": 1.5, "forget": 1.0, "test": 0.7}

    def views_of(part: str, n: int) -> Tensor:
        center = closeness[part] * torch.randn(n, 1, size, generator=generator)
        return center + torch.randn(n, views, size, generator=generator)

    def pairs_of(part: str, n: int) -> Pairs:
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
    return GivenEvidence(
        labels,
        {p: torch.randn(n, classes, generator=generator).softmax(1) for p, n in sizes.items()},
        {p: views_of(p, n) for p, n in sizes.items()},
        before,
        {p: pairs_of(p, n) for p, n in sizes.items()},
    )
