"""Evidence made of given tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unlearn_ray.core.registry import parts
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.metrics.base import Evidence, Metric, SetName

FORGET_SETS: dict[str, ForgetSet] = {"samples": Random(), "classes": Classes(classes=(0,))}


def metrics_of(forgotten: str) -> dict[str, type[Metric]]:
    """The registered metrics that have something to say of forgotten samples, or classes."""
    forget_set = FORGET_SETS[forgotten]
    return {name: m for name, m in parts(Metric).items() if m.unsupported(forget_set) is None}


@dataclass(frozen=True)
class GivenEvidence:
    given_labels: dict[str, Tensor]
    given_probabilities: dict[str, Tensor] = field(default_factory=dict)
    given_views: dict[str, Tensor] = field(default_factory=dict)
    before: Evidence | None = None

    def size(self, part: SetName) -> int:
        return len(self.given_labels[part])

    def labels(self, part: SetName) -> Tensor:
        return self.given_labels[part]

    def features(self, part: SetName) -> Tensor:
        return self.given_views[part][:, 0]

    def probabilities(self, part: SetName) -> Tensor:
        return self.given_probabilities[part]

    def view_features(self, part: SetName, views: int, limit: int) -> Tensor:
        return self.given_views[part][:limit, :views]

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
    """Random labels, probabilities and views; views of one sample resemble each other.

    Forgotten "classes" are class 0, which the forget set alone has, and all of it.
    """
    generator = torch.Generator().manual_seed(seed)
    closeness = {"retain": 1.5, "forget": 1.0, "test": 0.7}

    def views_of(part: str, n: int) -> Tensor:
        center = closeness[part] * torch.randn(n, 1, size, generator=generator)
        return center + torch.randn(n, views, size, generator=generator)

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
    )
