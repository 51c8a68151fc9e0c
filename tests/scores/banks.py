"""Banks of masks whose models memorise, and unlearn, as much as a test says."""

from __future__ import annotations

import numpy as np

from unlearn_ray.evidence.masks import FORGET, OUT, RETAIN, states
from unlearn_ray.scores.base import MaskedBank


def masked_bank(
    models: int,
    samples: int = 300,
    memorised: float = 1.0,
    left: float = 0.0,
    seed: int = 0,
    unseen: int = 200,
) -> MaskedBank:
    """Confidences of standard deviation 1 between models.

    Args:
        models, samples, unseen: how many.
        memorised: how much surer a model is of what it was trained on.
        left: the share of that which unlearning leaves; nothing else changes.
        seed: of all that is drawn.
    """
    generator = np.random.default_rng(seed)
    of = states(models, samples, seed)
    level = generator.normal(2, 3, samples + unseen)
    noise = generator.normal(size=(models, samples + unseen))
    # An unlearned model resembles the original that it came from.
    unlearned_noise = (noise + generator.normal(size=noise.shape)) / np.sqrt(2)
    before, after = level + noise, level + unlearned_noise
    after = before if left == 1 else after
    return MaskedBank(
        states=of,
        original=before[:, :samples] + memorised * (of != OUT),
        unlearned=after[:, :samples] + memorised * ((of == RETAIN) + left * (of == FORGET)),
        original_unseen=before[:, samples:],
        unlearned_unseen=after[:, samples:],
        classes=generator.integers(10, size=samples),
    )
