"""Contract of an unlearning method: what it prepares, what it trains, what it edits at the end.

A method is run as

    prepare  ->  each of its phases  ->  finish

by the engine, which owns the one training loop. Most methods train in one phase, and say only
which samples it sees and its loss (`TrainingMethod`). One that alternates has several phases; one
that edits weights once has none and does its work in `finish`. Time is counted from the first to
the last of these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, Protocol, TypeVar

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.recipe import Player, Recipe, RecipeFields
from unlearn_ray.core.registry import Fields, Part
from unlearn_ray.core.schema import NonNegativeInt, PositiveFloat, schema
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.families.base import ClassFamily, ClassifierFamily, Family, Prompts

TrainsOn = Literal["retain", "forget", "all"]
PartName = Literal["retain", "forget", "validation"]
Source = PartName | Dataset
OwnBatches = tuple[tuple[TrainsOn | PartName, int], ...]
S = TypeVar("S", bound=nn.Module)


class Samples(Protocol):
    """The samples of a task outside of the training loop, as test-time images on the device."""

    @property
    def num_classes(self) -> int:
        """Of the dataset."""
        ...

    @property
    def forgotten_classes(self) -> tuple[int, ...]:
        """Classes that the forget set has and the retain set lacks; none in sample unlearning."""
        ...

    @property
    def prompts(self) -> Prompts | None:
        """Of all classes; None if the family reads no captions, or the dataset has no classes."""
        ...

    def size(self, part: PartName) -> int:
        """Number of samples."""
        ...

    def ids(self, part: PartName) -> Int64[Tensor, " n"]:
        """Of a part's samples in the dataset (`Batch.ids`), in the order of their labels."""
        ...

    def labels(self, part: PartName) -> Int[Tensor, " n"]:
        """Classes of a part's samples, in the seed's permuted order, on the device."""
        ...

    def blocks(
        self, part: PartName, size: int | list[int] = 256, limit: int | None = None
    ) -> Iterator[tuple[Float[Tensor, "block 3 height width"], Int[Tensor, " block"]]]:
        """Normalised images and classes, block by block.

        Args:
            part: of the dataset.
            size: of a block; the last may be smaller. Or the sizes of all.
            limit: how many samples at most: the first in the seed's permuted order.
        """
        ...

    def generator(self, *words: str | int) -> torch.Generator:
        """On the CPU, seeded from the step's seed and the words; the same on every worker."""
        ...

    def new_model(self) -> nn.Module:
        """A freshly initialised model of the task's family, in eval mode, on the device."""
        ...


@dataclass(frozen=True)
class Task:
    """What a method may know of what it unlearns.

    Attributes:
        family: the model's family, with its criterion.
        samples: the dataset's parts, for what is done outside of the training loop.
        state: what `Method.prepare` returned.
    """

    family: Family
    samples: Samples
    state: nn.Module = field(default_factory=nn.Module)

    @property
    def retain_size(self) -> int:
        """Number of retain samples."""
        return self.samples.size("retain")

    @property
    def forget_size(self) -> int:
        """Number of forget samples."""
        return self.samples.size("forget")

    def state_of(self, kind: type[S]) -> S:
        """The state, which is of the class that the method prepares."""
        assert isinstance(self.state, kind)
        return self.state


# What an iteration descends on, from the model, the batch and the task.
Loss = Callable[[nn.Module, Batch, Task], Float[Tensor, ""]]
TaskPlayer = Player[[nn.Module, Batch, Task]]


