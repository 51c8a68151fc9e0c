"""Head inputs: a model's last linear layer, and its inputs."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.quantities.base import Head, Inference, Observation, Quantity, SetName


@register("head_inputs")
@schema
class HeadInputs(Quantity):
    """The last linear layer of a classification, with its inputs for some samples, float32.

    Of a classifier it is the last layer, of an encoder the linear probe, and of a model that reads
    captions the embeddings of the class prompts, without the scale of cosines. 5,000 samples of 512
    numbers take 10 MB.

    Attributes:
        part: the set.
        samples: at most this many, its first ones.
    """

    kept: ClassVar[bool] = False
    trained: ClassVar[bool] = True

    part: SetName = "forget"
    samples: PositiveInt

    def observe(self, inference: Inference) -> Observation:
        """The fields of `Head`.

        Raises:
            NonFiniteLoss: an input, or the probe's training, became NaN or infinite.
            DataError: the retain set is empty, and a probe is needed.
        """
        head = inference.head(self.part, self.samples)
        return Observation(
            arrays={"inputs": head.inputs, "weights": head.weights, "bias": head.bias}
        )


def head_of(observation: Observation) -> Head:
    """An observation as a head."""
    return Head(**observation.arrays)
