"""Losses of a run, summed on the device: reading one per iteration would synchronise with a GPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unlearn_ray.core.curves import Curve

# In a checkpoint: the sums of the run, and the curves of a step's earlier phases.
SUMS = "curve"
_EARLIER = "curves"


class LossSums:
    """The sums of the losses over equal ranges of a run's iterations.

    Args:
        players: how many there are.
        total: iterations of the run.
        points: ranges, at most.
        device: of the losses.
    """

    def __init__(self, players: int, total: int, points: int, device: torch.device) -> None:
        self._total = total
        self._ranges = min(points, total)
        self._sums = torch.zeros(players, self._ranges, dtype=torch.float64, device=device)

    def add(self, player: int, iteration: int, loss: Tensor) -> None:
        """Add the loss of an iteration."""
        self._sums[player, self._range_of(iteration)].add_(loss)

    def kept(self) -> Tensor:
        """What a checkpoint keeps, float64, (players, ranges)."""
        return self._sums

    def restore(self, kept: Tensor | None, done: int) -> None:
        """Continue after `done` iterations with what a checkpoint kept, if it did."""
        if kept is not None and kept.shape == self._sums.shape:
            self._sums.copy_(kept)
        elif done:
            self._sums[:, : self._range_of(done - 1) + 1] = math.nan

    def curves(
        self, done: int, learning_rates: Sequence[Callable[[int], float]]
    ) -> tuple[Curve, ...]:
        """The curves of a run that ended after `done` iterations.

        Args:
            done: at most the run's total.
            learning_rates: of each player, by iteration.
        """
        if not done:
            return ()
        ends = [self._first(number + 1) for number in range(self._range_of(done - 1))] + [done]
        starts = [0, *ends[:-1]]
        middles = [(start + end - 1) // 2 for start, end in zip(starts, ends, strict=True)]
        sums = self._sums.cpu().tolist()
        return tuple(
            Curve(
                player=player,
                iterations=tuple(ends),
                losses=tuple(
                    total / (end - start)
                    for total, start, end in zip(of_player, starts, ends, strict=False)
                ),
                learning_rates=tuple(rate(middle) for middle in middles),
            )
            for player, (of_player, rate) in enumerate(zip(sums, learning_rates, strict=True))
        )

    def _range_of(self, iteration: int) -> int:
        return iteration * self._ranges // self._total

    def _first(self, number: int) -> int:
        """The first iteration of a range."""
        return -(-number * self._total // self._ranges)


def of_phase(curves: Sequence[Curve], phase: int, before: int) -> list[Curve]:
    """The curves of a phase, counted from the step's start.

    Args:
        curves: of its run.
        phase: its position.
        before: iterations of the phases before it.
    """
    return [
        replace(curve, phase=phase, iterations=tuple(each + before for each in curve.iterations))
        for curve in curves
    ]


def packed(curves: Sequence[Curve]) -> dict[str, Tensor]:
    """Curves of earlier phases as tensors of a checkpoint."""
    return {
        f"{_EARLIER}/{curve.phase}/{curve.player}": torch.tensor(
            [curve.iterations, curve.losses, curve.learning_rates], dtype=torch.float64
        )
        for curve in curves
    }


def unpacked(tensors: Mapping[str, Tensor]) -> list[Curve]:
    """The curves of `packed`, in the order of phases and players."""
    found = []
    for name, values in tensors.items():
        folder, _, place = name.partition("/")
        if folder == _EARLIER:
            phase, player = map(int, place.split("/"))
            iterations, losses, rates = values.tolist()
            counts = tuple(map(int, iterations))
            found.append(Curve(player, counts, tuple(losses), tuple(rates), phase))
    return sorted(found, key=lambda curve: (curve.phase, curve.player))
