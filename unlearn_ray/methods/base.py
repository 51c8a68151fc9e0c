"""Contract of an unlearning method: its preparation, its training phases and its final edit.

The engine, which owns the only training loop, runs a method as

    prepare  ->  each of its phases  ->  finish

Most methods train in one phase, and define only its samples and its loss (`TrainingMethod`). A
method that alternates has several phases; a one-shot method has none and edits the weights in
`finish`. The compute time of all three is counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal, Protocol, TypeVar

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Grid, Ranges
from unlearn_ray.core.recipe import Player, Recipe, RecipeFields
from unlearn_ray.core.registry import Fields, Part
from unlearn_ray.core.schema import NonNegativeInt, PositiveFloat, schema
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.families.base import ClassFamily, ClassifierFamily, Family, Prompts
from unlearn_ray.layouts.brought import Checkpoint

TrainsOn = Literal["retain", "forget", "all"]
PartName = Literal["retain", "forget", "validation"]
Source = PartName | Dataset
OwnBatches = tuple[tuple[TrainsOn | PartName, int], ...]
S = TypeVar("S", bound=nn.Module)


class Samples(Protocol):
    """Access to a task's samples outside of the training loop, as unaugmented images."""

    @property
    def num_classes(self) -> int:
        """Number of classes of the dataset."""
        ...

    @property
    def forgotten_classes(self) -> tuple[int, ...]:
        """Classes in the forget set that the retain set lacks; none in sample unlearning."""
        ...

    @property
    def prompts(self) -> Prompts | None:
        """Tokenised class prompts; None for unlabelled images or a family without captions."""
        ...

    def size(self, part: PartName) -> int:
        """Number of samples."""
        ...

    def ids(self, part: PartName) -> Int64[Tensor, " n"]:
        """Ids of a part's samples in the dataset (`Batch.ids`), in the order of `labels`."""
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
            size: of a block (the last may be smaller), or the sizes of all blocks.
            limit: maximum number of samples: the first in the seed's permuted order.
        """
        ...

    def generator(self, *words: str | int) -> torch.Generator:
        """A CPU generator seeded from the step's seed and the words; the same on every worker."""
        ...

    def new_model(self) -> nn.Module:
        """A freshly initialised model of the task's family, in eval mode, on the device."""
        ...


def nothing_brought(checkpoint: Checkpoint) -> Mapping[str, Tensor]:
    """Of a task whose method reads no weights."""
    raise NotImplementedError(checkpoint.checkpoint)


@dataclass(frozen=True)
class Outside:
    """What other code did, for a method that reads its weights.

    Attributes:
        weights: their digest.
        seconds: compute seconds that it took.
    """

    weights: str
    seconds: float


@dataclass(frozen=True)
class Task:
    """The unlearning task as a method sees it.

    Attributes:
        family: the model's family, with its criterion.
        samples: the dataset's parts, for use outside of the training loop.
        state: what `Method.prepare` returned.
        brought: the weights of this run in a checkpoint of other code, as a state dict of the
            model.
    """

    family: Family
    samples: Samples
    state: nn.Module = field(default_factory=nn.Module)
    brought: Callable[[Checkpoint], Mapping[str, Tensor]] = nothing_brought

    @property
    def retain_size(self) -> int:
        """Number of retain samples."""
        return self.samples.size("retain")

    @property
    def forget_size(self) -> int:
        """Number of forget samples."""
        return self.samples.size("forget")

    def state_of(self, kind: type[S]) -> S:
        """The state, typed as the class that the method prepares."""
        assert isinstance(self.state, kind)
        return self.state


# Maps model, batch and task to the loss of an iteration.
Loss = Callable[[nn.Module, Batch, Task], Float[Tensor, ""]]
TaskPlayer = Player[[nn.Module, Batch, Task]]


