"""Cosine similarity of features and embeddings, in float64."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from unlearn_ray.families.similarity import unit_rows
from unlearn_ray.quantities.base import Pairs

# Rows converted to float64 at a time: with 10 views of 512 features they take 40 MB.
ROWS_AT_A_TIME = 1024


def unit(features: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
    """`unit_rows` in float64; zero features stay zero, so that their cosine is 0."""
    return unit_rows(features.double())


def mean_pair_cosine(views: Float[Tensor, "n v d"]) -> Float[Tensor, " n"]:
    """Mean cosine over the v(v-1)/2 pairs of views of each sample, in float64.

    With unit vectors u, the sum over pairs is (|sum of u|^2 - sum of |u|^2) / 2, so no pairs are
    enumerated.
    """
    count = views.shape[1]
    means = views.new_empty(views.shape[0], dtype=torch.float64)
    for start in range(0, views.shape[0], ROWS_AT_A_TIME):
        rows = unit(views[start : start + ROWS_AT_A_TIME])
        of_sum = rows.sum(dim=1).square().sum(dim=-1)
        of_each = rows.square().sum(dim=(1, 2))
        means[start : start + ROWS_AT_A_TIME] = (of_sum - of_each) / (count * (count - 1))
    return means


def alignment_matrix(
    views: Float[Tensor, "n 2 d"], rows: slice = slice(None)
) -> Float[Tensor, "m n"]:
    """Cosine of view 1 of sample i (of `rows`) with view 2 of every sample j, in float64."""
    return unit(views[rows, 0]) @ unit(views[:, 1]).T


def pair_cosines(pairs: Pairs) -> Float[Tensor, " n"]:
    """The mean cosine of each image with its captions, in float64."""
    counts = pairs.begins.diff()
    images = torch.arange(counts.shape[0]).repeat_interleave(counts)
    sums = torch.zeros(counts.shape[0], dtype=torch.float64)
    for start in range(0, images.shape[0], ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        products = unit(pairs.images[images[rows]]) * unit(pairs.texts[pairs.captions[rows]])
        sums.index_add_(0, images[rows], products.sum(dim=1))
    return sums / counts
