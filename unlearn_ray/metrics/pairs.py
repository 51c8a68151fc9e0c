"""What the metrics of image-text pairs share."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Evidence, Measurement, Metric, Pairs, SetName
from unlearn_ray.metrics.similarity import ROWS_AT_A_TIME, unit


@schema
class PairMetric(Metric):
    """A metric of what a model that reads captions makes of images and their captions."""

    needs_captions: ClassVar[bool] = True


@schema
class PairSimilarity(PairMetric):
    """Mean cosine similarity of the images of a set with their captions, times 100.

    MUC, Table 6, prints the retain and the forget set's so, and averages the gaps of the two.
    Both embeddings are the model's outputs at length 1, of unaugmented images; the temperature
    plays no part. Of an image with several captions it is their mean, which is what training's
    drawn caption has on average; the paper does not say which it takes.

    Class attributes:
        part: the set.
    """

    part: ClassVar[SetName]

    def measure(self, evidence: Evidence) -> Measurement:
        """The mean.

        Raises:
            DataError: the set is empty.
        """
        require_samples(evidence, self.part)
        cosines = pair_cosines(evidence.pairs(self.part, evidence.size(self.part)))
        (column,) = self.columns
        return Measurement({column: 100 * float(cosines.mean())})


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
