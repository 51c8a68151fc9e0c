"""A model of another library that computes the same as one of ours, and how its weights are named.

Both directions use it: a checkpoint's tensors are found by its names (`layouts.reading`), and
`Counterpart.weights` renames ours, so that the library loads them with `strict=True`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unlearn_ray.core.errors import ConfigError
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.families.base import Family
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.models.base import Model

Library = Literal["torchvision", "timm", "open_clip"]
Values = Mapping[str, Any]
Names = Mapping[str, str]

# Of our models.
BACKBONE = "backbone."
CLASSIFIER = "classifier."


@dataclass(frozen=True)
class Edit:
    """A layer that replaces one of the library's model.

    Attributes:
        name: of the replaced attribute.
        layer: a class of `torch.nn`.
        arguments: of the layer.
    """

    name: str
    layer: str
    arguments: Values = field(default_factory=dict)


@dataclass(frozen=True)
class Counterpart:
    """A model of a library.

    Attributes:
        library: its package.
        constructor: what makes the model, a path within the package.
        arguments: of the constructor.
        body: our names of the weights by the library's, of all layers but the classifier.
        head: likewise of the classifier; empty if the model has none.
        edits: made after construction: a CIFAR stem, no classifier.
        left_out: our weights that it has no place for, such as a projection head.
    """

    library: Library
    constructor: str
    arguments: Values
    body: Names
    head: Names
    edits: tuple[Edit, ...] = ()
    left_out: tuple[str, ...] = ()

    def weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a model of ours, under the library's names.

        Args:
            state: its `state_dict()`; pruning masks in it are left out.
        """
        return {theirs: state[ours] for theirs, ours in {**self.body, **self.head}.items()}

    def build(self) -> nn.Module:
        """The library's model, randomly initialised."""
        model = constructed(self.library, self.constructor, self.arguments)
        for edit in self.edits:
            setattr(model, edit.name, getattr(nn, edit.layer)(**edit.arguments))
        return model

    def code(self) -> str:
        """The lines of Python that build it as `model`."""
        lines = ["import torch"] if self.edits else []
        lines.append(f"import {self.library}")
        lines += ["", f"model = {self.library}.{self.constructor}({_written(self.arguments)})"]
        lines += [
            f"model.{edit.name} = torch.nn.{edit.layer}({_written(edit.arguments)})"
            for edit in self.edits
        ]
        return "\n".join(lines)


def constructed(library: Library, constructor: str, arguments: Values) -> nn.Module:
    """A model of a library; see `Counterpart`."""
    # timm and open_clip import it, too; and it takes seconds.
    import unlearn_ray.core.torchvision_import  # noqa: F401

    # isort: split
    made: Any = importlib.import_module(library)
    for word in constructor.split("."):
        made = getattr(made, word)
    model: nn.Module = made(**arguments)
    return model


def _written(arguments: Values) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


@dataclass(frozen=True)
class Ours:
    """A model of ours, before any weights.

    Attributes:
        model: the backbone's part.
        family: of the model.
        info: of the dataset.
        state: names, shapes and types of a dense model's weights; not their numbers.
    """

    model: Model
    family: Family
    info: DatasetInfo
    state: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: Model, family: Family, info: DatasetInfo) -> Ours:
        """The model that a sweep trains."""

        def build() -> nn.Module:
            return family.build(model.build(info.image_size), len(info.class_names))

        return cls(model, family, info, shapes_of(build))

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.info.class_names)

    def below(self, prefix: str) -> dict[str, str]:
        """Names of the weights below a prefix, by what follows it."""
        return {name.removeprefix(prefix): name for name in self.state if name.startswith(prefix)}

    def head(self, library: Library, theirs: str) -> dict[str, str]:
        """Names of a linear classifier on the backbone's features; empty without a classifier.

        Args:
            library: that has it.
            theirs: the prefix of its names there.

        Raises:
            ConfigError: other layers are between features and classifier.
        """
        if not isinstance(self.family, Supervised):
            return {}
        if self.family.embedding_size is not None:
            raise self.none_in(library, "its classifier takes an embedding of the features")
        return {f"{theirs}{name}": ours for name, ours in self.below(CLASSIFIER).items()}

    def others(self, *taken: Names) -> tuple[str, ...]:
        """Names of the weights that are not among `taken`."""
        known = {ours for names in taken for ours in names.values()}
        return tuple(name for name in self.state if name not in known)

    def none_in(self, library: Library, reason: str) -> ConfigError:
        """The error that a library has no such model."""
        return ConfigError(
            f"{self.model.name} with family {self.family.name} in {library}",
            reason,
            "take the layout native, which holds every model",
        )


def shapes_of(build: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """The state dict of a model, on the meta device if it can be built there."""
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build().state_dict()
        except (ConfigError, RuntimeError):
            # Some architectures compute with numbers when they are built.
            return build().state_dict()


def replaced(names: Iterable[str], words: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each name by itself with words replaced, in their order."""
    found = {}
    for name in names:
        other = name
        for word, by in words:
            other = other.replace(word, by)
        found[other] = name
    return found
