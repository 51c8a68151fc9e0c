"""Training and unlearning by iterations that are replayed, against those that are not."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any, get_args, get_type_hints
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from tests.shadow.cases import methods
from tests.shadow.device import counting
from tests.shadow.ledger import Ledger
from tests.shadow.world import (
    FORGET_SETS,
    SHALLOW,
    Exact,
    PerIteration,
    apart,
    maker,
    parts_of,
    resident,
    resumed,
    same,
    weights,
)
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.recipe import Optimizer, Player, Recipe
from unlearn_ray.core.registry import find, parts
from unlearn_ray.core.transfer import to_device
from unlearn_ray.families.base import Family
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.measure.inference import Inference
from unlearn_ray.measure.probe import Probe
from unlearn_ray.methods.base import Method
from unlearn_ray.testing.toy import tiny
from unlearn_ray.train import loop, step_graph
from unlearn_ray.train.beside import Checkpoints
from unlearn_ray.train.loop import Iteration, Report
from unlearn_ray.train.training import train_from_scratch

BATCH = 16
# Five whole batches, and one of five images.
IMAGES = 5 * BATCH + 5
# They and their halves are numbers of float32: what is on the device rounds nothing.
RATES: dict[Optimizer, float] = {"sgd": 2**-5, "lars": 0.5, "adam": 2**-10, "adamw": 2**-10}

Weights = dict[str, Tensor]
Run = Callable[..., tuple[Report, Weights]]


def cases() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Every family, every optimizer and every method."""
    for name, family in parts(Family).items():
        yield f"family {name}", partial(_training, partial(_train, tiny(family), "sgd"))
    for optimizer in get_args(Optimizer):
        train = partial(_train, tiny(Supervised), optimizer)
        yield f"optimizer {optimizer}", partial(_training, train)
    yield "a frozen learning rate", _frozen
    for name, loss in LOSSES.items():
        yield f"loss {name}", partial(_launched, loss)
    for features in get_args(get_type_hints(Probe)["features"]):
        yield f"probe {features}", partial(_probe, features)
    for name, method in parts(Method).items():
        yield f"method {name}", partial(_unlearning, method)


def _training(train: Run) -> dict[str, Any]:
    def counted(images: int) -> tuple[Report, Ledger]:
        with counting() as ledger:
            report, _ = train(Exact.gpu(graphs=True), images)
        return report, ledger

    with _captures():
        (shorter, less), (longer, more) = counted(IMAGES), counted(IMAGES + 2 * BATCH)
        again = resumed(lambda kept: train(Exact.gpu(graphs=True), IMAGES, kept)[1])
    cost = PerIteration(longer.iterations, shorter.iterations, more, less)
    return {**_compared(train), "resumed": again, **cost.report()}


def _unlearning(part: type[Method]) -> dict[str, Any]:
    family, forget_set = methods.taken(part)
    rates: dict[str, Any] = {
        each.name: 2**-8 for each in fields(part) if each.name.endswith("learning_rate")
    }
    return _compared(
        lambda compute: methods.run(part, family, forget_set, SHALLOW, compute, BATCH // 2, **rates)
    )


def _probe(features: Any) -> dict[str, Any]:
    """Logits of a probe, of which each epoch has an incomplete last batch."""
    family: Family = tiny(find(Family, "simclr"))
    data, split = resident(family, Exact.gpu()), parts_of(FORGET_SETS[0])

    def logits(compute: Exact, epochs: int = 4) -> tuple[Report, Weights]:
        model = compute.place(maker(family, SHALLOW)(1), 0).eval()
        probe = Probe(
            epochs=epochs, batch_size=BATCH, learning_rate=0.5, features=features,
            last_batch="keep", schedule="constant", warmup_epochs=1,
        )  # fmt: skip
        inference = Inference(
            model, data, split, family=family, probe=probe, seed=0, compute=compute,
            make_model=maker(family, SHALLOW),
        )  # fmt: skip
        return Report(0, 0.0, 0.0), {"logits": inference.logits("test")}

    return _compared(logits)


def _frozen() -> dict[str, Any]:
    """With the learning rate of the capture throughout."""
    optimizer = loop._optimizer

    def frozen(recipe: Recipe, weights: Any, device: Any) -> torch.optim.Optimizer:
        return optimizer(recipe, weights, None)

    with mock.patch.object(loop, "_optimizer", frozen):
        return _compared(partial(_train, tiny(Supervised), "sgd"))


def _launched(loss: Callable[[Batch], Tensor]) -> dict[str, Any]:
    """What such a loss is told, of a batch of nothing but its draws."""

    def run(compute: Exact) -> tuple[Report, Weights]:
        module = torch.nn.Linear(3, 1).to(compute.device)
        torch.nn.init.constant_(module.weight, 0.5)

        def of_iteration(iteration: Iteration) -> Tensor:
            labels = torch.zeros(8, dtype=torch.int64, device=compute.device)
            batch = Batch(
                (), labels, labels > 0, iteration.generator, labels, done=iteration.progress
            )
            return (module.weight * loss(batch)).sum()

        recipe = Recipe(epochs=1, batch_size=8, learning_rate=2**-3)
        players = (Player(module, recipe, of_iteration),)
        report = loop.optimise(loop.Training(players, 64, seed=0), compute)
        return report, {"weight": module.weight.detach().cpu()}

    return _compared(run)


_counter = itertools.count()
LOSSES: dict[str, Callable[[Batch], Any]] = {
    "drawn": lambda batch: batch.drawn(lambda generator: torch.rand(3, generator=generator)),
    "scheduled": lambda batch: batch.scheduled(lambda progress: 1 - progress),
    "drawn on the host": lambda batch: float(torch.rand((), generator=batch.generator)),
    "scheduled on the host": lambda batch: 1 - batch.progress,
    "copied": lambda batch: to_device(torch.ones(3), batch.labels.device),
    "of another state": lambda batch: batch.drawn(lambda _: torch.ones(3) * next(_counter)),
}


def _compared(run: Run) -> dict[str, Any]:
    _, expected = run(Exact.gpu())
    with _captures() as reasons, counting() as ledger:
        report, found = run(Exact.gpu(graphs=True))
    return {
        "iterations": report.iterations,
        "same": same(found, expected),
        "apart": apart(found, expected),
        "replays": ledger.operations["replay"],
        "reasons": reasons,
    }


@contextmanager
def _captures() -> Iterator[list[str]]:
    """Capture in runs of any length; gives why some were not."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    step_graph._log.addHandler(handler)
    step_graph._log.setLevel(logging.INFO)
    try:
        with mock.patch.object(step_graph, "CAPTURE_FROM_ITERATIONS", 0):
            yield told
    finally:
        step_graph._log.removeHandler(handler)


def _train(
    family: Family,
    optimizer: Optimizer,
    compute: Exact,
    images: int = IMAGES,
    checkpoints: Checkpoints | None = None,
) -> tuple[Report, Weights]:
    """Two epochs, the second at half the learning rate of the first."""
    model = maker(family, SHALLOW)(0)
    recipe = Recipe(
        optimizer=optimizer, epochs=2, batch_size=BATCH, learning_rate=RATES[optimizer],
        last_batch="keep",
    )  # fmt: skip
    report = train_from_scratch(
        model, family, recipe, resident(family, compute), np.arange(images), seed=0,
        compute=compute, checkpoints=checkpoints,
    )  # fmt: skip
    return report, weights(model)
