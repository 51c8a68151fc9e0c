"""Selective Synaptic Dampening against loops over batches and weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.methods.exact import small_model, small_task
from tests.methods.problem import CLASS, original, run
from unlearn_ray.methods.base import Task
from unlearn_ray.methods.ssd import SSD


def importance(model: nn.Module, task: Task, part: str, method: SSD) -> list[float]:
    images, labels = (each[: method.samples] for each in task.samples.parts[part])
    sums, batches = [0.0] * sum(weight.numel() for weight in model.parameters()), 0
    for start in range(0, len(labels), method.batch_size):
        rows = slice(start, start + method.batch_size)
        loss = functional.cross_entropy(model(images[rows]), labels[rows])
        found = torch.autograd.grad(loss, list(model.parameters()))
        values = [value for gradient in found for value in gradient.flatten().tolist()]
        sums = [total + value * value for total, value in zip(sums, values, strict=True)]
        batches += 1
    return [total / batches for total in sums]


@pytest.mark.parametrize(
    "method",
    [
        SSD(batch_size=4, alpha=1.5),
        SSD(batch_size=5, alpha=0.5, dampening=0.3),
        SSD(batch_size=3, alpha=1, dampening=2, samples=7),
        SSD(batch_size=1, alpha=0),
    ],
    ids=["lambda 1", "lambda 0.3", "samples", "all weights"],
)
def test_edit(method: SSD) -> None:
    model, task = small_model(), small_task(retain=11, forget=6)
    forget, retain = (importance(model, task, part, method) for part in ("forget", "retain"))
    before = [value for weight in model.parameters() for value in weight.flatten().tolist()]
    expected, changed = [], 0
    for value, of_forget, of_retain in zip(before, forget, retain, strict=True):
        whole = (6 * of_forget + 11 * of_retain) / 17
        if of_forget > method.alpha * whole:
            value *= min(method.dampening * whole / of_forget, 1.0)
            changed += 1
        expected.append(value)
    method.finish(model, task)
    after = [value for weight in model.parameters() for value in weight.flatten().tolist()]
    assert after == pytest.approx(expected, rel=1e-9)
    assert changed > 10
    assert changed < len(before) or method.alpha == 0


def test_weights_that_matter_to_neither_set_stay() -> None:
    """0 / 0 is no factor."""
    model, task = small_model(), small_task()
    with torch.no_grad():
        # A dead channel: nothing before its ReLU has a gradient.
        model.backbone.bn.weight[0] = 0
        model.backbone.bn.bias[0] = -1
    before = model.backbone.conv.weight[0].clone()
    SSD(batch_size=4, alpha=0).finish(model, task)
    assert torch.equal(model.backbone.conv.weight[0], before)
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_a_class_is_forgotten() -> None:
    outcome = run(SSD(alpha=3, dampening=0.1, batch_size=10), CLASS)
    assert outcome.grown(CLASS.forget) > 2
    assert outcome.accuracy(CLASS.forget) < 0.2
    # One of the other classes is perhaps like it.
    assert outcome.accuracy(CLASS.retain) > 0.5


def test_no_weight_is_more_important_than_the_share_of_the_forget_set_allows() -> None:
    """A quarter is forgotten: I >= I_f / 4."""
    assert run(SSD(alpha=4.001, batch_size=10), CLASS).same_as(original())
    assert not run(SSD(alpha=3.5, batch_size=10), CLASS).same_as(original())


def test_published_defaults() -> None:
    method = SSD()
    assert (method.alpha, method.dampening, method.batch_size, method.samples) == (10, 1, 64, None)
