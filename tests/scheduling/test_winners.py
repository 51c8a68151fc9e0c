"""The winners of a sweep, run again on Ray from the file that its store gives."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.sweeps import Driver, attempts, rows
from unlearn_ray.cli.results import yaml as command
from unlearn_ray.core.errors import Exit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
# Who wrote a row, and in which study.
_VARYING = ("row", "sweep", "study_key", "trial", "point")


def reported(store: str, sweep: str) -> list[dict[str, Any]]:
    found = [
        {name: value for name, value in row.items() if name not in _VARYING}
        for row in rows(store)
        if (row["sweep"], row["purpose"]) == (sweep, "reporting")
    ]
    return sorted(found, key=lambda row: (row["study"], row["seed"]))


def test_winners_give_the_same_rows_without_a_search(
    uninterrupted: Uninterrupted, tmp_path: Path
) -> None:
    store, winners = str(tmp_path / "store"), tmp_path / "winners.yaml"
    shutil.copytree(uninterrupted.store, store)
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    command.arguments(parser)
    options = parser.parse_args([store, "tiny", "--winner", "--output", str(winners)])
    assert command.run(options) == Exit.DONE
    expected, trained = reported(store, "tiny"), attempts(store)
    assert len(expected) == 2
    with Driver(winners, store) as driver:
        driver.ends(0)
    assert attempts(store) == trained
    assert reported(store, "tiny_winners") == expected
    elsewhere = str(tmp_path / "elsewhere")
    with Driver(winners, elsewhere) as driver:
        driver.ends(0)
    assert reported(elsewhere, "tiny_winners") == expected
