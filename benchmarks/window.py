"""What a search pays for being the same every time: the window beside the free-running form.

Free-running, the sampler is told of every trial that happens to have ended when it suggests the
next; with a window w, trial n is suggested by the trials 0 to n - w, and waits for them. Simulated,
without Ray or a store: workers take trials of log-normal length (median 1, sigma 0.5) of a test
function of four fields; all else (Optuna's sampler, its seed of each trial) is as in a sweep.

Printed for each number of workers and window: wall time and regret (how far the best of the trials
is from the optimum), both beside the free-running form on as many workers; means over the seeds
with the standard error of the mean.

Measured, 60 trials and 40 seeds, and 20 trials and 100 seeds:

                    wall beside free-running      regret beside free-running's
    workers window  60 trials     20 trials       60 trials        20 trials
    4       free                                  0.27 ± 0.06      1.18 ± 0.06
    4       4       1.30 ± 0.01   1.25 ± 0.01     +0.03 ± 0.08     -0.03 ± 0.04
    4       8       1.03 ± 0.01   1.03 ± 0.01     +0.07 ± 0.08     +0.17 ± 0.08
    4       16      1.00 ± 0.00   1.00 ± 0.00     +0.07 ± 0.07     +0.27 ± 0.09
    8       free                                  0.33 ± 0.07      1.28 ± 0.06
    8       8       1.47 ± 0.02   1.32 ± 0.02     +0.02 ± 0.07     +0.07 ± 0.05
    8       16      1.08 ± 0.01   1.03 ± 0.01     +0.01 ± 0.08     +0.18 ± 0.08
    8       32      1.00 ± 0.00   1.00 ± 0.00     +0.13 ± 0.06     +0.18 ± 0.08

A window as wide as there are workers, the default, finds what the free-running form finds. It takes
a quarter to a half longer where a study is alone, since workers wait for the longest trial; a sweep
of several studies gives them others' trials meanwhile. Twice as wide it takes 3 to 8 % longer, and
few trials find a little less.

    python -m benchmarks.window            # a few minutes
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unlearn_ray.config.sweep_schema import Search
from unlearn_ray.core.ranges import Range
from unlearn_ray.scheduling.sampler import Sampler
from unlearn_ray.studies.history import TrialRecord
from unlearn_ray.studies.rows import State

SPACE = {
    "x": Range("uniform", 0.0, 1.0),
    "y": Range("uniform", 0.0, 1.0),
    "rate": Range("log_uniform", 1e-4, 1e-1),
    "form": Range("choice", choices=("a", "b", "c")),
}
WORKERS = (1, 4, 8)
SHARES = (1, 2, 4)


def loss(point: dict[str, Any]) -> float:
    """0 at x = 0.3, y = 0.7, rate = 0.01, form b; a valley across x and y."""
    across, along = point["x"] + point["y"] - 1, point["x"] - point["y"] + 0.4
    rate = math.log10(point["rate"]) + 2
    return 40 * across**2 + 4 * along**2 + 2 * rate**2 + (point["form"] != "b")


@dataclass(frozen=True)
class Run:
    """One simulated study.

    Attributes:
        wall: when the last trial ended, in medians of a trial's length.
        regret: smallest loss.
    """

    wall: float
    regret: float


def simulate(trials: int, workers: int, window: int | None, seed: int) -> Run:
    """A study on workers that take one trial at a time; without a window it runs free."""
    drawn = random.Random(seed)
    lengths = [math.exp(drawn.gauss(0, 0.5)) for _ in range(trials)]
    sampler = Sampler("simulated", SPACE, Search(trials=trials, seed=seed))
    points: list[dict[str, Any]] = []
    ended: set[int] = set()
    told = 0
    running: list[tuple[float, int]] = []
    now = 0.0
    while len(ended) < trials:
        while len(points) < trials and len(running) < workers:
            number = len(points)
            if window is not None:
                if any(before not in ended for before in range(number - window + 1)):
                    break
                while told <= number - window:
                    sampler.tell(
                        TrialRecord(told, points[told], (loss(points[told]),), State.COMPLETE)
                    )
                    told += 1
            points.append(sampler.ask(None))
            heapq.heappush(running, (now + lengths[number], number))
        now, number = heapq.heappop(running)
        ended.add(number)
        if window is None:
            sampler.tell(
                TrialRecord(number, points[number], (loss(points[number]),), State.COMPLETE)
            )
    return Run(now, min(loss(point) for point in points))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.window")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=40)
    options = parser.parse_args(arguments)
    print(f"{options.trials} trials, {options.seeds} seeds", flush=True)
    print("workers  window   wall, beside free-running   regret, beside free-running")
    for workers in WORKERS:
        free = [simulate(options.trials, workers, None, seed) for seed in range(options.seeds)]
        print(f"{workers:7}    free  {'':>26}   {_mean([run.regret for run in free])}", flush=True)
        for window in (share * workers for share in SHARES):
            runs = [
                simulate(options.trials, workers, window, seed) for seed in range(options.seeds)
            ]
            pairs = list(zip(runs, free, strict=True))
            wall = _mean([ours.wall / theirs.wall for ours, theirs in pairs])
            differences = _mean([ours.regret - theirs.regret for ours, theirs in pairs])
            print(f"{workers:7}  {window:6}   {wall:>25}   {differences:>27}", flush=True)


def _mean(values: list[float]) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):+.3f} ± {error:.3f}"


if __name__ == "__main__":
    main()
