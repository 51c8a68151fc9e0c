"""An error of a step's own code: raised once, told in one line, and never run for again."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.sweeps import SWEEP, Driver, objects, rows, write_sweep
from unlearn_ray.sweep import main

FAULTS = Path(__file__).parents[1] / "faults"
IN_A_TRIAL = "unlearn_ray.methods.neggrad:NegGrad.loss"
IN_A_REFERENCE = "unlearn_ray.families.simclr:SimCLR.info_nce"
SAYS = {
    "lines": r"ValueError: of two lines\x1b]0;title\x07; its traceback is in the store: failures/",
    "unsent": "CannotBeSent: only one argument; its traceback",
    "untold": "CannotBeTold; its traceback",
    "empty": "AssertionError; its traceback",
    "exit": "SystemExit: 3; its traceback",
    "memory": "; lower the batch size",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def quick(folder: Path, **changes: Any) -> Path:
    training = {**SWEEP["training"], "epochs": 1}
    return write_sweep(folder, **{"training": training, **changes})


def fault(folder: Path, where: str, error: str, rank: int | None = None) -> dict[str, str]:
    on_rank = {} if rank is None else {"RAISE_ON_RANK": f"{rank}"}
    raised = str(folder / f"raised-{error}")
    return {
        "PYTHONPATH": os.pathsep.join([str(FAULTS), os.environ.get("PYTHONPATH", "")]),
        "RAISE_IN": where,
        "RAISE": error,
        "RAISED": raised,
    } | on_rank


def raised(environment: dict[str, str]) -> int:
    return len(Path(environment["RAISED"]).read_text().splitlines())


def failures(store: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (store / "failures").rglob("*.json")]


def lines(driver: Driver, start: str) -> list[str]:
    return [line for line in driver.err.splitlines() if line.startswith(start)]


def test_errors_of_trials(tmp_path: Path) -> None:
    one = {"epochs": 1, "batch_size": 64, "learning_rate": 0.01}
    short = {
        f"short{number}": {"neggrad": {**one, "learning_rate": 0.01 + number / 1000}}
        for number in range(len(SAYS))
    }
    file, store = quick(tmp_path, methods={"finetune": one, **short}), str(tmp_path / "store")
    broken = fault(tmp_path, IN_A_TRIAL, ",".join(SAYS))
    with Driver(file, store, environment=broken) as driver:
        driver.ends(1)
    assert raised(broken) == len(SAYS), "some were tried again"
    assert "Traceback" not in driver.err
    told = lines(driver, "failed: short")
    assert len(told) == len(SAYS)
    failed = [row["failure"] for row in rows(store) if row["state"] == "failed"]
    assert len(failed) == len(SAYS)
    kept = failures(Path(store))
    for said in SAYS.values():
        assert sum(said in line for line in told) == 1, said
        assert sum(said in failure for failure in failed) == 1, said
        (one_kept,) = (failure for failure in kept if said in failure["reason"])
        assert "raise_or_call" in one_kept["traceback"]
    assert any(line.startswith("finetune ") for line in driver.out.splitlines())

    everything = objects(store, "")
    with Driver(file, store) as again:
        again.ends(1)
    assert "Nothing to train" in again.err
    assert objects(store, "") == everything


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_reference_step(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resources = {"training": {"cpu": 0.5, "workers": workers, "retries": 3}}
    file, store = quick(tmp_path, resources=resources), tmp_path / "store"
    # The others of a group wait for the one that fails.
    broken = fault(tmp_path, IN_A_REFERENCE, "lines", rank=1 if workers == 2 else None)
    with Driver(file, str(store), environment=broken) as driver:
        driver.ends(1)
    begun = raised(broken)
    assert begun <= 4, "it was tried again"  # two seeds, two models each
    assert "Traceback" not in driver.err
    (told,) = lines(driver, "error: ")
    assert SAYS["lines"] in told
    assert "; fix the cause, then run the sweep with --retry-failed" in told
    for name in ("finetune", "neggrad"):
        noted = " ".join(driver.out.split()).partition(f"{name}: failed: ")[2]
        assert SAYS["lines"] in noted
    (row, *_) = rows(str(store))
    assert (row["state"], row["purpose"]) == ("failed", "reference")
    assert SAYS["lines"] in row["failure"]

    # What is known is not run again, and is told by all who look.
    started = time.monotonic()
    with Driver(file, str(store), environment=broken) as again:
        again.ends(1)
    assert time.monotonic() - started < 60
    assert raised(broken) == begun
    assert SAYS["lines"] in again.err
    assert main(["plan", str(file), "--store", str(store)]) == 0
    plan = capsys.readouterr().out
    assert f"failed: {told.removeprefix('error: ').partition(';')[0]}" in plan
    assert "Nothing can run" in plan
    assert main(["status", str(store)]) == 0
    assert "of two lines" in capsys.readouterr().out

    with Driver(file, str(store), "--retry-failed") as mended:
        mended.ends(0)
    assert failures(store) == []
    assert not any(line.startswith("error") for line in mended.err.splitlines())
