"""Seconds and memory of the scores over a bank of random masks.

    OMP_NUM_THREADS=1 python -m benchmarks.mask_scores [--models 100] [--samples 50000]

Each score is computed with its nulls and intervals from synthetic logits of ten classes, in this
process, on one thread. Memory is the largest that the process has had so far.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence

import numpy as np

from unlearn_ray.core.registry import parts
from unlearn_ray.evidence.confidence import confidence
from unlearn_ray.evidence.masks import FORGET, OUT, RETAIN, states
from unlearn_ray.scores.base import MaskedBank, MaskedScore, Score

CLASSES = 10


def synthetic(models: int, samples: int, unseen: int) -> MaskedBank:
    """Models that memorise by one nat, of which unlearning leaves half."""
    of = states(models, samples, seed=0)
    labels = np.random.default_rng(0).integers(CLASSES, size=samples + unseen)
    original = np.empty((models, samples + unseen))
    unlearned = np.empty_like(original)
    for model in range(models):
        generator = np.random.default_rng(model)
        logits = generator.normal(size=(len(labels), CLASSES)).astype(np.float32)
        for row, shift in (
            (original, 1.0 * (of[model] != OUT)),
            (unlearned, 1.0 * (of[model] == RETAIN) + 0.5 * (of[model] == FORGET)),
        ):
            row[model] = confidence(logits, labels)
            row[model, :samples] += shift
    return MaskedBank(
        states=of,
        original=original[:, :samples],
        unlearned=unlearned[:, :samples],
        original_unseen=original[:, samples:],
        unlearned_unseen=unlearned[:, samples:],
        classes=labels[:samples],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line per part of this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--unseen", type=int, default=10_000)
    chosen = parser.parse_args(arguments)
    begin = time.process_time()
    bank = synthetic(chosen.models, chosen.samples, chosen.unseen)
    timed("confidence of all models", time.process_time() - begin)
    for name, score in parts(Score).items():
        if issubclass(score, MaskedScore):
            begin = time.process_time()
            score().measure(bank)
            timed(name, time.process_time() - begin)


def timed(name: str, seconds: float) -> None:
    """Print what a part took."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:<26}{seconds:8.1f} s{memory:8.2f} GiB")


if __name__ == "__main__":
    main()
