"""Evidence made of given tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unlearn_ray.metrics.base import Evidence, SetName


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
) -> GivenEvidence:
    """Random labels, probabilities and views; views of one sample resemble each other."""
    generator = torch.Generator().manual_seed(seed)
    closeness = {"retain": 1.5, "forget": 1.0, "test": 0.7}

    def views_of(part: str, n: int) -> Tensor:
        center = closeness[part] * torch.randn(n, 1, size, generator=generator)
        return center + torch.randn(n, views, size, generator=generator)

    return GivenEvidence(
        {p: torch.randint(classes, (n,), generator=generator) for p, n in sizes.items()},
        {p: torch.randn(n, classes, generator=generator).softmax(1) for p, n in sizes.items()},
        {p: views_of(p, n) for p, n in sizes.items()},
        before,
    )
