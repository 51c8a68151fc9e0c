"""The loop against a naive SGD in float64 loops, and its resumption, bit for bit."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from tests.restarts import stop_at_iteration
from unlearn_ray.core.errors import NonFiniteLoss, StopRequested
from unlearn_ray.core.recipe import Player, Recipe
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Iteration, Report, Training, optimise, seeded

COMPUTE = Compute.cpu()
COUNT = 37


@dataclass
class Memory:
    """Checkpoints kept in memory."""

    seconds_between: float = 0.0
    at_end: bool = True
    saved: list[tuple[dict[str, Tensor], dict[str, str]]] = field(default_factory=list)

    def load(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        return self.saved[-1] if self.saved else None

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        assert int(metadata["iteration"]) == iteration
        self.saved.append(({name: value.clone() for name, value in tensors.items()}, metadata))


def problem(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor, Tensor]:
    generator = seeded("problem")
    inputs = torch.randn(COUNT, 5, generator=generator).to(dtype)
    targets = torch.randn(COUNT, generator=generator).to(dtype)
    model = nn.Linear(5, 1).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model, inputs, targets


def squared_error(
    model: nn.Module, inputs: Tensor, targets: Tensor
) -> Callable[[Iteration], Tensor]:
    def loss(iteration: Iteration) -> Tensor:
        # The generator stands for augmentation: what is drawn must be the same after a resumption.
        noise = 0.01 * torch.randn(1, generator=iteration.generator).to(inputs.dtype)
        rows = iteration.rows
        return ((model(inputs[rows] + noise).squeeze(1) - targets[rows]) ** 2).mean()

    return loss


def run(
    model: nn.Module, recipe: Recipe, loss: Callable[[Iteration], Tensor], seed: int = 1,
    repeats: int = 1, **rest: Any,
) -> Report:  # fmt: skip
    training = Training((Player(model, recipe, loss),), COUNT, seed, repeats=repeats)
    return optimise(training, COMPUTE, **rest)


def weights(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
# Of 37 samples, batches of 8 leave 5 over, and batches of 9 leave 1.
@pytest.mark.parametrize(
    ("last_batch", "size", "ends"),
    [
        ("drop", 8, [8, 16, 24, 32]), ("keep", 8, [8, 16, 24, 32, 37]), (None, 18, [18, 37]),
        ("drop", 9, [9, 18, 27, 36]), ("keep", 9, [9, 18, 27, 37]), ("drop", 50, [37]),
    ],
)  # fmt: skip
def test_equals_naive_sgd(schedule: Any, last_batch: Any, size: int, ends: list[int]) -> None:
    recipe = Recipe(
        epochs=3, batch_size=size, learning_rate=0.05, momentum=0.9, weight_decay=0.01,
        schedule=schedule, last_batch=last_batch,
    )  # fmt: skip
    model, inputs, targets = problem(torch.float64)
    w = [float(x) for x in model.weight.detach()[0]] + [float(model.bias.detach()[0])]
    velocity = [0.0] * 6
    number = 0
    for epoch in range(3):
        rate = 0.05 if schedule == "constant" else 0.025 * (1 + math.cos(math.pi * epoch / 3))
        order = torch.randperm(COUNT, generator=seeded("order", 5, epoch)).tolist()
        for start, end in pairwise([0, *ends]):
            noise = 0.01 * float(torch.randn(1, generator=seeded("iteration", 5, number)))
            gradient = [0.0] * 6
            for row in order[start:end]:
                x = [float(v) + noise for v in inputs[row]] + [1.0]
                error = sum(a * b for a, b in zip(w, x, strict=True)) - float(targets[row])
                for i in range(6):
                    gradient[i] += 2 * error * x[i] / (end - start)
            for i in range(6):
                gradient[i] += 0.01 * w[i]
                velocity[i] = gradient[i] if number == 0 else 0.9 * velocity[i] + gradient[i]
                w[i] -= rate * velocity[i]
            number += 1
    report = run(model, recipe, squared_error(model, inputs, targets), 5)
    assert report.iterations == number == 3 * len(ends)
    found = [float(x) for x in model.weight.detach()[0]] + [float(model.bias.detach()[0])]
    assert found == pytest.approx(w, abs=1e-7)


def test_equals_naive_adamw() -> None:
    """The bias is not decayed."""
    recipe = Recipe(
        optimizer="adamw", epochs=2, batch_size=9, learning_rate=0.05, weight_decay=0.3,
        schedule="constant", last_batch="drop",
    )  # fmt: skip
    model, inputs, targets = problem(torch.float64)
    w = [float(x) for x in model.weight.detach()[0]] + [float(model.bias.detach()[0])]
    mean, square = [0.0] * 6, [0.0] * 6
    number = 0
    for epoch in range(2):
        order = torch.randperm(COUNT, generator=seeded("order", 5, epoch)).tolist()
        for start in range(0, COUNT - COUNT % 9, 9):
            noise = 0.01 * float(torch.randn(1, generator=seeded("iteration", 5, number)))
            gradient = [0.0] * 6
            for row in order[start : start + 9]:
                x = [float(v) + noise for v in inputs[row]] + [1.0]
                error = sum(a * b for a, b in zip(w, x, strict=True)) - float(targets[row])
                for i in range(6):
                    gradient[i] += 2 * error * x[i] / 9
            number += 1
            for i in range(6):
                mean[i] = 0.9 * mean[i] + 0.1 * gradient[i]
                square[i] = 0.999 * square[i] + 0.001 * gradient[i] ** 2
                step = mean[i] / (1 - 0.9**number)
                step /= math.sqrt(square[i] / (1 - 0.999**number)) + 1e-8
                w[i] -= 0.05 * (step + (0.3 * w[i] if i < 5 else 0.0))
    run(model, recipe, squared_error(model, inputs, targets), 5)
    found = [float(x) for x in model.weight.detach()[0]] + [float(model.bias.detach()[0])]
    assert found == pytest.approx(w, abs=1e-7)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "lars"])
@pytest.mark.parametrize("stop_after", [1, 4, 5, 8, 13])
def test_a_resumed_run_ends_with_the_same_bits(stop_after: int, optimizer: Any) -> None:
    recipe = Recipe(
        optimizer=optimizer, epochs=4, batch_size=11, learning_rate=0.05, warmup_epochs=2
    )
    model, inputs, targets = problem()
    interrupted = copy.deepcopy(model)
    run(model, recipe, squared_error(model, inputs, targets))

    memory = Memory()
    honest = squared_error(interrupted, inputs, targets)

    def dies(iteration: Iteration) -> Tensor:
        if iteration.number == stop_after:
            raise KeyboardInterrupt
        return honest(iteration)

    with pytest.raises(KeyboardInterrupt):
        run(interrupted, recipe, dies, checkpoints=memory)
    again, _, _ = problem()
    report = run(again, recipe, squared_error(again, inputs, targets), checkpoints=memory)
    assert report.iterations == 16
    assert all(torch.equal(a, b) for a, b in zip(weights(again), weights(model), strict=True))


def test_progress_is_the_share_of_iterations_done() -> None:
    model, inputs, targets = problem()
    memory = Memory()
    told: list[Any] = []
    error = squared_error(model, inputs, targets)

    def loss(iteration: Iteration) -> Tensor:
        if len(told) == 5:
            told.append(math.nan)
            raise KeyboardInterrupt
        told.append(iteration.progress)
        return error(iteration)

    for _ in range(2):
        with contextlib.suppress(KeyboardInterrupt):
            run(model, Recipe(epochs=3, batch_size=15), loss, repeats=2, checkpoints=memory)
    assert told.pop(5) is math.nan
    assert told == [number / 18 for number in range(18)]


def test_warm_up_rises_in_a_line_before_the_schedule() -> None:
    line = [0.1, 0.3, 0.5, 0.7, 0.9]
    constant = Recipe(epochs=8, learning_rate=2.0, schedule="constant", warmup_epochs=5)
    found = [constant.learning_rate_at(epoch) for epoch in range(8)]
    assert found == pytest.approx([2 * share for share in line] + [2.0] * 3)
    cosine = Recipe(epochs=9, learning_rate=2.0, warmup_epochs=5)
    found = [cosine.learning_rate_at(epoch) for epoch in range(9)]
    rest = [1 + math.cos(math.pi * epoch / 4) for epoch in range(4)]
    assert found == pytest.approx([2 * share for share in line] + rest)
    plain = Recipe(epochs=4, learning_rate=2.0)
    assert [plain.learning_rate_at(epoch) for epoch in range(4)] == pytest.approx(rest)
    # One that ends while it warms up.
    short = Recipe(epochs=2, learning_rate=2.0, warmup_epochs=5)
    assert [short.learning_rate_at(epoch) for epoch in range(2)] == pytest.approx([0.2, 0.6])


def test_a_finished_run_is_not_run_again() -> None:
    recipe = Recipe(epochs=2, batch_size=15, learning_rate=0.05)
    memory = Memory(seconds_between=1e9)
    model, inputs, targets = problem()
    run(model, recipe, squared_error(model, inputs, targets), checkpoints=memory)
    fresh, _, _ = problem()

    def never(iteration: Iteration) -> Tensor:
        raise AssertionError("nothing is left to do")

    report = run(fresh, recipe, never, checkpoints=memory)
    assert report.iterations == 6
    assert all(torch.equal(a, b) for a, b in zip(weights(fresh), weights(model), strict=True))


def test_a_requested_stop_saves_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearn_ray.train.loop.PROGRESS_SECONDS", 0.0)
    recipe = Recipe(epochs=5, batch_size=10, learning_rate=0.05)
    memory = Memory(seconds_between=1e9)
    model, inputs, targets = problem()

    with pytest.raises(StopRequested):
        run(
            model,
            recipe,
            squared_error(model, inputs, targets),
            checkpoints=memory,
            on_progress=stop_at_iteration(7),
        )
    assert [metadata["iteration"] for _, metadata in memory.saved] == ["7"]


def test_zero_epochs_change_nothing() -> None:
    model, inputs, targets = problem()
    before = weights(model)
    report = run(model, Recipe(epochs=0), squared_error(model, inputs, targets))
    assert report.iterations == 0
    assert all(torch.equal(a, b) for a, b in zip(weights(model), before, strict=True))


def test_divergence_is_an_error_and_never_saved() -> None:
    model, inputs, targets = problem()
    memory = Memory()
    recipe = Recipe(epochs=500, batch_size=37, learning_rate=1e6, schedule="constant")
    with pytest.raises(NonFiniteLoss, match="lower the learning rate"):
        run(model, recipe, squared_error(model, inputs, targets), checkpoints=memory)
    for tensors, metadata in memory.saved:
        assert math.isfinite(float(metadata["loss"]))
        assert tensors


def test_weights_that_overflow_at_the_last_update_are_an_error() -> None:
    model, _, _ = problem()
    recipe = Recipe(epochs=1, batch_size=37, learning_rate=1e30, schedule="constant")
    with pytest.raises(NonFiniteLoss, match="weights"):
        run(model, recipe, lambda _: 1e20 * model.weight.sum())


@pytest.mark.parametrize("count", [0, 1, 2, 29, 30, 31, 59, 60, 61, 62, 100, 500])
@pytest.mark.parametrize("size", [1, 2, 30, 512])
@pytest.mark.parametrize("last_batch", ["keep", "drop"])
def test_batches_of_an_epoch(count: int, size: int, last_batch: Literal["keep", "drop"]) -> None:
    layout = Recipe(batch_size=size).layout(count, last_batch)
    assert Recipe(batch_size=size, last_batch=last_batch).layout(count, "drop") == layout
    shown = [[*range(count)[layout.rows(number)]] for number in range(layout.batches)]
    batches = [[*range(count)[begin : begin + size]] for begin in range(0, count, size)]
    if last_batch == "drop" and count > size:
        batches = [batch for batch in batches if len(batch) == size]
    elif len(batches) > 1 and size > 1 and len(batches[-1]) == 1:
        alone = batches.pop()
        batches[-1] += alone
    assert shown == batches
    assert layout.shown == sum(map(len, batches))
    assert layout.batch == (len(batches[0]) if len(batches) > 1 else min(size, count))
