"""Find the weights of one of our models among the tensors of a checkpoint, by name and shape.

A layout is a set of names. What stands before all of them (`module.`, `model.`, `backbone.` ...) is
found from the tensors themselves, and a linear classifier may have any name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from unlearn_ray.core.errors import ConfigError, listed, shown
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.layouts import open_clip, timm, torchvision
from unlearn_ray.layouts.counterpart import (
    BACKBONE,
    CLASSIFIER,
    Counterpart,
    Library,
    Names,
    Ours,
    replaced,
)
from unlearn_ray.layouts.misfit import Misfit, WeightsMisfit

Layout = Literal["auto", "torchvision", "timm", "open_clip", "state_dict"]

_COUNTERPARTS = {
    "torchvision": torchvision.counterpart,
    "timm": timm.counterpart,
    "open_clip": open_clip.counterpart,
}
# A count of batches that nothing reads; older checkpoints lack it.
_COUNTER = "num_batches_tracked"
# Last words of a classifier's name, where other linear layers are left, too.
_HEADS = ("fc", "head", "classifier", "linear", "last_linear")
# open_clip cuts positions beyond a shorter context.
_CUT = f"{open_clip.TEXT}positional_embedding"


def counterpart(library: Library, ours: Ours) -> Counterpart:
    """The model of a library that computes the same as ours.

    Raises:
        ConfigError: it has none.
    """
    return _COUNTERPARTS[library](ours)


@dataclass(frozen=True)
class _Naming:
    """Our names by a layout's, of all weights but the classifier's, and the classifier's."""

    layout: str
    body: Names
    head: Names


@dataclass
class _Fit:
    """What a naming finds.

    Attributes:
        found: names in the checkpoint by ours.
        misfits: what does not fit.
        prefixes: what stands before all weights, several times if there are several models.
    """

    layout: str
    found: dict[str, str] = field(default_factory=dict)
    misfits: list[Misfit] = field(default_factory=list)
    prefixes: tuple[str, ...] = ()


