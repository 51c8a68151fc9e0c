"""Unlearning by every method, from the first family and of the first forget set that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import partial
from typing import Any

from torch import Tensor, nn

from tests.shadow.cases.counted import counted
from tests.shadow.world import (
    DEEP,
    FORGET_SETS,
    SHALLOW,
    PerIteration,
    distance,
    maker,
    on_cpu,
    on_device,
    parts_of,
    resident,
    resumed,
    strayed,
    weights,
)
from unlearn_ray.core.registry import find, parts
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.families.base import Family
from unlearn_ray.layouts.brought import Checkpoint
from unlearn_ray.methods.base import Method
from unlearn_ray.models.base import Model
from unlearn_ray.testing.toy import tiny
from unlearn_ray.train.beside import Checkpoints
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Report
from unlearn_ray.train.unlearning import unlearn

BATCH = 32


def cases() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Every registered method."""
    for name, method in parts(Method).items():
        yield name, partial(_case, method)


def _case(part: type[Method]) -> dict[str, Any]:
    family, forget_set = taken(part)
    for backbone in (SHALLOW, DEEP):
        train = partial(run, part, family, forget_set, backbone)
        before = weights(maker(family, backbone)(0))
        expected = train(on_cpu())[1]
        # LCODEC takes no step where the Hessian is not positive.
        if distance(expected, before):
            break
    report, found = train(on_device(exact=True))
    case = {
        "on": f"{family.name}, {forget_set.name}",
        "iterations": report.iterations,
        "strayed": strayed(found, expected, before),
        "resumed": None,
    }
    if report.iterations == 0:
        return case
    (shorter, less), (longer, more) = (counted(train, batch) for batch in (BATCH, BATCH // 2))
    cost = PerIteration(longer.iterations, shorter.iterations, more, less)
    again = resumed(lambda kept: train(on_device(), BATCH, kept)[1])
    return {**case, "loss": shorter.loss, "resumed": again, **cost.report()}


def taken(part: type[Method]) -> tuple[Family, ForgetSet]:
    """The first family and forget set that a method takes."""
    families = [find(Family, "supervised"), *parts(Family).values()]
    for family in map(tiny, families):
        for forget_set in FORGET_SETS:
            if part.unsupported(family, forget_set) is None:
                return family, forget_set
    raise AssertionError(f"{part.name} takes nothing that this test has")


def _method(part: type[Method], batch: int, **given: Any) -> Method:
    """With batches of one size, whatever they are called, and files that are none."""
    own: dict[str, Any] = {
        field.name: batch for field in fields(part) if field.name.endswith("batch_size")
    }
    if part.reads_weights:
        own["weights"] = Checkpoint(checkpoint="theirs.safetensors")
    return tiny(part, **own, **given)


def run(
    part: type[Method],
    family: Family,
    forget_set: ForgetSet,
    backbone: Model,
    compute: Compute,
    batch: int = BATCH,
    checkpoints: Checkpoints | None = None,
    **own: Any,
) -> tuple[Report, dict[str, Tensor]]:
    """Unlearn, by a method with such fields of its own; its report and the weights."""
    make = maker(family, backbone)
    model: nn.Module = make(0)
    report = unlearn(
        model, family, _method(part, batch, **own), resident(family, compute), parts_of(forget_set),
        seed=0, compute=compute, make_model=make, brought=lambda _: make(2).state_dict(),
        checkpoints=checkpoints,
    )  # fmt: skip
    return report, weights(model)
