"""Contract of a score: a function of what many models say of the same samples.

A metric is a number of one model. A score compares populations of models, and so separates what a
method does from what the training seed does. Two banks of models serve all scores:

- *replicates*: one split; N original, N retrained and N unlearned models of different training
  seeds;
- *masks*: M models on random masks of the audited samples, then unlearned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import schema
from unlearn_ray.evidence.estimates import Estimate
from unlearn_ray.quantities.base import Quantity, SetName
from unlearn_ray.quantities.outputs import Outputs

# Significance level of tests; intervals have the level 1 - LEVEL.
LEVEL = 0.05
OUTPUTS = Outputs()


@dataclass(frozen=True)
class Scores:
    """A score's result: its estimates by column, and arrays (ROC curves) for an artifact."""

    estimates: Mapping[str, Estimate]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Population:
    """What N models of one kind say of each set's samples, in the same order.

    Attributes:
        confidence: log p_y - log(1 - p_y) of the true class, (N, n) per set.
        correct: whether the predicted class is the true one, (N, n) per set.
    """

    confidence: Mapping[SetName, Float64[np.ndarray, "models n"]]
    correct: Mapping[SetName, Bool[np.ndarray, "models n"]]


@dataclass(frozen=True)
class ReplicateBank:
    """N models of each kind on one split, which differ in the training seed alone.

    Model i of `unlearned` was unlearned from model i of `original`.
    """

    unlearned: Population
    retrained: Population
    original: Population


@dataclass(frozen=True)
class MaskedBank:
    """M models, trained on random masks of the audited samples and then unlearned.

    Models come in blocks of four consecutive ones: in each block, each audited sample is OUT of two
    models' training sets, and of the two others it is in the RETAIN set of one and in the FORGET
    set of the other. So every sample is in each state equally often in every block, and fitting on
    whole blocks never depends on the state under a held-out model.

    Attributes:
        states: OUT, RETAIN or FORGET (`evidence.masks`) of every audited sample under every model,
            (M, n).
        original: the signal of the models before unlearning, larger for likelier members, (M, n).
        unlearned: the same after unlearning.
        original_unseen, unlearned_unseen: the same on test samples, which no model has seen,
            (M, z).
        classes: the true class of each audited sample, (n,).
        confidence: whether the signal is log p_y - log(1 - p_y), from which p_y follows.
    """

    states: UInt8[np.ndarray, "models n"]
    original: Float64[np.ndarray, "models n"]
    unlearned: Float64[np.ndarray, "models n"]
    original_unseen: Float64[np.ndarray, "models z"]
    unlearned_unseen: Float64[np.ndarray, "models z"]
    classes: Int64[np.ndarray, " n"]
    confidence: bool = True


@schema
class Score(Part):
    """Contract of a score.

    Class attributes:
        columns: its columns, each with its header in printed tables.
        least: the fewest models (of each kind) that it can be computed from.
        of_original: whether it is about the original models alone, whatever the method.
    """

    kind: ClassVar[str] = "score"
    room: ClassVar[str] = "unlearn_ray.scores"
    columns: ClassVar[dict[str, str]]
    least: ClassVar[int] = 2
    of_original: ClassVar[bool] = False


@schema
class ReplicateScore(Score):
    """A score of replicates."""

    def measure(self, bank: ReplicateBank) -> Scores:
        """One estimate per column."""
        raise NotImplementedError


@schema
class MaskedScore(Score):
    """A score of a bank of masks."""

    least: ClassVar[int] = 8

    @property
    def quantity(self) -> Quantity:
        """The observation that the signal is taken from: the confidence of outputs by default.

        Any other quantity has one number per sample of all four sets, which is the signal.
        """
        return OUTPUTS

    def measure(self, bank: MaskedBank) -> Scores:
        """One estimate per column."""
        raise NotImplementedError
