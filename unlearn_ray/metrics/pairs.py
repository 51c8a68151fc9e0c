"""Base classes of the metrics of image-text pairs."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Metric, Needs, Observed
from unlearn_ray.quantities import pair_similarity as quantities
from unlearn_ray.quantities.base import SetName


@schema
class PairMetric(Metric):
    """A metric of the joint embeddings of images and captions."""

    needs_captions: ClassVar[bool] = True


@schema
class PairSimilarity(PairMetric):
    """Mean cosine similarity of the images of a set with their captions, times 100.

    MUC, Table 6, reports it for the retain and the forget set, and averages their gaps. Both
    embeddings are normalised, of unaugmented images; the temperature is not used. For an image
    with several captions it is their mean, the expectation over training's random caption; the
    paper does not say which it takes.

    Class attributes:
        part: the set.
    """

    part: ClassVar[SetName]

    @property
    def _similarity(self) -> quantities.PairSimilarity:
        return quantities.PairSimilarity(part=self.part)

    def needs(self) -> Needs:
        """The similarity of every pair of the set."""
        return Needs(model=(self._similarity,))

    def measure(self, model: Observed) -> Measurement:
        """The mean.

        Raises:
            DataError: the set is empty.
        """
        require_samples(model, self.part)
        cosines = model.values(self._similarity, self.part)
        (column,) = self.columns
        return Measurement({column: 100 * float(cosines.mean())})
