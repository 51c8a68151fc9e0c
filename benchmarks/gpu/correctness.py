"""Losses, gradients and edited weights on the device, against the CPU in float64.

Every family, and every method on every family that it supports, on a two-layer model: what the
device computes in float32, and under bf16 autocast, is compared with float64 on the CPU, from the
same weights, images and draws. The CPU's own float32 stands beside them: the device should be as
near as that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.gpu.bench import Bench, Figures
from unlearn_ray.core.registry import parts
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.families.base import Family
from unlearn_ray.methods.base import Method
from unlearn_ray.testing.families import family_and_model
from unlearn_ray.testing.methods import TOY_FORGET, toy_batch, toy_run
from unlearn_ray.testing.toy import random_batch, tiny

# Of the distance of each tensor, relative to its norm.
FLOAT32 = 1e-3

Numbers = list[Tensor]
Computes = Callable[[torch.device, torch.dtype], Numbers]


def correctness(bench: Bench) -> Figures:
    """Relative differences from float64, and the names of those beyond the tolerance."""
    figures: Figures = {"families": {}, "methods": {}, "beyond": [], "tolerance": FLOAT32}
    for kind, name, computes in _cases():
        found = differences(computes, bench.compute.device)
        figures[kind][name] = found
        # A quantity near a tie (a rank, a threshold) may fall on either side on the CPU, too.
        if found["float32"] > max(FLOAT32, 10 * found["cpu"]):
            figures["beyond"].append(name)
    return figures


def differences(computes: Computes, device: torch.device) -> dict[str, float]:
    """Relative differences from float64 of the CPU's float32, the device's, and bf16 autocast."""
    cpu = torch.device("cpu")
    exact = computes(cpu, torch.float64)
    found = {
        "cpu": farthest(computes(cpu, torch.float32), exact),
        "float32": farthest(computes(device, torch.float32), exact),
    }
    if device.type == "cuda":
        with torch.autocast("cuda", torch.bfloat16):
            found["autocast"] = farthest(computes(device, torch.float32), exact)
    return found


def farthest(numbers: Numbers, exact: Numbers) -> float:
    """The largest distance of two lists of tensors, tensor by tensor, relative to its norm.

    A thousandth of the norm of all is added, as a gradient that is 0 up to rounding has no
    direction.
    """
    norms = [float(each.double().norm()) for each in exact]
    floor = 1e-3 * math.hypot(*norms)
    apart = (
        float((number.double().cpu() - target.double()).norm()) / (norm + floor)
        for number, target, norm in zip(numbers, exact, norms, strict=True)
        if norm + floor
    )
    return max(apart, default=0.0)


def _cases() -> Iterator[tuple[str, str, Computes]]:
    families: dict[str, type[Family]] = parts(Family)
    methods: dict[str, type[Method]] = parts(Method)
    for name, family in families.items():
        yield "families", name, _family(family)
    for method_name, method in methods.items():
        for name, family in families.items():
            if not method.reads_weights and not method.unsupported(tiny(family), Random()):
                yield "methods", f"{method_name} on {name}", _method(method, family)


def _family(part: type[Family]) -> Computes:
    def computes(device: torch.device, dtype: torch.dtype) -> Numbers:
        family, model = family_and_model(part)
        model = model.to(device, dtype).train()
        batch = random_batch(
            8, (1, 2), views=family.views, image_size=8, dtype=dtype, device=str(device)
        )
        loss = family.criterion(model, batch)
        torch.autograd.backward(loss)
        return [loss.detach(), *_gradients(model)]

    return computes


def _method(part: type[Method], family: type[Family]) -> Computes:
    def computes(device: torch.device, dtype: torch.dtype) -> Numbers:
        numbers: Numbers = []
        run = toy_run(part, family, device, dtype)
        for phase, task in run.phases:
            forget = TOY_FORGET[phase.trains_on]
            batch = toy_batch(phase, task.family, forget, device, dtype)
            loss = phase.loss(run.model, batch, task)
            torch.autograd.backward(loss)
            numbers += [loss.detach(), *_gradients(phase.module or run.model)]
            if phase.after_update is not None:
                phase.after_update()
        # `finish` has edited them by now.
        return [*numbers, *(value.detach() for value in run.model.state_dict().values())]

    return computes


def _gradients(module: nn.Module) -> Iterator[Tensor]:
    return (weight.grad for weight in module.parameters() if weight.grad is not None)
