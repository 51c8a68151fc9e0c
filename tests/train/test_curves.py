"""Loss curves: against the losses themselves, and the same after a restart."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.restarts import Kept, stop_at_iteration
from tests.train.test_loop import COUNT, problem, squared_error
from unlearn_ray.core.curves import MOST_POINTS, Curve
from unlearn_ray.core.errors import StopRequested
from unlearn_ray.core.recipe import Player, Recipe
from unlearn_ray.train import loop
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.curves import SUMS, LossSums, of_phase, packed, unpacked
from unlearn_ray.train.loop import Iteration, Report, Training, optimise

RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.05, last_batch="drop")
PER_EPOCH, TOTAL = 4, 12


def recorded(
    loss: Callable[[Iteration], Tensor], into: list[float]
) -> Callable[[Iteration], Tensor]:
    def both(iteration: Iteration) -> Tensor:
        value = loss(iteration)
        into.append(float(value))
        return value

    return both


def run(kept: Kept | None = None, stop: int = 0, **of: object) -> tuple[Report, list[float]]:
    losses: list[float] = []
    model, inputs, targets = problem()
    player = Player(model, RECIPE, recorded(squared_error(model, inputs, targets), losses))
    training = Training((player,), COUNT, 1, **of)
    tell = stop_at_iteration(stop) if stop else None
    return optimise(training, Compute.cpu(), checkpoints=kept, on_progress=tell), losses


@given(st.integers(1, 500), st.integers(1, 50), st.data())
def test_ranges_are_equal_and_cover_every_iteration(
    total: int, points: int, data: st.DataObject
) -> None:
    done = data.draw(st.integers(1, total))
    losses = data.draw(st.lists(st.floats(0, 10, width=32), min_size=done, max_size=done))
    sums = LossSums(1, total, points, torch.device("cpu"))
    for number, loss in enumerate(losses):
        sums.add(0, number, torch.tensor(loss))
    (curve,) = sums.curves(done, [float])
    assert len(curve.iterations) <= min(points, done)
    assert curve.iterations[-1] == done
    start, sizes = 0, []
    for end, mean, middle in zip(curve.iterations, curve.losses, curve.learning_rates, strict=True):
        assert mean == pytest.approx(math.fsum(losses[start:end]) / (end - start))
        assert start <= middle < end
        sizes.append(end - start)
        start = end
    whole = sizes if done == total else sizes[:-1]
    assert not whole or max(whole) - min(whole) <= 1


def test_a_run_keeps_the_losses_of_its_updates() -> None:
    report, losses = run()
    (curve,) = report.curves
    assert curve.iterations == tuple(range(1, TOTAL + 1))
    assert curve.losses == tuple(losses)
    assert curve.losses[-1] == report.loss
    assert curve.learning_rates == tuple(
        RECIPE.learning_rate_at(number // PER_EPOCH) for number in range(TOTAL)
    )
    thinned, _ = run(points=5)
    (few,) = thinned.curves
    assert few.iterations == (3, 5, 8, 10, 12)
    assert few.losses[1] == pytest.approx((losses[3] + losses[4]) / 2)
    assert 5 < TOTAL < MOST_POINTS


@pytest.mark.parametrize("points", [MOST_POINTS, 5])
@pytest.mark.parametrize("stop", [1, 4, 7, 11])
def test_a_resumed_run_has_the_curve_of_an_uninterrupted_one(
    points: int, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    whole, _ = run(points=points)
    kept = Kept(seconds_between=1e9)
    with pytest.raises(StopRequested):
        run(kept, stop, points=points)
    assert kept.iterations == [stop]
    resumed, losses = run(kept, points=points)
    assert len(losses) == TOTAL - stop
    assert resumed.curves == whole.curves


def test_what_a_checkpoint_without_curves_does_not_know_is_no_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    (whole,) = run(points=5)[0].curves
    kept = Kept(seconds_between=1e9)
    with pytest.raises(StopRequested):
        run(kept, 4, points=5)
    assert kept.last is not None
    del kept.last[0][SUMS]
    (curve,) = run(kept, points=5)[0].curves
    assert [math.isnan(loss) for loss in curve.losses] == [True, True, False, False, False]
    assert curve.losses[2:] == whole.losses[2:]
    assert curve.iterations == whole.iterations


def test_a_run_that_stops_early_has_a_shorter_curve() -> None:
    report, losses = run(until=lambda: True)
    assert report.iterations == PER_EPOCH
    assert report.curves[0].losses == tuple(losses)
    assert len(losses) == PER_EPOCH


def test_nothing_trained_has_no_curve() -> None:
    model, inputs, targets = problem()
    none = Recipe(epochs=0, batch_size=8, learning_rate=0.05)
    player = Player(model, none, squared_error(model, inputs, targets))
    assert optimise(Training((player,), COUNT, 1), Compute.cpu()).curves == ()


def test_every_player_has_its_own() -> None:
    losses: tuple[list[float], list[float]] = ([], [])
    players = []
    for into in losses:
        model, inputs, targets = problem()
        loss = recorded(squared_error(model, inputs, targets), into)
        players.append(Player(model, RECIPE, loss))
    first, second = optimise(Training(players, COUNT, 1), Compute.cpu()).curves
    assert (first.player, second.player) == (0, 1)
    assert (first.losses, second.losses) == tuple(map(tuple, losses))


def test_earlier_phases_go_through_checkpoints() -> None:
    curve = Curve(1, (3, 6), (0.1, math.pi), (0.5, 0.25))
    (moved,) = of_phase([curve], 12, 100)
    assert (moved.phase, moved.iterations) == (12, (103, 106))
    assert unpacked(packed([moved, curve])) == [curve, moved]
