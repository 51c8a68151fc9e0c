"""Masks are balanced in every block, and are the same however many models and samples there are."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from unlearn_ray.core.errors import DataError
from unlearn_ray.evidence.masks import (
    FORGET,
    OUT,
    RETAIN,
    among,
    permuted,
    require_blocks,
    states,
)


def test_every_sample_is_in_each_state_equally_often_in_every_block() -> None:
    found = states(40, 300, seed=3)
    assert found.dtype == np.uint8
    for block in range(10):
        for sample in range(300):
            column = sorted(found[4 * block : 4 * block + 4, sample].tolist())
            assert column == [OUT, OUT, RETAIN, FORGET]


def test_states_depend_on_nothing_but_seed_block_and_sample() -> None:
    all_of_them = states(40, 300, seed=3)
    np.testing.assert_array_equal(states(8, 300, seed=3), all_of_them[:8])
    np.testing.assert_array_equal(states(range(5, 23, 3), 300, seed=3), all_of_them[5:23:3])
    np.testing.assert_array_equal(states(40, 17, seed=3), all_of_them[:, :17])
    assert states(0, 300, seed=3).shape == (0, 300)
    assert (states(40, 300, seed=4) != all_of_them).mean() > 0.5


def test_states_are_the_same_in_every_release() -> None:
    assert ["".join(map(str, row)) for row in states(4, 12, seed=0).tolist()] == RELEASED


RELEASED = ["001212002110", "000020020220", "122000110002", "210101201001"]


def test_all_orders_are_equally_likely() -> None:
    found = states(400, 300, seed=0).reshape(100, 4, 300)
    counts = Counter(map(tuple, np.moveaxis(found, 1, 2).reshape(-1, 4).tolist()))
    assert len(counts) == 12
    assert all(abs(count - 2500) < 5 * 50 for count in counts.values())


@pytest.mark.parametrize("members", [(FORGET,), (RETAIN,), (RETAIN, FORGET)])
def test_permuting_exchanges_members_and_out_alone(members: tuple[int, ...]) -> None:
    before = states(80, 500, seed=0)
    after = permuted(before, members, np.random.default_rng(0))
    require_blocks(after, least=80)
    kept = {RETAIN, FORGET} - {*members}
    for state in kept:
        np.testing.assert_array_equal(after == state, before == state)
    # A member keeps its place with a chance of one in as many places as there are.
    places = 4 - len(kept)
    share = (after == FORGET)[before == members[-1]].mean() if FORGET in members else 1 / places
    assert abs(share - 1 / places) < 5 * np.sqrt(0.25 / 10_000)


def test_among_is_set_membership() -> None:
    found = states(8, 50, seed=1)
    np.testing.assert_array_equal(among(found, (OUT, FORGET)), np.isin(found, (OUT, FORGET)))


@pytest.mark.parametrize(
    ("of", "message"),
    [
        (states(8, 5, seed=0), "a bank of 8 models: this score needs at least 12"),
        (states(14, 5, seed=0), "a bank of 14 models: .* in blocks of 4"),
        (states(12, 0, seed=0), "a bank of 0 samples"),
        (states(range(2, 14), 50, seed=0), "is not 0, 0, 1, 2 in some order"),
        (np.zeros((12, 5), np.uint8), "is not 0, 0, 1, 2 in some order"),
    ],
)
def test_other_states_are_refused(of: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        require_blocks(of, least=12)
