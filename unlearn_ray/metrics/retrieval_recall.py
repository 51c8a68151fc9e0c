"""Recall@K of image-to-text and text-to-image retrieval on the test set."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Needs, Observed
from unlearn_ray.metrics.cosine_attack import DECIMALS
from unlearn_ray.metrics.pairs import PairMetric
from unlearn_ray.quantities.base import Pairs
from unlearn_ray.quantities.pair_embeddings import PairEmbeddings, pairs_of
from unlearn_ray.quantities.similarity import unit

TEST_PAIRS = PairEmbeddings(part="test")
KS = (1, 5, 10)
# With 25,000 captions, this many rows of similarities take 100 MB.
ROWS = 512
_DIRECTIONS = {"image_to_text": "Image to text", "text_to_image": "Text to image"}


@register("retrieval_recall")
@schema
class RetrievalRecall(PairMetric):
    """Percent of the test pairs that are retrieved, in both directions, for K = 1, 5 and 10.

    Image to text: an image counts if one of its captions is among the K captions of the test set
    that are most similar to it. Text to image: a caption counts if its image is among the K
    images that are most similar to it; all of an image's captions are tried, each on its own.

    A caption shared by several images (a prompt) is one candidate, and correct for all of them.
    Ties are ranked before the correct candidate, so that a collapsed model has recall 0.

    It does not count in the average gap. The printed table leaves out K = 10.
    """

    columns: ClassVar[dict[str, str]] = {
        f"{direction}_recall_at_{k}": f"{header}, R@{k}"
        for direction, header in _DIRECTIONS.items()
        for k in KS
    }
    stored_only: ClassVar[frozenset[str]] = frozenset(
        f"{direction}_recall_at_10" for direction in _DIRECTIONS
    )

    def needs(self) -> Needs:
        """The embeddings of all test pairs."""
        return Needs(model=(TEST_PAIRS,))

    def measure(self, model: Observed) -> Measurement:
        """Six recalls.

        Raises:
            DataError: the test set is empty.
        """
        require_samples(model, "test")
        pairs = pairs_of(model.observation(TEST_PAIRS))
        before_texts, before_images = wrong_before(pairs)
        found = [before_texts < k for k in KS]
        # A shared caption is one query per image.
        found += [(before_images < k)[pairs.captions] for k in KS]
        recalls = [100 * int(hits.sum()) / hits.shape[0] for hits in found]
        return Measurement(dict(zip(self.columns, recalls, strict=True)))


def wrong_before(pairs: Pairs) -> tuple[Int[Tensor, " n"], Int[Tensor, " distinct"]]:
    """Rank (from 0) of the best correct candidate among wrong ones, for each image and each text.

    A text without an image is not a candidate, and its own rank is meaningless.
    """
    images, texts = unit(pairs.images), unit(pairs.texts)
    numbers = torch.arange(images.shape[0]).repeat_interleave(pairs.begins.diff())
    right = torch.zeros(images.shape[0], texts.shape[0], dtype=torch.bool)
    right[numbers, pairs.captions] = True
    used = right.any(dim=0)
    return (
        _wrong_before(images, texts[used], right[:, used]),
        _wrong_before(texts, images, right.T),
    )


def _wrong_before(
    queries: Float[Tensor, "q d"], candidates: Float[Tensor, "c d"], right: Bool[Tensor, "q c"]
) -> Int[Tensor, " q"]:
    counts = []
    for start in range(0, queries.shape[0], ROWS):
        rows = slice(start, start + ROWS)
        # The sums for equal candidates may differ in their last digits.
        cosines = (queries[rows] @ candidates.T).round(decimals=DECIMALS)
        best = cosines.where(right[rows], -torch.inf).amax(dim=1, keepdim=True)
        counts.append(((cosines >= best) & ~right[rows]).sum(dim=1))
    return torch.cat(counts)
