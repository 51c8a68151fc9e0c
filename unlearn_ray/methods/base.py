"""Contract of an unlearning method: a loss, and which samples its iterations see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import NonNegativeInt, PositiveFloat, schema
from unlearn_ray.families.base import Family


@dataclass(frozen=True)
class Task:
    """What a method may know of what it unlearns.

    Attributes:
        family: the model's family, with its criterion.
        retain_size, forget_size: numbers of samples.
    """

    family: Family
    retain_size: int
    forget_size: int


@schema
class Method(Recipe, Part):
    """Contract of a method. Defaults of its recipe: MUC's unlearning runs (appendix A.2).

    Class attributes:
        trains_on: the samples of an epoch; "all" is one shuffled pass over retain and forget
            set together, so that a batch holds both in their proportion.
    """

    kind: ClassVar[str] = "method"
    room: ClassVar[str] = "unlearn_ray.methods"
    trains_on: ClassVar[Literal["retain", "forget", "all"]]

    epochs: NonNegativeInt = 10
    learning_rate: PositiveFloat = 0.006
    schedule: Literal["cosine", "constant"] = "constant"

    @classmethod
    def unsupported(cls, family: Family) -> str | None:
        """Why this method cannot unlearn from models of `family`; None if it can."""
        return None

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """What one iteration descends on."""
        raise NotImplementedError
