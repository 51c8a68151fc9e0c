"""Checks of every method on every family that it supports, by phase, on a two-layer model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from unlearn_ray.config.fields import field_type, is_range, schema_fields, validated
from unlearn_ray.config.named_ranges import RECOMMENDED
from unlearn_ray.config.ranges import read_range
from unlearn_ray.config.yaml_nodes import parse
from unlearn_ray.config.yaml_text import in_flow
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Range
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.families.base import Family
from unlearn_ray.methods.base import Method, Phase, Task
from unlearn_ray.testing.check import Check
from unlearn_ray.testing.families import family_and_model
from unlearn_ray.testing.toy import ToySamples, random_batch, tiny

_MIXED = {"none": (), "one": (0,), "all": tuple(range(12))}


def method_checks(method: type[Method], family: type[Family]) -> Iterator[Check]:
    """The checks of a method on a family."""
    yield Check(says_in_words_what_it_cannot, method, family)
    if method.unsupported(tiny(family), Random()) is None:
        yield Check(has_finite_losses_and_gradients, method, family)
        for forget in _MIXED:
            yield Check(mixed_batches_may_lack_either_set, method, family, more=(forget,))


def range_checks(method: type[Method]) -> Iterator[Check]:
    """The checks of a method alone."""
    yield Check(declared_ranges_are_of_its_fields, method)


def declared_ranges_are_of_its_fields(method: type[Method]) -> None:
    """Sweep files can take every declared range: its ends are values of the field."""
    known = schema_fields(method)
    for name, declared in ((RECOMMENDED, method.recommended), *method.grids.items()):
        assert declared or name == RECOMMENDED, f"{name} has no ranges"
        for field, one in declared.items():
            assert field in known, f"{name} has a range of {field}, which is no field"
            written = in_flow(one.as_mapping() if isinstance(one, Range) else one)
            value = parse(written, f"{name} of {method.name}", field)
            hint = field_type(known[field])
            read = read_range(value, hint, known) if is_range(value, hint) else None
            assert (validated(value, hint) if read is None else read) == one


def says_in_words_what_it_cannot(method: type[Method], family: type[Family]) -> None:
    """The refusal contains the method's or the family's name."""
    reason = method.unsupported(tiny(family), Random())
    if reason is not None:
        assert re.search(r"\w+ \w+", reason), "give the reason in words"
        assert method.name in reason or family.name in reason


def has_finite_losses_and_gradients(method: type[Method], family: type[Family]) -> None:
    """In each phase some gradient is not 0, and all are finite."""
    run = toy_run(method, family)
    for phase, task in run.phases:
        batch = toy_batch(phase, task.family, TOY_FORGET[phase.trains_on])
        loss = phase.loss(run.model, batch, task)
        assert loss.shape == ()
        assert torch.isfinite(loss)
        torch.autograd.backward(loss)
        optimised = run.model if phase.module is None else phase.module
        gradients = [weight.grad for weight in optimised.parameters() if weight.grad is not None]
        assert gradients
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0
        if phase.after_update is not None:
            phase.after_update()


def mixed_batches_may_lack_either_set(
    method: type[Method], family: type[Family], forget: str
) -> None:
    """A batch of retain and forget set may hold no sample of one of them, by chance."""
    run = toy_run(method, family)
    for phase, task in run.phases:
        if phase.trains_on != "all":
            continue
        loss = phase.loss(run.model, toy_batch(phase, task.family, _MIXED[forget]), task)
        torch.autograd.backward(loss)
        optimised = run.model if phase.module is None else phase.module
        gradients = [weight.grad for weight in optimised.parameters() if weight.grad is not None]
        assert torch.isfinite(loss)
        assert gradients
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


@dataclass(frozen=True)
class ToyRun:
    """A method's run on a two-layer model, without its updates.

    Attributes:
        model: what is unlearned; `finish` has edited it once all phases were taken.
        phases: each with the task, once the model is ready for it.
    """

    model: nn.Module
    phases: Iterator[tuple[Phase, Task]]


def toy_run(
    part: type[Method],
    family: type[Family],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ToyRun:
    """The run of a tiny method on noise; whoever takes its phases computes their losses.

    Args:
        part: the method.
        family: of the model.
        device, dtype: of model and images.
    """

    def made() -> nn.Module:
        return family_and_model(family)[1].to(device, dtype)

    criterion, model = family_and_model(family)[0], made()
    noise = ToySamples(90, 30, image_size=8, dtype=dtype, device=device, make_model=made)
    method, task = tiny(part), Task(criterion, noise)

    def phases() -> Iterator[tuple[Phase, Task]]:
        ready = replace(task, state=method.prepare(model.eval(), task).to(device))
        for phase in method.phases(model, ready):
            model.train(phase.training).zero_grad()
            yield phase, ready
            if phase.after is not None:
                phase.after()
        method.finish(model.eval(), ready)

    return ToyRun(model, phases())


def toy_batch(
    phase: Phase,
    family: Family,
    forget: tuple[int, ...],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """A batch of twelve images with the phase's companions; `forget` names its forget rows."""

    def of_noise(rows: tuple[int, ...], seed: int) -> Batch:
        return random_batch(
            12, rows, seed=seed, views=family.views, image_size=8, dtype=dtype, device=device
        )

    companions = tuple(
        of_noise(tuple(range(12)) if source == "forget" else (), 5 + number)
        for number, source in enumerate(phase.companions)
    )
    return replace(of_noise(forget, 0), companions=companions)


# Rows of a batch that belong to the forget set, by what a phase trains on.
TOY_FORGET: dict[str, tuple[int, ...]] = {
    "retain": (),
    "forget": tuple(range(12)),
    "all": (1, 5, 6),
}
