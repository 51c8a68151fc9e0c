"""A sweep with scores of many models is finished once all of them are there."""

from __future__ import annotations

from pathlib import Path

from tests.keeping.searched import SEARCHED, search
from tests.tiny import runtime, tiny_sweep
from unlearn_ray.monitor.running import Observer
from unlearn_ray.monitor.status import sweep_statuses

SEEDS = "seeds: {tuning: [0], tuning_replicates: 2, reporting: [1, 3], replicates: 3}\n"
SCORED = SEARCHED.partition("seeds:")[0] + f"scores: [tow]\n{SEEDS}"


def test_scores_of_reference_models_count(tmp_path: Path) -> None:
    here = runtime(tmp_path / "store")
    sweep = tiny_sweep(tmp_path, SCORED)
    search(sweep, here, most=3)
    (begun,) = sweep_statuses(here.store, None, Observer())
    # Of the original, for each reporting seed; and then of each of the two studies' winners.
    assert begun.scores == (0, 2 + 2 * 2)
    assert not begun.finished
    search(sweep, here)
    (told,) = sweep_statuses(here.store, None, Observer())
    assert told.scores == (6, 6)
    assert told.finished
