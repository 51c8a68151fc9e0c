"""The names of sweeps, of reference models, and of the models of a row."""

from __future__ import annotations

from typing import NamedTuple

# Of a sweep or study. File names have at most 255 bytes, and S3 keys 1,024 including all folders.
LONGEST_NAME = 100
# The names of the reference models in rows and tables; no study may have them.
RETRAIN = "retrain"
ORIGINAL = "original"


class Run(NamedTuple):
    """What determines a model's data and random draws: its split, and its training seed.

    Attributes:
        seed: of the split: validation, forget and retain set.
        replicate: numbers the models of one split that differ in their training seed.
    """

    seed: int
    replicate: int = 0
