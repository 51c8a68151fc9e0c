"""Earlier durations of steps, by kind, from the records of this sweep and similar ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.keys import content_key
from unlearn_ray.steps.base import Step
from unlearn_ray.storage.store import Record, Store
from unlearn_ray.studies.history import Row, TrialRecord
from unlearn_ray.studies.plan import Plan
from unlearn_ray.studies.rows import HOURS, State
from unlearn_ray.studies.study import point_key

# Most records to read of each kind.
_MOST = 32


def kind_of(step: Step) -> str:
    """Identifies steps that take as long as this one: those that differ in the seed only."""
    return _kind(step.config)


def earlier_seconds(plan: Plan, store: Store) -> dict[str, list[float]]:
    """Seconds that steps like a plan's reference steps took, by `kind_of`.

    Raises:
        StoreError: the store cannot be read, or a record in it is damaged.
    """
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for kind, record in earlier_records(plan, store):
        seconds[kind].append(record.seconds)
    return dict(seconds)


def earlier_records(plan: Plan, store: Store) -> list[tuple[str, Record]]:
    """Records of steps like a plan's reference steps, each with the `kind_of` its step.

    Of observations and measurements only the plan's own: others may be of larger models.

    Raises:
        StoreError: the store cannot be read, or a record in it is damaged.
    """
    stored = [planned.step for planned in plan.references if planned.stored]
    asked: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for step in stored:
        asked[step.name][step.key] = None
    known = {kind_of(step) for step in stored}
    trained = [p.step for p in plan.references if p.step.asks == "training"]
    for kind in {step.name for step in trained if kind_of(step) not in known}:
        asked[kind] |= dict.fromkeys(islice(store.records(kind), _MOST))
    records = store.read_records((kind, key) for kind in asked for key in list(asked[kind])[:_MOST])
    found = []
    for record in records.values():
        with suppress(TypeError):  # written by another program: it has no canonical form
            found.append((_kind(record.config), record))
    return found


def trial_seconds(
    rows: Iterable[Row], sweep: Sweep, study: str, past: Iterable[TrialRecord]
) -> list[list[float]]:
    """Seconds per seed of a study's ended trials, a list for each trial.

    A row whose steps were in the store tells nothing.

    Args:
        rows: the store's rows.
        sweep: its resources are taken for those of the trials.
        study: the study's key.
        past: its trials.
    """
    each_second = sweep.resources.trial.accelerator_hours(1.0)
    ended = {(one.number, point_key(one.point)) for one in past if one.state != State.UNFINISHED}
    trials: defaultdict[tuple[int, str], list[float]] = defaultdict(list)
    for row in rows:
        hours = sum(row.get(column) or 0.0 for column in HOURS)
        trial = (row["trial"], row["point"])
        if row["study_key"] == study and row["purpose"] == "tuning" and trial in ended and hours:
            trials[trial].append(hours / each_second)
    return list(trials.values())


def _kind(config: Mapping[str, Any]) -> str:
    alike = {
        name: value for name, value in config.items() if name not in ("seed", "replicate", "inputs")
    }
    return f"{config.get('kind')} {content_key(alike)}"
