"""RULI's likelihood ratio, with kernel density estimates in place of Gaussians.

Naderloui et al., "Rectifying Privacy and Efficacy Measurements in Machine Unlearning: A New
Inference Attack Perspective", USENIX Security 2025: q_u / (q_u + q_out), with Gaussian kernels of
bandwidth 1 on the confidence. Each block of models is scored by densities of all other blocks.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from unlearn_ray.evidence.held_out import Values, by_block, counts_elsewhere
from unlearn_ray.evidence.masks import OUT, SIZE, States, among

# Samples whose kernels are in memory at once, times models squared.
_AT_ONCE = 1_000_000
# No density is smaller in single precision: such values are equally far from everything.
_SMALLEST = np.finfo(np.float32).tiny


def density_ratio(values: Values, states: States, members: tuple[int, ...]) -> Values:
    """log q(value; members) - log q(value; OUT), larger for likelier members.

    q_u / (q_u + q_out) ranks samples alike, but is 1 in floating point long before it is certain.

    Args:
        values: confidence of each model for each sample, in nats: the bandwidth is 1 nat.
        states: of each sample under each model, in blocks of four models.
        members: the states that are to be told from OUT.

    Raises:
        DataError: a sample has no such models in the other blocks.
    """
    chosen = [among(states, members), states == OUT]
    counts = [counts_elsewhere(of) for of in chosen]
    models, samples = values.shape
    step = max(1, _AT_ONCE // models**2)
    ratios = np.empty(values.shape)
    for begin in range(0, samples, step):
        part = slice(begin, begin + step)
        kernels = _kernels(values[:, part])
        weights = np.stack([of[:, part].T for of in chosen], axis=2, dtype=np.float32)
        sums = np.maximum(kernels @ weights, _SMALLEST).astype(np.float64)
        ratios[:, part] = (np.log(sums[..., 0]) - np.log(sums[..., 1])).T
    blocks = by_block(ratios)
    blocks += np.log(counts[1]) - np.log(counts[0])
    return ratios


def _kernels(values: Values) -> Float32[np.ndarray, "n models models"]:
    """exp(-distance^2 / 2) of each sample's values under each two models, 0 in the same block."""
    models = len(values)
    rows = values.T.astype(np.float32)
    kernels = rows[:, :, None] - rows[:, None]
    np.square(kernels, out=kernels)
    kernels *= -0.5
    np.exp(kernels, out=kernels)
    blocks = kernels.reshape(-1, models // SIZE, SIZE, models // SIZE, SIZE)
    same = np.arange(models // SIZE)
    blocks[:, same, :, same] = 0
    return kernels
