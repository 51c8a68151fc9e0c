"""CKA: whether a model's blocks represent samples as the retrained or as the original model's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Metric, Needs, Observed
from unlearn_ray.quantities.base import SetName
from unlearn_ray.quantities.block_features import BlockFeatures

_SETS: tuple[SetName, ...] = ("forget", "retain", "test")


@register("cka")
@schema
class CKA(Metric):
    """How much closer to the retrained model's blocks a model's are than the original's, by CKA.

    Linear centred kernel alignment (Kornblith et al., ICML 2019) of each block: 1 if both models'
    features are equal up to rotation and scale, and 0 if they are uncorrelated. A column is the
    mean over blocks of CKA(model, retrained) - CKA(original, retrained) on the first samples of a
    set: 0 of the original, above 0 if unlearning went towards retraining. The bias of CKA at few
    samples, which is larger for more features, is in both terms.

    Arrays, one number per block: `<set>_retrained`, CKA(model, retrained); `<set>_original`,
    CKA(model, original); `<set>_reference`, CKA(original, retrained). Constant features have CKA 0
    with all others.

    Attributes:
        samples: at most this many of each set.
    """

    columns: ClassVar[dict[str, str]] = {
        "cka_forget": "CKA forget",
        "cka_retain": "CKA retain",
        "cka_test": "CKA test",
    }

    samples: PositiveInt = 2_000

    @property
    def _features(self) -> BlockFeatures:
        return BlockFeatures(samples=self.samples, sets=_SETS)

    def needs(self) -> Needs:
        """The features of all blocks of the three models."""
        features = (self._features,)
        return Needs(model=features, original=features, retrained=features)

    def measure(self, model: Observed) -> Measurement:
        """The three means, and the alignments of every block.

        Raises:
            DataError: one of the sets is empty.
        """
        require_samples(model, *_SETS)
        values: dict[str, float] = {}
        arrays: dict[str, Tensor] = {}
        for part in _SETS:
            to_retrained = self._by_block(part, model, model.retrained)
            reference = self._by_block(part, model.original, model.retrained)
            values[f"cka_{part}"] = float((to_retrained - reference).mean())
            arrays[f"{part}_retrained"] = to_retrained
            arrays[f"{part}_original"] = self._by_block(part, model, model.original)
            arrays[f"{part}_reference"] = reference
        return Measurement(values, arrays)

    def _by_block(
        self, part: SetName, one: Observed, other: Observed
    ) -> Float64[Tensor, " blocks"]:
        pairs = zip(self._blocks(part, one), self._blocks(part, other), strict=True)
        return torch.stack([linear_cka(x, y) for x, y in pairs])

    def _blocks(self, part: SetName, model: Observed) -> Iterator[Tensor]:
        arrays = model.observation(self._features).arrays
        return (arrays[name] for name in sorted(arrays) if name.startswith(f"{part}/"))


def linear_cka(x: Float[Tensor, "n d"], y: Float[Tensor, "n e"]) -> Float64[Tensor, ""]:
    """Linear CKA of two representations of the same samples, in feature space.

    |Y^T X|^2 / (|X^T X| |Y^T Y|) in Frobenius norms, with centred columns: no matrix has a side of
    n, so that n may be large. 0 if either is constant.
    """
    x, y = (_centred(each.double()) for each in (x, y))
    cross, own, other = (torch.linalg.matrix_norm(a.T @ b) for a, b in ((y, x), (x, x), (y, y)))
    size = own * other
    return torch.where(size > 0, cross.square() / size.where(size > 0, 1.0), 0.0)


def _centred(rows: Float64[Tensor, "n d"]) -> Float64[Tensor, "n d"]:
    """Columns of mean 0, scaled as a whole so that the squares of small features do not vanish.

    Deviations that are rounding of the mean are 0.
    """
    apart = rows - rows.mean(dim=0)
    largest = apart.abs().max()
    rounding = largest <= 1e-12 * rows.abs().max()
    return torch.zeros_like(apart) if bool(rounding) else apart / largest
