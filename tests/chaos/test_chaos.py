"""One seed of the chaos; `python -m tests.chaos.chaos` runs many."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.s3_server import ROOT

SEED = os.environ.get("CHAOS_SEED", "0")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_sweep_ends_as_if_undisturbed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.chaos", "--seeds", SEED],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"CHAOS_SEED={SEED}\n{done.stdout}\n{done.stderr}"
