"""Stores of sweeps that never ran: rows by the project's own writer, and what tells of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tests.results.rows import one_row
from unlearn_ray.monitor.kept_sweeps import KeptStudy, KeptSweep
from unlearn_ray.monitor.manifest import Manifest, Wanted
from unlearn_ray.storage.processes import ProcessIdentity
from unlearn_ray.storage.store import Store
from unlearn_ray.studies.rows import Scalar, State

TEN = (
    *("finetune", "gradient_ascent", "random_label", "neggrad", "l1_sparsity"),
    *("scrub", "bad_teacher", "salun", "boundary_shrink", "boundary_expanding"),
)
STARTED = "2026-01-01T00:00:00+00:00"


def announced(
    store: Store,
    sweep: str,
    studies: Mapping[str, str],
    trials: int,
    yaml: str = "name: x\n",
    replicates: int = 1,
) -> None:
    """Write a manifest and a kept file; `studies` are keys by name."""
    manifest = Manifest(
        name=sweep, started=STARTED, driver=ProcessIdentity.here(), references=(),
        studies=tuple(Wanted("finetune", key, name, trials) for name, key in studies.items()),
        tuning=(0, 1), runs=2 * replicates, reference_scores=0, study_scores=0, budget_hours=None,
    )  # fmt: skip
    store.write_sweep(sweep, json.dumps(asdict(manifest)).encode())
    kept = KeptSweep(
        name=sweep, started=STARTED, yaml=yaml, file=yaml, version="0.1.0",
        studies={name: KeptStudy(key, "finetune", ()) for name, key in studies.items()},
    )  # fmt: skip
    store.write_sweep_file(sweep, kept.key, json.dumps(asdict(kept)).encode())


def searched(studies: Sequence[str], trials: int, replicates: int) -> list[dict[str, Scalar]]:
    """Rows of a finished sweep: some trials failed, some stopped; two reporting seeds."""
    drawn = np.random.default_rng(0)
    rows: list[dict[str, Scalar]] = []
    for number, study in enumerate(studies):
        found: list[tuple[float, dict[str, Any]]] = []
        for trial in range(trials):
            rate, momentum = float(10 ** drawn.uniform(-4, -1)), float(drawn.uniform(0.5, 0.99))
            point: dict[str, Any] = {"trial": trial, "learning_rate": rate}
            if study not in ("bad_teacher",):
                point["momentum"] = momentum
            state, failure = State.COMPLETE, None
            if trial % 10 == 7:
                state, failure = State.FAILED, f"loss is NaN at iteration {trial}"
            elif trial % 10 in (3, 5):
                state = State.STOPPED
            away = float(number + 2 * drawn.gamma(2.0) + 3 * abs(np.log10(rate) + 2))
            seconds = float(1 + number + drawn.gamma(2.0))
            of_row: dict[str, Any] = {
                "purpose": "tuning", "state": state, "failure": failure, "seconds": seconds,
                "hours": seconds / 3600, **point,
            }  # fmt: skip
            if failure:
                rows.append(one_row(study, 0, None, **of_row))
                continue
            rows.append(one_row(study, 0, 90.0 - away, 80.0 - away, **of_row))
            if state is State.COMPLETE:
                rows.append(one_row(study, 1, 92.0 - away, 82.0 - away, **of_row))
                found.append((away, point))
        best = min(found, key=lambda one: one[0])[1]
        rows += _reported(drawn, study, float(number), best, replicates)
    for study, shift in (("retrain", 0.0), ("original", 6.0)):
        rows += _reported(drawn, study, shift, {}, replicates)
    return rows


def _reported(
    drawn: np.random.Generator, study: str, shift: float, point: dict[str, Any], replicates: int
) -> list[dict[str, Scalar]]:
    rows = []
    for seed in (2, 3):
        for replicate in range(replicates):
            of_retrained = np.random.default_rng([seed, replicate]).normal(80.0 + seed, 1, 2)
            retrain, test = (float(each) for each in of_retrained)
            own = [retrain, test]
            if study != "retrain":
                own = [float(drawn.normal(80.0 + seed - shift, 1)) for _ in own]
            run: dict[str, Any] = {"replicate": replicate, "accuracies": (retrain, test)}
            rows.append(one_row(study, seed, own[0], own[1], **run, **point))
    return rows


def write(store: Store, rows: Sequence[dict[str, Scalar]]) -> None:
    """Write rows under names of their own."""
    for number, row in enumerate(rows):
        store.write_row(f"{row['study_key'] or 'references'}/small/{number:06}", row)


def synthetic(store: Store, studies: Sequence[str], trials: int, replicates: int) -> None:
    """A finished sweep called small."""
    write(store, searched(studies, trials, replicates))
    keys = {name: f"{name}-s1" for name in studies}
    announced(store, "small", keys, trials, replicates=replicates)
