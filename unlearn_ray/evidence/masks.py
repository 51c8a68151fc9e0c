"""Random masks: which samples each model of a bank is trained on, and then made to forget.

Models come in blocks of four consecutive ones. In each block each sample is OUT of two models'
training sets, in the RETAIN set of one and in the FORGET set of one, in an order drawn for each
sample alone. So every sample is in each state equally often whatever the number of blocks, and a
block's states depend on the seed and its number only: a bank can grow and shrink.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from jaxtyping import Bool, UInt8

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import stable_seed

# States of a sample under a model's mask.
OUT, RETAIN, FORGET = 0, 1, 2
BLOCK = (OUT, OUT, RETAIN, FORGET)
SIZE = len(BLOCK)
# The 12 orders that a block's states can have.
ORDERS = np.array(sorted(set(permutations(BLOCK))), np.uint8)

States = UInt8[np.ndarray, "models n"]


def states(models: int | range, samples: int, seed: int) -> States:
    """The states of `samples` audited samples under each of these models.

    Args:
        models: how many, from the first; or their numbers.
        samples: how many; those of more samples begin with these.
        seed: of the bank.
    """
    numbers = range(models) if isinstance(models, int) else models
    blocks = {number: _block(number, samples, seed) for number in {m // SIZE for m in numbers}}
    rows = [blocks[model // SIZE][model % SIZE] for model in numbers]
    return np.array(rows, np.uint8).reshape(len(numbers), samples)


def _block(number: int, samples: int, seed: int) -> UInt8[np.ndarray, "4 n"]:
    """The states under one block's models."""
    # NumPy promises the same raw numbers in all versions. 2^64 is a multiple of 12 but for 4.
    drawn = np.random.PCG64(stable_seed("masks", seed, number)).random_raw(samples)
    return np.asarray(ORDERS[drawn % len(ORDERS)].T)


def require_blocks(states: States, least: int) -> None:
    """Refuse states that are not those of at least `least` models in complete blocks.

    Raises:
        DataError: they are not.
    """
    models, samples = states.shape
    if models < least or models % SIZE:
        raise DataError(
            f"a bank of {models} models",
            f"this score needs at least {least}, in blocks of {SIZE}",
            "train more models, or leave out those of incomplete blocks",
        )
    if samples == 0:
        raise DataError("a bank of 0 samples", "there is nothing to score", "audit some samples")
    if not (np.sort(states.reshape(-1, SIZE, samples), axis=1) == np.sort(BLOCK)[:, None]).all():
        raise DataError(
            "states of a bank",
            f"a sample is not {', '.join(map(str, BLOCK))} in some order in a block of {SIZE}",
            "pass the models of the bank in their order, all four of each block",
        )


def among(states: States, chosen: tuple[int, ...]) -> Bool[np.ndarray, "models n"]:
    """Where the state is one of these."""
    return np.asarray(np.logical_or.reduce([states == state for state in chosen]))


def permuted(states: States, members: tuple[int, ...], generator: np.random.Generator) -> States:
    """The states, with `members` and OUT exchanged at random in each block of each sample.

    If a sample's values have the same distribution in these states, the result is as likely as
    the states themselves: a permutation test.
    """
    blocks = states.reshape(-1, SIZE, states.shape[1])
    exchanged = among(states, (OUT, *members)).reshape(blocks.shape)
    found = np.where(exchanged, np.uint8(OUT), blocks)
    keys = generator.random(blocks.shape, np.float32)
    keys[~exchanged] = 2
    for member in members:
        place = keys.argmin(axis=1)[:, None]
        np.put_along_axis(found, place, member, axis=1)
        np.put_along_axis(keys, place, 2, axis=1)
    return found.reshape(states.shape)
