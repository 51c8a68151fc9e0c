"""Whatever a sweep file or a `--set` holds, it is planned, or refused in one short line each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.fuzzing import Target
from tests.fuzz.sweep_judge import SweepJudge
from tests.fuzz.sweeps import SweepInput, draw_sets, draw_sweep

SHORT, LONG = 15, 150


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepJudge:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return SweepJudge(tmp_path)


def of_files(judge: SweepJudge) -> Target[SweepInput]:
    return Target("sweep files", draw_sweep, judge, SweepInput.smaller, SweepInput.show)


def of_sets(judge: SweepJudge) -> Target[SweepInput]:
    return Target("--set", draw_sets, judge, SweepInput.smaller, SweepInput.show)


def test_sweep_files(judge: SweepJudge) -> None:
    of_files(judge).run(SHORT).check(accepted=0.1, refused=0.2)


def test_overrides(judge: SweepJudge) -> None:
    of_sets(judge).run(SHORT).check(accepted=0.05, refused=0.2)


@pytest.mark.slow
def test_sweep_files_for_long(judge: SweepJudge) -> None:
    of_files(judge).run(LONG).check()


@pytest.mark.slow
def test_overrides_for_long(judge: SweepJudge) -> None:
    of_sets(judge).run(LONG).check()
