"""Linear centred kernel alignment of two representations of the same samples.

Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64


def linear_cka(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n e"]) -> float:
    """|Y^T X|^2 / (|X^T X| |Y^T Y|) in Frobenius norms, with centred columns, in float64.

    1 if the features are equal up to rotation and scale, 0 if they are uncorrelated, or if either
    is constant. The metric `cka` computes the same with PyTorch.
    """
    x, y = _centred(x), _centred(y)
    cross, own, other = (np.linalg.norm(a.T @ b) for a, b in ((y, x), (x, x), (y, y)))
    size = own * other
    return float(cross**2 / size) if size > 0 else 0.0


def _centred(rows: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    """Columns of mean 0, scaled as a whole; deviations that are rounding of the mean are 0."""
    rows = rows.astype(np.float64)
    apart = rows - rows.mean(axis=0)
    largest = np.abs(apart).max(initial=0.0)
    if largest <= 1e-12 * np.abs(rows).max(initial=0.0):
        return np.zeros_like(apart)
    return np.asarray(apart / largest)
