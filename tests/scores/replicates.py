"""Synthetic banks of replicates: normal confidences, with what a training seed shifts in common."""

from __future__ import annotations

import numpy as np

from unlearn_ray.quantities.base import SETS, SetName
from unlearn_ray.scores.base import Population, ReplicateBank

SIZES: dict[SetName, int] = {"forget": 80, "retain": 120, "validation": 10, "test": 100}


def population(
    generator: np.random.Generator, models: int, shift: float = 0, sizes: dict[SetName, int] = SIZES
) -> Population:
    """Models whose confidences on the forget set are shifted by so many standard deviations."""
    confidence = {}
    for part in SETS:
        mean = 1 + (shift if part == "forget" else 0.3 if part == "retain" else 0)
        common = 0.2 * generator.normal(size=(models, 1))
        confidence[part] = mean + common + generator.normal(size=(models, sizes[part]))
    return Population(confidence, {part: each > 0 for part, each in confidence.items()})


def bank(
    seed: int, models: int, shift: float = 0, original: float = 3, sizes: dict[SetName, int] = SIZES
) -> ReplicateBank:
    """Independent models of each kind; the retrained are not shifted."""
    generator = np.random.default_rng(seed)
    unlearned, retrained, before = (
        population(generator, models, each, sizes) for each in (shift, 0, original)
    )
    return ReplicateBank(unlearned, retrained, before)