def weights(
    tensors: Mapping[str, Tensor],
    ours: Ours,
    layout: Layout = "auto",
    classes: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """The state dict of our model, from a checkpoint's tensors; floats have our types.

    Args:
        tensors: of the checkpoint, by its names.
        ours: the model.
        layout: of the names; "auto" takes the one that fits best.
        classes: names of the classes in the order of the checkpoint's logits; empty if that is the
            dataset's.

    Raises:
        WeightsMisfit: names or shapes do not fit; it has a table of them.
        ConfigError: the layout has no such model, a tensor is not finite, or classes are not the
            dataset's.
    """
    fits = [_fit(naming, tensors, ours) for naming in _namings(layout, ours)]
    best = min(fits, key=lambda fit: len(fit.misfits))
    if len(best.prefixes) > 1:
        raise ConfigError(
            f"tensors below {listed(map(shown, best.prefixes))}",
            "each is a whole model, and one is expected",
            "save the state dict of one of them alone",
        )
    if best.misfits:
        raise WeightsMisfit(f"layout {best.layout}", best.misfits)
    state = {
        name: _converted(theirs, tensors[theirs], ours.state[name], cut=name == _CUT)
        for name, theirs in best.found.items()
    }
    for name, wanted in ours.state.items():
        if name not in state:
            state[name] = torch.zeros(wanted.shape, dtype=wanted.dtype)
    _reorder(state, classes, ours)
    return {name: state[name] for name in ours.state}


def _namings(layout: Layout, ours: Ours) -> Iterator[_Naming]:
    """The names of a layout; several for "auto"."""
    for library in get_args(Library) if layout == "auto" else (layout,):
        if library not in _COUNTERPARTS:
            continue
        try:
            theirs = _COUNTERPARTS[library](ours)
        except ConfigError:
            if layout != "auto":
                raise
            continue
        yield _Naming(library, theirs.body, theirs.head)
        if library == "open_clip":
            # Of its `CustomTextCLIP`.
            apart = {
                f"text.{name}" if own.startswith(open_clip.TEXT) else name: own
                for name, own in theirs.body.items()
            }
            yield _Naming(library, apart, {})
    if layout in ("auto", "state_dict"):
        yield from _plain(ours)


def _plain(ours: Ours) -> Iterator[_Naming]:
    """Our own names, and those of public CIFAR code, whose shortcuts have their own name."""
    body, head = ours.below(""), {}
    if isinstance(ours.family, Supervised) and ours.family.embedding_size is None:
        body = ours.below(BACKBONE)
        head = {f"{CLASSIFIER}{name}": own for name, own in ours.below(CLASSIFIER).items()}
    yield _Naming("state_dict", body, head)
    shortcuts = replaced(body, [(".downsample.", ".shortcut.")])
    if shortcuts.keys() != body.keys():
        yield _Naming(
            "state_dict", {theirs: body[name] for theirs, name in shortcuts.items()}, head
        )


def _fit(naming: _Naming, tensors: Mapping[str, Tensor], ours: Ours) -> _Fit:
    fit = _Fit(naming.layout)
    prefix, fit.prefixes = _prefix(naming.body, tensors)
    theirs = {own: f"{prefix}{name}" for name, own in naming.body.items()}
    left = [name for name in tensors if name not in set(theirs.values())]
    theirs |= _head(naming.head, prefix, left, tensors)
    for own, name in theirs.items():
        wanted = tuple(ours.state[own].shape)
        if name not in tensors:
            if not own.endswith(_COUNTER):
                fit.misfits.append(Misfit(name, None, wanted))
        elif _fits(tensors[name], ours.state[own], cut=own == _CUT):
            fit.found[own] = name
        else:
            shape, kind = tuple(tensors[name].shape), tensors[name].dtype
            label = f"{name} ({kind})" if shape == wanted else name
            fit.misfits.append(Misfit(label, shape, wanted))
    known = set(theirs.values())
    fit.misfits += [
        Misfit(name, tuple(value.shape), None)
        for name, value in tensors.items()
        if name not in known and not name.endswith(_COUNTER)
    ]
    return fit


def _prefix(body: Names, tensors: Mapping[str, Tensor]) -> tuple[str, tuple[str, ...]]:
    """What stands before most of the names, and all that stand before every name."""
    names = [name for name in body if not name.endswith(_COUNTER)]
    # The ends of short names are found everywhere.
    anchors = sorted(names, key=len, reverse=True)[:3]
    found = {
        name.removesuffix(anchor)
        for name in tensors
        for anchor in anchors
        if name == anchor or name.endswith(f".{anchor}")
    }
    if not found:
        return "", ()
    counts = {
        prefix: sum(f"{prefix}{name}" in tensors for name in names) for prefix in sorted(found)
    }
    whole = tuple(prefix for prefix, count in counts.items() if count == len(names))
    return max(counts, key=counts.__getitem__), whole


def _head(
    head: Names, prefix: str, left: Iterable[str], tensors: Mapping[str, Tensor]
) -> dict[str, str]:
    """The checkpoint's names of the classifier by ours, whatever it is called."""
    if not head:
        return {}
    (usual,) = {name.rpartition(".")[0] for name in head}
    modules = [
        name.removesuffix(".weight")
        for name in left
        if name.endswith(".weight") and tensors[name].ndim == 2
    ]
    named = [name for name in modules if any(word in _HEADS for word in name.split("."))]
    for choice in ([f"{prefix}{usual}"], named, modules):
        if len(choice) == 1 and choice[0] in modules:
            usual, prefix = choice[0], ""
            break
    return {own: f"{prefix}{usual}.{name.rpartition('.')[2]}" for name, own in head.items()}


def _fits(found: Tensor, wanted: Tensor, *, cut: bool) -> bool:
    if found.is_floating_point() != wanted.is_floating_point() or found.is_quantized:
        return False
    if found.shape == wanted.shape or found.numel() == wanted.numel() == 1:
        return True
    return (
        cut and found.ndim == 2 and found.shape[1] == wanted.shape[1] and len(found) > len(wanted)
    )


def _converted(name: str, found: Tensor, wanted: Tensor, *, cut: bool) -> Tensor:
    """A tensor of the checkpoint as a contiguous one of our type and shape.

    Raises:
        ConfigError: it holds a number that is not finite.
    """
    rows = found[: len(wanted)] if cut else found
    value = rows.detach().to("cpu", wanted.dtype).reshape(wanted.shape).contiguous().clone()
    if value.is_floating_point() and not value.isfinite().all():
        count = int((~value.isfinite()).sum())
        raise ConfigError(
            f"tensor {shown(name)}",
            f"{count:,} of its {value.numel():,} numbers are NaN or infinite",
            "take a checkpoint from before its training diverged",
        )
    return value


def _reorder(state: dict[str, Tensor], classes: tuple[str, ...], ours: Ours) -> None:
    """Put the rows of the classifier into the dataset's order of classes."""
    if not classes:
        return
    wanted = ours.info.class_names
    names = list(ours.below(CLASSIFIER).values())
    if not names:
        raise ConfigError(
            f"classes of {ours.family.name}", "its models have no classifier", "remove the field"
        )
    if sorted(classes) != sorted(wanted):
        unknown = [name for name in classes if name not in wanted]
        missing = [name for name in wanted if name not in classes]
        raise ConfigError(
            f"{len(classes)} classes",
            f"are not the dataset's {len(wanted)}: unknown are [{listed(map(shown, unknown))}], "
            f"missing are [{listed(map(shown, missing))}]",
            "name each class of the dataset once, in the order of the logits",
        )
    rows = torch.tensor([classes.index(name) for name in wanted])
    for name in names:
        state[name] = state[name][rows].contiguous()