def criterion(model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
    """The family's criterion as a phase's loss."""
    return task.family.criterion(model, batch)


@dataclass(frozen=True)
class Phase:
    """One run of the training loop.

    Attributes:
        recipe: how weights are updated; every phase starts with a new optimizer.
        trains_on: the samples of an epoch; "all" is one shuffled pass over retain and forget
            set together, so that a batch holds both in proportion.
        loss: of one iteration.
        companions: other sets, each of which gives every iteration a full companion batch
            (`Batch.companions`), in shuffled passes of its own; of another dataset, the training
            images.
        joined: whether batch and companions are one forward pass (`Batch.joined`): batch norm sees
            them together, and no companion batch is larger than the batch that it is joined to.
        added: number of images that the method itself adds to an epoch: they are shuffled among
            the samples, and a batch says which of them it contains (`Batch.added`).
        iterations: number of updates, instead of the recipe's epochs.
        repeats: number of consecutive iterations on the same batch (each with new companions).
        retain_limit, retain_per_class: use only the first retain samples, of all or of each class,
            in the seed's permuted order.
        module: what is optimised, a part of the model or the state; the model if None.
        opponent: another player, whose module belongs to the state: it is updated in every
            iteration just before the phase's own, on the same batch.
        training: whether the model is in training mode (batch statistics, dropout).
        after_update: called after every update, to enforce constraints on the weights.
        until: early stopping: called on worker 0 after every epoch except the last; true ends the
            phase.
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
        """The players that an iteration updates, in this order; the last is the phase's own."""
        own = Player(model if self.module is None else self.module, self.recipe, self.loss)
        return (own,) if self.opponent is None else (self.opponent, own)


@schema
class Method(Part):
    """Contract of a method.

    Class attributes:
        recommended: the ranges to search where nothing better is known, by field; a sweep file
            takes them by the name `recommended`. Declared right after the fields.
        grids: other ranges by name: what a paper searched or published, and one value where it
            searched nothing.
        idle: field values that leave the model unchanged, bit for bit; None if there are none.
        reads_weights: whether its field `weights` names files with the weights of each run, which
            other code has made. None of its fields is searched.
    """

    kind: ClassVar[str] = "method"
    room: ClassVar[str] = "unlearn_ray.methods"
    idle: ClassVar[Fields | None] = None
    reads_weights: ClassVar[bool] = False
    recommended: ClassVar[Ranges] = {}
    grids: ClassVar[Mapping[str, Grid]] = {}

    @classmethod
    def unsupported(cls, family: Family, forget_set: ForgetSet) -> str | None:
        """Why this method cannot unlearn such a forget set from this family; None if it can."""
        return None

    def extra_data(self) -> tuple[Source, ...]:
        """Data other than retain and forget set that it uses: "validation", or other datasets.

        A sweep is refused if that validation set is empty, or the other images differ in size.
        """
        return ()

    def own_batches(self) -> OwnBatches:
        """The sets that the model is trained on in separate batches, and their batch sizes.

        Planning checks whether the smallest of these batches is large enough to train the model;
        a phase that leaves the model in eval mode, or joins sets, has none.
        """
        return ()

    def images_kept(self) -> tuple[int, int]:
        """Images whose forward passes an update keeps at a time: in bf16, and in float32.

        Of each of the family's views, by which planning estimates the memory of a step.
        """
        return sum(size for _, size in self.own_batches()), 0

    def outside(self, seed: int, replicate: int) -> Outside | None:
        """What other code did in a run, if the method reads its weights.

        It is part of the identity of the run's unlearned model.
        """
        return None

    def prepare(self, model: nn.Module, task: Task) -> nn.Module:
        """The method's state besides the model, as parameters and buffers of a module.

        Called first, with the original in eval mode; after a restart again, before the
        checkpoint's tensors are loaded into model and state. It may change the model's structure
        if `finish` reverts that.
        """
        return nn.Module()

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """The sequence of phases.

        Called once, before the first begins; after a restart again, when completed phases are
        skipped. So phases must not depend on weights.
        """
        return ()

    def finish(self, model: nn.Module, task: Task) -> None:
        """Edit the weights once, in eval mode, after the last phase."""


@schema
class TrainingMethod(RecipeFields, Method, ABC):
    """A method that trains by a recipe. Its defaults: MUC's unlearning runs (appendix A.2).

    Its `last_batch` follows its own reference code; it is null (the family's) if there is no such
    code, or it is shared by many families.

    Class attributes:
        trains_on: the samples of an epoch of its only phase; see `Phase`.
    """

    trains_on: ClassVar[TrainsOn] = "all"
    tiny: ClassVar[Fields] = {"epochs": 1, "batch_size": 32}
    idle: ClassVar[Fields | None] = {"epochs": 0}

    epochs: NonNegativeInt = 10
    learning_rate: PositiveFloat = 0.006
    schedule: Literal["cosine", "constant"] = "constant"

    @property
    def recipe(self) -> Recipe:
        """The recipe made of its fields."""
        return Recipe(**{field.name: getattr(self, field.name) for field in fields(Recipe)})

    def own_batches(self) -> OwnBatches:
        """The samples of its only phase."""
        return ((self.trains_on, self.batch_size),) if self.epochs else ()

    def phases(self, model: nn.Module, task: Task) -> Sequence[Phase]:
        """One phase; none with zero epochs."""
        return [Phase(self.recipe, self.trains_on, self.loss)] if self.epochs else []

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """The loss of an iteration of the method's own phase."""


@schema
class ClassifierMethod(Method):
    """A method that needs labels: it unlearns only from classifiers."""

    @classmethod
    def unsupported(cls, family: Family, forget_set: ForgetSet) -> str | None:
        """Refuses a family without a classifier."""
        if isinstance(family, ClassifierFamily):
            return None
        return f"{cls.name} needs a classifier; {family.name} has none"


def classifier_family(task: Task) -> ClassifierFamily:
    """The task's family, typed for a method that needs a classifier."""
    assert isinstance(task.family, ClassifierFamily)
    return task.family


def class_family(task: Task) -> ClassFamily:
    """The task's family, typed for a method that needs class logits."""
    assert isinstance(task.family, ClassFamily)
    return task.family
