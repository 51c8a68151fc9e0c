"""Prototype relearning: the forget accuracy that a few images restore without any training."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.families.similarity import unit_rows
from unlearn_ray.metrics.accuracy import require_samples
from unlearn_ray.metrics.base import Measurement, Metric, Needs, Observed
from unlearn_ray.quantities.base import Head
from unlearn_ray.quantities.head_inputs import HeadInputs, head_of


@register("prototype_relearning")
@schema
class PrototypeRelearning(Metric):
    """Forget accuracy after forgotten classes' weights are moved to the prototypes of a few images.

    Ha et al., "Unlearning's Blind Spots: Over-Unlearning and Prototypical Relearning Attack", ICML
    2026 (2506.01318): the weights of each forgotten class become half the old ones plus half the
    normalised mean feature of 5 of its images. Nothing is trained. Columns, in percent of the
    forget samples that are not in a prototype: the accuracy afterwards, and the points regained.

    - The shots of a class are the first of the forget set, at most half of its samples; of a class
      with a single sample there is none, and it keeps its weights. The paper also tests on
      other images than it relearns from.
    - Biases stay. The features are the inputs of the last linear layer: of a classifier, its last
      layer; of an encoder, the linear probe, which was trained on the retain set and has never
      seen the forgotten classes; of a model that reads captions, the embeddings of class prompts.

    Attributes:
        shots: images of each forgotten class.
        samples: at most this many, the first of the forget set, are used at all.
    """

    columns: ClassVar[dict[str, str]] = {
        "prototype_relearning": "Prototype UA",
        "prototype_regained": "Prototype gain",
    }
    needs_classes: ClassVar[bool] = True

    shots: PositiveInt = 5
    samples: PositiveInt = 5_000

    @property
    def _head(self) -> HeadInputs:
        return HeadInputs(part="forget", samples=self.samples)

    @classmethod
    def unsupported(cls, forget_set: ForgetSet) -> str | None:
        """Refuses sample unlearning, which forgets no whole class."""
        if forget_set.whole_classes:
            return None
        return f"{cls.name} needs whole classes to be forgotten; {forget_set.name} forgets samples"

    def needs(self) -> Needs:
        """The last linear layer, and its inputs."""
        return Needs(model=(self._head,))

    def measure(self, model: Observed) -> Measurement:
        """Both percentages.

        Raises:
            DataError: the forget set is empty.
        """
        require_samples(model, "forget")
        head = head_of(model.observation(self._head))
        labels = model.labels("forget")[: self.samples]
        shots = first_of_classes(labels, self.shots)
        before, after = (
            100 * float(_right(each, labels)[~shots].double().mean())
            for each in (head, relearned(head, labels, shots))
        )
        return Measurement({"prototype_relearning": after, "prototype_regained": after - before})


def first_of_classes(labels: Int[Tensor, " n"], shots: int) -> Bool[Tensor, " n"]:
    """Mask of the first `shots` samples of every class, at most half of them."""
    first = torch.zeros_like(labels, dtype=torch.bool)
    for label in torch.unique(labels):
        (places,) = torch.nonzero(labels == label, as_tuple=True)
        first[places[: min(shots, len(places) // 2)]] = True
    return first


def relearned(head: Head, labels: Int[Tensor, " n"], shots: Bool[Tensor, " n"]) -> Head:
    """The head with half of the weights of every class of the shots replaced by its prototype."""
    weights = head.weights.clone()
    for label in torch.unique(labels[shots]):
        mean = head.inputs[shots & (labels == label)].double().mean(dim=0)
        weights[label] = (weights[label] + unit_rows(mean)) / 2
    return Head(head.inputs, weights, head.bias)


def _right(head: Head, labels: Int[Tensor, " n"]) -> Bool[Tensor, " n"]:
    logits = head.inputs.double() @ head.weights.double().T + head.bias.double()
    return logits.argmax(dim=1) == labels
