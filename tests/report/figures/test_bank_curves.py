"""Curves of attacks on a bank, against those of its score's own computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.report.finished import copy_of, rows_of
from tests.tiny import SWEEP, finish, runtime, tiny_sweep
from unlearn_ray.report.evidence import SweepEvidence, sweep_evidence
from unlearn_ray.report.figures.bank_curves import bank_curves
from unlearn_ray.storage.store import Store
from unlearn_ray.storage.tensors import ARRAYS, unpack_tensors

TEXT = SWEEP.replace("family: simclr", "family: supervised")
BANK = f"{TEXT}bank: {{models: 12, samples: 40}}\nscores: [u_lira, lira]\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    here = runtime(tmp_path_factory.mktemp("store"))
    finish(tiny_sweep(tmp_path_factory.mktemp("sweep"), BANK), here)
    return here.store


def told(store: Store) -> SweepEvidence:
    return sweep_evidence(store)


def test_curves_are_those_that_scores_left(store: Store) -> None:
    figures = {each.name: each for each in bank_curves(told(store))}
    assert figures.keys() == {
        f"curve-{name}" for name in ("u-lira-forget", "u-lira-retain", "lira", "lira-offline")
    }
    rows = rows_of(figures["curve-u-lira-forget"])
    frame = told(store).rows
    for letter, study in {"o": "original", "r": "retrain", "u": "finetune"}.items():
        key = frame[(frame["purpose"] == "score") & (frame["study"] == study)]["key_score_u_lira"]
        record = store.record("score", key.iloc[-1])
        assert record is not None
        arrays, _ = unpack_tensors(store.read_artifact(record, ARRAYS))
        points = list(
            zip(
                arrays["u_lira_forget_fpr"].tolist(),
                arrays["u_lira_forget_tpr"].tolist(),
                strict=True,
            )
        )
        # 12 models x 40 samples: a quarter forgotten, half never seen.
        for row, rate in zip(rows, np.geomspace(10 / 240, 1, len(rows)), strict=True):
            expected = max(tpr for fpr, tpr in points if fpr <= rate + 1e-9)
            assert row.get(letter, 0) == pytest.approx(expected, rel=0.01, abs=0.005)
    caption = figures["curve-u-lira-forget"].caption
    assert "120 positives, 240 negatives" in caption
    assert "too few for rates at 0.1 % and 1 %" in caption


def test_before_unlearning_there_is_one_panel(store: Store) -> None:
    (lira,) = (each for each in bank_curves(told(store)) if each.name == "curve-lira")
    assert {row["s"] for row in rows_of(lira)} == {"before unlearning"}


def test_removed_curves_are_no_error(store: Store, tmp_path: Path) -> None:
    copied = copy_of(Path(store.url), tmp_path)
    for key in copied.records("score"):
        record = copied.record("score", key)
        assert record is not None
        if record.config["score"]["name"] == "lira":
            copied.remove_artifact(record.files)
    figures = bank_curves(told(copied))
    assert {each.name for each in figures} == {"curve-u-lira-forget", "curve-u-lira-retain"}
    assert "Left out: original (" in figures[0].caption
