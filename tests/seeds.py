"""Other random numbers than the tests' own, to find outcomes that one lucky seed decides.

`pytest --shift-seeds N` moves every seed that torch's and numpy's generators are given, by tests
and package alike, so that what is drawn twice from one seed is still the same. Processes that a
test starts move theirs if they import `tests`; others keep them.

A test that holds values known for one seed, a published permutation or a stored model, is not
meant to pass so. Any other that fails leans on its numbers.
"""

from __future__ import annotations

from typing import Any

# Far from the seeds that tests count up from.
STRIDE = 1_000_003
# Of torch's and of numpy's seeds.
WIDE, NARROW = 1 << 63, 1 << 32


def shift_seeds(shift: int) -> None:
    """Move seeds from now on; before anything is imported that takes a function by its name."""
    import numpy as np
    import torch

    def moved(seed: Any, limit: int) -> Any:
        return (seed + STRIDE * shift) % limit if isinstance(seed, int | np.integer) else seed

    own_generator, own_state = torch.Generator, np.random.RandomState
    seed_globally, new_generator = torch.manual_seed, np.random.default_rng

    class Generator(own_generator):  # type: ignore[misc, valid-type]
        def manual_seed(self, seed: int) -> Generator:
            super().manual_seed(moved(seed, WIDE))
            return self

    class RandomState(own_state):  # type: ignore[misc, valid-type]
        def __init__(self, seed: Any = None) -> None:
            super().__init__(moved(seed, NARROW))

    def manual_seed(seed: int) -> torch.Generator:
        return seed_globally(moved(seed, WIDE))

    def default_rng(seed: Any = None) -> np.random.Generator:
        return new_generator(moved(seed, WIDE))

    torch.Generator = Generator  # type: ignore[misc]
    torch.manual_seed = torch.random.manual_seed = manual_seed
    np.random.RandomState = RandomState  # type: ignore[misc]
    np.random.default_rng = default_rng
    # What is drawn without a seed, too.
    manual_seed(0)
