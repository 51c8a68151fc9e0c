"""Block features: the outputs of every block of the backbone."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.quantities.base import Inference, Observation, Quantity, SetName


@register("block_features")
@schema
class BlockFeatures(Quantity):
    """Outputs of every block for each set's first samples, averaged over positions, float32.

    Blocks are a ResNet's residual blocks or a transformer's layers; the last one's output is the
    backbone's feature vector. 3 sets x 2,000 samples of ResNet-18 (8 blocks, 1,920 numbers) take
    46 MB.

    Attributes:
        samples: at most this many of each set.
        sets: the observed sets.
    """

    kept: ClassVar[bool] = False

    samples: PositiveInt
    sets: tuple[SetName, ...] = ("forget", "retain", "test")

    def observe(self, inference: Inference) -> Observation:
        """One array per set and block; see `blocks`.

        Raises:
            NonFiniteLoss: an output is NaN or infinite.
        """
        return Observation(
            arrays={
                f"{part}/{depth:03}/{name}": output
                for part in self.sets
                for depth, (name, output) in enumerate(
                    inference.block_features(part, self.samples).items()
                )
            }
        )
