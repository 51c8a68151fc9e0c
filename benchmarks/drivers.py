"""How much sooner several drivers of one sweep are done than one, sharing its study and its store.

Each driver is a process with a Ray of its own on this machine, as on the nodes of an array of jobs;
steps are those of any sweep, but that unlearning sleeps (benchmarks/simulated.py), so that what is
measured is the sharing, not this machine's cores. Starting takes each driver half a minute and
more where all share two cores: it is in the wall times, and beside them stands the time from the
first row of a trial to the last.

    python -m benchmarks.drivers --seconds 20            # some 15 minutes, most of it asleep
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unlearn_ray.storage.store import open_store

PROGRAM = "import sys, benchmarks.simulated; from unlearn_ray.sweep import main; sys.exit(main())"
SWEEP = """\
name: shared
dataset: {{digits: {{image_size: 8}}}}
validation: 0.1
forget_set: {{random: {{fraction: 0.01}}}}
model: simulated
family: simulated
training: {{epochs: 0}}
metrics: [simulated]
methods:
  simulated_0: {{seconds: {seconds}, x: {{uniform: [0, 1]}}, y: {{uniform: [0, 1]}}}}
search: {{trials: {trials}, startup: 4, window: {window}}}
seeds: {{tuning: [0, 1, 2], reporting: [3]}}
"""


@dataclass(frozen=True)
class Run:
    """What drivers did together.

    Attributes:
        wall: seconds from the start of all to the end of the last.
        trials: seconds from the first row of a trial to the last.
        unlearned: how many models were unlearned for the trials.
    """

    wall: float
    trials: float
    unlearned: int


def run(drivers: int, sweep: Path, store: Path) -> Run:
    """The sweep, by so many drivers at once."""
    started = time.monotonic()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(sweep), "--store", str(store)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(drivers)
    ]
    statuses = [each.wait() for each in running]
    wall = time.monotonic() - started
    if any(statuses):
        raise RuntimeError(f"drivers ended with {statuses}")
    rows = open_store(str(store)).read_rows().to_pylist()
    tuning = [row for row in rows if row["purpose"] == "tuning"]
    times = [file.stat().st_mtime for file in (store / "rows").rglob("tuning-*")]
    return Run(wall, max(times) - min(times), len({row["key_unlearn"] for row in tuning}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both, and what several save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drivers")
    parser.add_argument("--drivers", type=int, default=4)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=20.0, help="sleep of each trial and seed")
    options = parser.parse_args(arguments)
    text = SWEEP.format(
        seconds=options.seconds,
        trials=options.trials,
        window=(os.cpu_count() or 1) * options.drivers,
    )
    with tempfile.TemporaryDirectory(prefix="drivers-") as folder:
        sweep = Path(folder) / "shared.yaml"
        sweep.write_text(text)
        for drivers in (1, options.drivers):
            done = run(drivers, sweep, Path(folder) / f"store-{drivers}")
            print(
                f"{drivers} driver{'s' if drivers > 1 else ''}: {done.wall:.0f} s, trials"
                f" {done.trials:.0f} s, {done.unlearned} models unlearned",
                flush=True,
            )


if __name__ == "__main__":
    main()
