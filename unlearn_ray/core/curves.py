"""`Curve`: the loss over a run of the training loop, thinned."""

from __future__ import annotations

from dataclasses import dataclass

# Points of a step's curves, at most: one for each equal range of iterations.
MOST_POINTS = 200


@dataclass(frozen=True)
class Curve:
    """The loss of one player in one phase of a step.

    Attributes:
        player: its position among those that are updated in each iteration.
        iterations: for each range of iterations, how many updates the step has done at its end.
        losses: the mean loss over each range; NaN where a run was resumed from a checkpoint that
            did not hold it.
        learning_rates: in the middle of each range.
        phase: position of the method's phase; 0 in training from scratch.
    """

    player: int
    iterations: tuple[int, ...]
    losses: tuple[float, ...]
    learning_rates: tuple[float, ...]
    phase: int = 0
