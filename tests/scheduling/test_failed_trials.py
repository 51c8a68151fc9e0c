"""A trial whose loss becomes NaN fails alone: its row says why, and the sweep goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import SWEEP, Driver, essence, objects, rows, write_sweep


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_loss_of_nan_fails_its_trial_alone(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    absurd = {**SWEEP["methods"]["neggrad"], "learning_rate": {"log_uniform": [1e20, 1e30]}}
    file = write_sweep(tmp_path, methods={**SWEEP["methods"], "neggrad": absurd})
    store = uninterrupted.trained_references(tmp_path / "store")
    with Driver(file, store) as driver:
        driver.ends(1)
    assert "failed: neggrad trial 0: loss within the first" in driver.err
    assert "neggrad: no trial was completed; nothing to report" in driver.err
    found = rows(store)
    failed = [row for row in found if row["study"] == "neggrad"]
    assert len(failed) == SWEEP["search"]["trials"]
    for row in failed:
        assert (row["state"], row["purpose"], row["average_gap"]) == ("failed", "tuning", None)
        assert "became NaN or infinite" in row["failure"]
    others = [row for row in found if row["study"] != "neggrad"]
    expected = [row for row in uninterrupted.rows if row["study"] != "neggrad"]
    assert [essence(row) for row in others] == [essence(row) for row in expected]
    for line in driver.out.splitlines():
        if line.startswith("neggrad"):
            assert "failed" in line or set(line.split()[1:]) == {"-"}, line

    everything = objects(store, "")
    with Driver(file, store) as again:
        again.ends(1)
    assert "Nothing to train" in again.err
    assert again.out == driver.out
    assert objects(store, "") == everything
