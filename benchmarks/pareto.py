"""What a search by two objectives finds beside one by a single objective, on an equal budget.

Simulated, without Ray or a store: a trial's gap falls with its epochs, if its learning rate suits
them, and its seconds grow with them; each of three seeds adds noise. Each search may run as many
seeds of trials as the budget has. Printed for each search, over its complete trials: the
hypervolume that their true values dominate (1: all below the worst values), the gap of the best
trial, how many trials it started and stopped; means over the repetitions with the standard error.

    python -m benchmarks.pareto                # two minutes
    python -m benchmarks.pareto --digits       # on real models of digits, with Ray: minutes
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from unlearn_ray.config.sweep_schema import Named, Search
from unlearn_ray.core.ranges import Range
from unlearn_ray.scheduling.pruners import pruner
from unlearn_ray.scheduling.sampler import Sampler
from unlearn_ray.studies.fronts import Score, Vector, front, knee
from unlearn_ray.studies.history import Row, TrialRecord, recorded_trials, stops
from unlearn_ray.studies.rows import State

SPACE = {
    "learning_rate": Range("log_uniform", 1e-4, 1e-1),
    "epochs": Range("int", 1, 20),
    "alpha": Range("uniform", 0.0, 1.0),
}
SEEDS, WINDOW = 3, 4
WORST: Vector = (10.0, 20.0)
SEARCHES: dict[str, tuple[int, Named, Named]] = {
    "one objective, tpe": (1, "tpe", "percentile"),
    "two objectives, tpe": (2, "tpe", "percentile"),
    "two objectives, tpe, nothing stops": (2, "tpe", "none"),
    "two objectives, nsga2": (2, {"nsga2": {"population_size": 10}}, "percentile"),
    "two objectives, random": (2, "random", "percentile"),
}
# Two methods, each by two objectives and by one, on the same models.
DIGITS: dict[str, Any] = {
    "dataset": {"digits": {"image_size": 8}},
    "validation": 0.1,
    "forget_set": {"classes": {"classes": ["7"]}},
    "model": {"resnet8": {"width": 8}},
    "family": "supervised",
    "training": {"epochs": 15, "batch_size": 64, "learning_rate": 0.05},
    "metrics": ["retain_accuracy", "test_accuracy_remaining", "forget_accuracy"],
    "methods": {
        "scrub": {"epochs": {"int": [1, 6]}, "learning_rate": {"log_uniform": [1e-3, 3e-2]}},
        "random_label": {
            "epochs": {"int": [1, 6]},
            "batch_size": 64,
            "learning_rate": {"log_uniform": [3e-3, 0.1]},
        },
    },
    "seeds": {"tuning": [0, 1, 2], "reporting": [3, 4]},
}
OBJECTIVES = {"two": ["average_gap", "unlearning_seconds"], "one": "average_gap"}


def truth(point: dict[str, Any]) -> Vector:
    """Gap and seconds of a point, without noise."""
    epochs = point["epochs"]
    suits = -2.0 - 0.6 * math.log10(epochs)  # the more epochs, the smaller the best rate
    rate = (math.log10(point["learning_rate"]) - suits) ** 2
    gap = 8 * math.exp(-epochs / 5) + 2 * rate + 3 * (point["alpha"] - 0.4) ** 2
    return min(gap, WORST[0]), float(epochs)


def hypervolume(values: Iterable[Vector], worst: Vector) -> float:
    """The share of the area below `worst` that pairs of values dominate, each at least 0."""
    pairs = [pair for pair in values if pair[0] <= worst[0] and pair[1] <= worst[1]]
    area, left = 0.0, worst[1]
    for position in front([(0.0, *pair) for pair in pairs]):
        first, second = pairs[position]
        area += (worst[0] - first) * (left - second)
        left = second
    return area / (worst[0] * worst[1])


@dataclass(frozen=True)
class Found:
    """What one search found.

    Attributes:
        hypervolume: dominated by the complete trials.
        best: the smallest gap of a complete trial.
        trials, stopped: how many were started, and how many of them stopped.
    """

    hypervolume: float
    best: float
    trials: int
    stopped: int


def simulate(objectives: int, sampler: Named, stop_by: Named, budget: int, seed: int) -> Found:
    """One search, until its trials have run `budget` seeds."""
    search = Search(seed=seed, sampler=sampler, pruner=stop_by)
    asks = Sampler("simulated", SPACE, search, objectives)
    bars = pruner(search, SEEDS, "simulated", objectives, False)
    noise = random.Random(seed)
    done: list[TrialRecord] = []
    while sum(len(trial.scores) for trial in done) < budget:
        number = len(done)
        if number >= WINDOW:
            asks.tell(done[number - WINDOW])
            bars.tell(done[number - WINDOW])
        own, point = bars.now(number), asks.ask(None)
        scores: tuple[Score, ...] = ()
        stopped = False
        while len(scores) < SEEDS and not stopped:
            gap, seconds = truth(point)
            seen = abs(gap + noise.gauss(0, 0.5)), seconds * math.exp(noise.gauss(0, 0.05))
            scores += (seen if objectives > 1 else seen[0],)
            stopped = len(scores) < SEEDS and stops(own[len(scores) - 1], scores)
        state = State.STOPPED if stopped else State.COMPLETE
        done.append(TrialRecord(number, point, scores, state))
    complete = [truth(trial.point) for trial in done if trial.state == State.COMPLETE]
    stopped_count = len(done) - len(complete)
    best = min(gap for gap, _ in complete)
    return Found(hypervolume(complete, WORST), best, len(done), stopped_count)


def simulated(budget: int, repetitions: int) -> None:
    """Print the table of simulated searches."""
    print(f"{budget} seeds of trials, {repetitions} repetitions")
    print(f"{'':36}hypervolume      best gap         trials  stopped")
    for name, (objectives, sampler, stop_by) in SEARCHES.items():
        runs = [simulate(objectives, sampler, stop_by, budget, seed) for seed in range(repetitions)]
        volume, best = _mean([r.hypervolume for r in runs]), _mean([r.best for r in runs])
        trials, stopped = (
            statistics.fmean(getattr(run, what) for run in runs) for what in ("trials", "stopped")
        )
        print(f"{name:36}{volume:17}{best:17}{trials:6.1f}  {stopped:7.1f}", flush=True)


def on_digits(trials: int, store: str, folder: Path) -> None:
    """Run both searches on one store, and print what they found."""
    from unlearn_ray.config.sweep_file import load_sweep
    from unlearn_ray.storage.store import open_store
    from unlearn_ray.studies.plan import sweep_rows

    found: dict[str, dict[str, tuple[list[TrialRecord], dict[int, Vector]]]] = {}
    for name, objective in OBJECTIVES.items():
        file = folder / f"{name}.yaml"
        search = {"trials": trials}
        file.write_text(yaml.safe_dump({**DIGITS, "objective": objective, "search": search}))
        command = [sys.executable, "-m", "unlearn_ray.sweep", str(file), "--store", store]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        if name == "two":
            print(done.stdout)
        sweep = load_sweep(file, store=store)
        rows = sweep_rows(sweep, open_store(store))
        for study in sweep.studies:
            past = recorded_trials(rows, sweep, study)
            found.setdefault(study.name, {})[name] = past, _values(past, rows, study.name, name)
    for study_name, searches in found.items():
        _print_study(study_name, searches)


def _values(past: list[TrialRecord], rows: list[Row], study: str, sweep: str) -> dict[int, Vector]:
    """Mean gap and seconds of each complete trial, by its number."""
    complete = {trial.number for trial in past if trial.state == State.COMPLETE}
    own = [r for r in rows if (r["study"], r["sweep"], r["purpose"]) == (study, sweep, "tuning")]
    columns = "average_gap", "unlearning_compute_seconds"
    return {
        number: tuple(
            statistics.fmean(row[column] for row in own if row["trial"] == number)
            for column in columns
        )
        for number in sorted(complete)
    }


def _print_study(
    study: str, searches: dict[str, tuple[list[TrialRecord], dict[int, Vector]]]
) -> None:
    every = [pair for _, values in searches.values() for pair in values.values()]
    worst = tuple(max(pair[of] for pair in every) for of in (0, 1))
    for name, (past, values) in searches.items():
        numbers = [*values]
        marks = [(0.0, *values[number]) for number in numbers]
        members = front(marks)
        best = members[knee([marks[position] for position in members])]
        seeds = sum(len(trial.scores) for trial in past)
        stopped = sum(trial.state == State.STOPPED for trial in past)
        print(
            f"{study}, {name} objective{'s' if name == 'two' else ''}: {len(past)} trials,"
            f" {stopped} stopped, {seeds} seeds run;"
            f" hypervolume {hypervolume(values.values(), worst):.3f};"
            f" smallest gap {min(gap for gap, _ in values.values()):.2f}"
        )
        for position in members:
            gap, seconds = values[numbers[position]]
            mark = "  knee" if position == best else ""
            print(f"  trial {numbers[position]:3}: gap {gap:6.2f}, {seconds:6.3f} s{mark}")


def _mean(values: list[float]) -> str:
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f} ± {error:.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pareto")
    parser.add_argument("--budget", type=int, default=120, help="seeds of trials of each search")
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--digits", action="store_true", help="search on real models")
    parser.add_argument("--trials", type=int, default=20, help="of each study on digits")
    parser.add_argument("--store", help="where models of digits are kept (default: nowhere)")
    options = parser.parse_args(arguments)
    if not options.digits:
        simulated(options.budget, options.repetitions)
        return
    with tempfile.TemporaryDirectory() as folder:
        on_digits(options.trials, options.store or f"{folder}/store", Path(folder))


if __name__ == "__main__":
    main()
