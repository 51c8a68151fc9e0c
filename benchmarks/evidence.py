"""Seconds and memory of every score of a bank of models, on one core.

    OMP_NUM_THREADS=1 python -m benchmarks.evidence [--models 100] [--samples 50000]

Each registered score is computed in a process of its own, with its nulls and intervals, from
confidences of synthetic logits of ten classes. Memory is the most that this process had, the bank
included; below 4 GiB is the aim.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unlearn_ray.core.registry import find, parts
from unlearn_ray.quantities.base import SetName
from unlearn_ray.scores.base import (
    MaskedBank,
    MaskedScore,
    Population,
    ReplicateBank,
    ReplicateScore,
    Score,
)

CLASSES = 10
# Shares of the samples: a bank of replicates observes all sets.
SHARES: dict[SetName, float] = {"retain": 0.8, "forget": 0.1, "validation": 0.0, "test": 0.1}


def confidences(seed: int, models: int, samples: int, shift: float) -> np.ndarray:
    """log p_y - log(1 - p_y) under models whose logits of class 0, the true one, are shifted."""
    found = np.empty((models, samples))
    generator = np.random.default_rng(seed)
    for row in found:
        logits = generator.normal(size=(samples, CLASSES))
        row[:] = logits[:, 0] + shift - np.log(np.exp(logits[:, 1:]).sum(axis=1))
    return found


def replicates(models: int, samples: int) -> ReplicateBank:
    """Original models sure of the forget set, unlearned ones half as sure."""

    def population(seed: int, shift: float) -> Population:
        each = {
            part: confidences(
                seed + place, models, int(share * samples), 4 + shift * (part == "forget")
            )
            for place, (part, share) in enumerate(SHARES.items())
        }
        return Population(each, {part: values > 0 for part, values in each.items()})

    return ReplicateBank(population(0, 1), population(10, 0), population(20, 2))


def masks(models: int, samples: int) -> MaskedBank:
    """Models in blocks of four, each sample in each block OUT twice, RETAIN and FORGET once."""
    blocks = models // 4
    order = np.random.default_rng(0).permuted(
        np.broadcast_to(np.array([0, 0, 1, 2], np.uint8), (blocks, samples, 4)), axis=2
    )
    states = order.transpose(0, 2, 1).reshape(4 * blocks, samples)
    before = confidences(1, 4 * blocks, samples, 4) + (states > 0)
    after = confidences(2, 4 * blocks, samples, 4) + (states == 1) + 0.5 * (states == 2)
    unseen = confidences(3, 4 * blocks, samples // 5, 4)
    classes = np.zeros(samples, np.int64)
    return MaskedBank(states, before, after, unseen, unseen.copy(), classes)


def measure(name: str, models: int, samples: int) -> str:
    """One line: seconds and peak memory of one score in this process."""
    score = find(Score, name)()
    begin = time.process_time()
    if isinstance(score, ReplicateScore):
        bank = replicates(models, samples)
        made = time.process_time()
        score.measure(bank)
    elif isinstance(score, MaskedScore):
        masked = masks(models, samples)
        made = time.process_time()
        score.measure(masked)
    else:
        raise TypeError(f"{name} is no score of a bank that this benchmark knows")
    done = time.process_time()
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"{name:<16}{done - made:8.1f} s{gib:8.2f} GiB   (its bank {made - begin:.1f} s)"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line per score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--score", help="only this one, in this process")
    options = parser.parse_args(arguments)
    if options.score:
        print(measure(options.score, options.models, options.samples))
        return
    print(f"{options.models} models x {options.samples:,} samples x {CLASSES} classes:")
    sizes = "--models", str(options.models), "--samples", str(options.samples)
    for name in parts(Score):
        command = [sys.executable, "-m", "benchmarks.evidence", "--score", name, *sizes]
        root = Path(__file__).parents[1]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1]}")
        print(done.stdout, end="")


if __name__ == "__main__":
    main()