def criterion(model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
    """What the family is trained with, as a phase's loss."""
    return task.family.criterion(model, batch)


@dataclass(frozen=True)
class Phase:
    """One run of the training loop.

    Attributes:
        recipe: how weights are updated; the optimizer starts anew with every phase.
        trains_on: the samples of an epoch; "all" is one shuffled pass over retain and forget
            set together, so that a batch holds both in their proportion.
        loss: what one iteration descends on.
        companions: other sets that every iteration sees a full batch of (`Batch.companions`), in
            shuffled passes of their own; of another dataset, its training images.
        joined: whether all pass the model as one (`Batch.joined`): batch norm sees them together,
            and no companion batch is larger than the one that it is joined to.
        added: how many images of its own the method adds to an epoch: they are shuffled among the
            samples, and a batch says which of them are in it (`Batch.added`).
        iterations: how many updates it takes, instead of the recipe's epochs.
        repeats: how many iterations in a row see the same batch (each with new companions).
        retain_limit, retain_per_class: use only the first retain samples, of all or of each class,
            in the seed's permuted order.
        module: what is optimised; the model if None. It is a part of the model or the state.
        opponent: another player, whose module is of the state: it is updated in every iteration
            right before the phase's own, on the same batch.
        training: whether the model is in training mode (batch statistics, dropout).
        after_update: called after every update, for what must hold of the weights.
        until: asked at the end of every epoch but the last, on worker 0, whether to end the phase.
        after: called when the phase has ended.
    """

    recipe: Recipe
    trains_on: TrainsOn
    loss: Loss
    companions: tuple[Source, ...] = ()
    joined: bool = False
    added: int = 0
    iterations: int | None = None
    repeats: int = 1
    retain_limit: int | None = None
    retain_per_class: int | None = None
    module: nn.Module | None = None
    opponent: TaskPlayer | None = None
    training: bool = True
    after_update: Callable[[], None] | None = None
    until: Callable[[], bool] | None = None
    after: Callable[[], None] | None = None

    def players(self, model: nn.Module) -> tuple[TaskPlayer, ...]:
        """What an iteration updates, in this order; the last is the phase's own."""
        own = Player(model if self.module is None else self.module, self.recipe, self.loss)
        return (own,) if self.opponent is None else (self.opponent, own)


@schema
class Method(Part):
    """Contract of a method.

    Class attributes:
        idle: fields with which it leaves the model bit for bit; None if it always changes it.
    """

    kind: ClassVar[str] = "method"
    room: ClassVar[str] = "unlearn_ray.methods"
    idle: ClassVar[Fields | None] = None

    @classmethod
    def unsupported(cls, family: Family, forget_set: ForgetSet) -> str | None:
        """Why this method cannot unlearn such a set from models of `family`; None if it can."""
        return None

    def extra_data(self) -> tuple[Source, ...]:
        """What it reads besides retain and forget set: "validation", other datasets.

        A sweep whose validation set is empty, or whose images have another size, is refused.
        """
        return ()

    def own_batches(self) -> OwnBatches:
        """The sets that the model is trained on in batches of their own, and their batch sizes.

        Planning asks whether the smallest of these batches is one that the model can be trained
        on; a phase that leaves the model in eval mode, or joins sets, has none.
        """
        return ()

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        """What the method keeps besides the model, as parameters and buffers of a module.

        Called first, with the original in eval mode; after a restart once more, before the
        checkpoint's tensors are put into model and state. It may change the model's structure,
        if `finish` changes it back.
        """
        return nn.Module()

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """The phases, one after the other.

        Called once, before the first begins; after a restart once more, and those that had ended
        are not run again. So none of them may depend on weights.
        """
        return ()

    def finish(self, model: nn.Module, task: Task) -> None:
        """What is done to the weights once, in eval mode, after the last phase."""


@schema
class TrainingMethod(RecipeFields, Method, ABC):
    """A method that trains by a recipe. Its defaults: MUC's unlearning runs (appendix A.2).

    Its `last_batch` is what its own code does; where that has none, or is one for many families,
    it is null, as the family's.

    Class attributes:
        trains_on: the samples of an epoch of its one phase; see `Phase`.
    """

    trains_on: ClassVar[TrainsOn] = "all"
    tiny: ClassVar[Fields] = {"epochs": 1, "batch_size": 32}
    idle: ClassVar[Fields | None] = {"epochs": 0}

    epochs: NonNegativeInt = 10
    learning_rate: PositiveFloat = 0.006
    schedule: Literal["cosine", "constant"] = "constant"

    @property
    def recipe(self) -> Recipe:
        """Of its fields."""
        return Recipe(**{field.name: getattr(self, field.name) for field in fields(Recipe)})

    def own_batches(self) -> OwnBatches:
        """The samples of its one phase."""
        return ((self.trains_on, self.batch_size),) if self.epochs else ()

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """One; none without epochs."""
        return [Phase(self.recipe, self.trains_on, self.loss)] if self.epochs else []

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """What an iteration of the method's own phase descends on."""


@schema
class ClassifierMethod(Method):
    """A method that needs labels: it unlearns from classifiers alone."""

    @classmethod
    def unsupported(cls, family: Family, forget_set: ForgetSet) -> str | None:
        """A family without a classifier has no labels to unlearn."""
        if isinstance(family, ClassifierFamily):
            return None
        return f"{cls.name} needs a classifier; {family.name} has none"


def classifier_family(task: Task) -> ClassifierFamily:
    """The task's family, of a method that needs a classifier."""
    assert isinstance(task.family, ClassifierFamily)
    return task.family


def class_family(task: Task) -> ClassFamily:
    """The task's family, of a method that needs one whose models tell classes."""
    assert isinstance(task.family, ClassFamily)
    return task.family
