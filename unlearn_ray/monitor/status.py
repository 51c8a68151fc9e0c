"""The progress of a sweep, from the store alone: manifest, records, rows and leases."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import fmean
from typing import Any

import numpy as np

from unlearn_ray.core.errors import BadInput, did_you_mean
from unlearn_ray.monitor.manifest import Manifest, Wanted, manifests
from unlearn_ray.monitor.running import Activity, Observer, Running, activity
from unlearn_ray.monitor.sweep_rows import COLUMNS, SweepRows
from unlearn_ray.monitor.time_left import Span
from unlearn_ray.storage.store import Record, Store
from unlearn_ray.studies.history import StudyProgress
from unlearn_ray.studies.rows import REFERENCES
from unlearn_ray.studies.stored_rows import read_rows

_NUMBER = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")

_HOUR = timedelta(hours=1)
_FEWEST_FOR_A_RATE = 3
# Relative error of an estimate of time left, however many samples it is based on.
_LEAST_SPREAD = 0.2

_Row = dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """Failed trials of one study whose reasons differ in numbers only; or one failed step.

    Attributes:
        name: of the study or reference step.
        count: how many trials and seeds.
        newest: when the last one failed, ISO 8601.
        reason: the last one's.
    """

    name: str
    count: int
    newest: str
    reason: str


@dataclass(frozen=True)
class Throughput:
    """Trials times seeds per hour: in the last hour, and over all rows of the sweep."""

    last_hour: float | None
    overall: float | None


@dataclass(frozen=True)
class SweepStatus:
    """One sweep.

    Attributes:
        name: of the sweep.
        started: when it was last started, ISO 8601.
        host, process: of the driver started last.
        drivers: those with a live heartbeat.
        driver_ended: whether the driver started last is known to have ended (it ran on this
            machine), and no other is alive.
        references: reference steps, done and total, by kind.
        studies: in file order.
        scores: rows of scores, done and total.
        failures: newest first.
        running: what runs now, the longest first.
        throughput: of trials.
        seconds_left: an estimate, counted down since the last record or row while something runs;
            None while a kind of step still to run has no sample.
        hours: accelerator hours so far, by kind of step.
        budget_hours: those it may spend; None is unlimited.
    """

    name: str
    started: str
    host: str
    process: int
    drivers: tuple[Running, ...]
    driver_ended: bool
    references: dict[str, tuple[int, int]]
    studies: tuple[StudyProgress, ...]
    scores: tuple[int, int]
    failures: tuple[Failure, ...]
    running: tuple[Running, ...]
    throughput: Throughput
    seconds_left: Span | None
    hours: dict[str, float]
    budget_hours: float | None

    @property
    def halted(self) -> bool:
        """Whether the budget is spent, so that no further trial is launched."""
        return self.budget_hours is not None and sum(self.hours.values()) >= self.budget_hours

    @property
    def finished(self) -> bool:
        """Whether nothing remains to be run."""
        return (
            all(done == total for done, total in self.references.values())
            and all(one.ended >= one.wanted or self.halted for one in self.studies)
            and all(one.reported == one.to_report or not one.complete for one in self.studies)
            and self.scores[0] >= self.scores[1]
        )


def sweep_statuses(store: Store, name: str | None, observer: Observer) -> list[SweepStatus]:
    """The progress of a store's sweeps, the last started first.

    Args:
        store: the store to read.
        name: of the only sweep to include; None is all.
        observer: of heartbeats; reuse it for the next call.

    Raises:
        BadInput: there is no sweep, or none of this name.
        StoreError: the store cannot be read.
    """
    known = manifests(store)
    if not known:
        remedy = "start one: python -m unlearn_ray.sweep FILE"
        raise BadInput(f"store {store.url}", "no sweep was started on it", remedy)
    if name is not None and name not in known:
        reason = f"no sweep of this name was started on {store.url}"
        raise BadInput(f"sweep {name}", reason, did_you_mean(name, known))
    wanted = list(known.values()) if name is None else [known[name]]
    active = activity(store, observer)
    records = store.read_records((s.kind, s.key) for one in wanted for s in one.references)
    prefixes = [f"{study.key}/{one.name}/" for one in wanted for study in one.studies]
    rows = SweepRows.of(read_rows(store, *prefixes, columns=COLUMNS))
    scored = _reference_scores(store) if any(one.reference_scores for one in wanted) else Counter()
    found = [
        _status(one, records, rows.of_sweep(one.name), scored[one.name], active) for one in wanted
    ]
    missing = [[s for s in one.references if s.key not in records] for one in wanted]
    return [
        _with_failed_steps(status, steps, store)
        for status, steps in zip(found, missing, strict=True)
    ]


def _reference_scores(store: Store) -> Counter[str]:
    """How many rows of scores the reference models of each sweep have."""
    rows = read_rows(store, f"{REFERENCES}/", columns=("sweep", "purpose"))
    if not rows.num_rows:
        return Counter()
    told = zip(rows["sweep"].to_pylist(), rows["purpose"].to_pylist(), strict=True)
    return Counter(sweep for sweep, purpose in told if purpose == "score")


def _with_failed_steps(status: SweepStatus, missing: Iterable[Wanted], store: Store) -> SweepStatus:
    """The failures, failed reference steps first: they block everything else."""
    failed = store.failures.read((step.kind, step.key) for step in missing)
    steps = (Failure(one.step, 1, one.created, one.reason) for one in failed.values())
    return replace(status, failures=(*steps, *status.failures))


def _status(
    manifest: Manifest,
    records: Mapping[str, Record],
    rows: SweepRows,
    reference_scores: int,
    active: Activity,
) -> SweepStatus:
    running = active.steps.get(manifest.name, [])
    drivers = [one for one in active.drivers.get(manifest.name, []) if one.heartbeat == "alive"]
    references: dict[str, tuple[int, int]] = {}
    for step in manifest.references:
        done, total = references.get(step.kind, (0, 0))
        references[step.kind] = (done + (step.key in records), total + 1)
    own = [records[step.key] for step in manifest.references if step.key in records]
    studies = tuple(
        rows.progress(study.name, study.key, study.trials, manifest.tuning, manifest.runs)
        for study in manifest.studies
    )
    hours = _hours(manifest.name, own, rows)
    own_records = {record.key: record for record in own}
    alive = sum(one.heartbeat == "alive" for one in running)
    left = _time_left(manifest, studies, rows, own_records, sum(hours.values()), alive)
    if left is not None and running:
        left = left.after(_since(own_records, rows))
    return SweepStatus(
        name=manifest.name,
        started=manifest.started,
        host=manifest.driver.host,
        process=manifest.driver.pid,
        drivers=tuple(sorted(drivers, key=lambda one: -one.held_seconds)),
        driver_ended=manifest.driver.is_dead() and not drivers,
        references=references,
        studies=studies,
        scores=(
            rows.count("score") + reference_scores,
            manifest.reference_scores
            + manifest.study_scores * sum(one.complete > 0 for one in studies),
        ),
        failures=_failures(rows.failed()),
        running=tuple(sorted(running, key=lambda one: -one.held_seconds)),
        throughput=_throughput(rows),
        seconds_left=left if left is None or left.high else None,
        hours=hours,
        budget_hours=manifest.budget_hours,
    )


def _failures(rows: Iterable[_Row]) -> tuple[Failure, ...]:
    alike: defaultdict[tuple[str, str], list[_Row]] = defaultdict(list)
    for row in rows:
        alike[row["study"], _NUMBER.sub("#", row["failure"])].append(row)
    found = []
    for (name, _), several in alike.items():
        newest = max(several, key=lambda row: str(row["created"]))
        found.append(Failure(name, len(several), newest["created"], newest["failure"]))
    return tuple(sorted(found, key=lambda failure: failure.newest, reverse=True))


def _hours(sweep: str, references: Iterable[Record], rows: SweepRows) -> dict[str, float]:
    hours: defaultdict[str, float] = defaultdict(float)
    for record in references:
        if record.sweep == sweep:
            hours[record.kind] += record.accelerator_hours
    if len(rows):
        for kind, each in zip(("unlearn", "measure"), rows.hours, strict=True):
            hours[kind] = float(np.cumsum(np.concatenate([[hours[kind]], each]))[-1])
    return dict(hours)


def _throughput(rows: SweepRows) -> Throughput:
    ended = rows.ended()
    if len(ended) < _FEWEST_FOR_A_RATE:
        return Throughput(None, None)
    # Timestamps are whole seconds.
    overall = (len(ended) - 1) * _HOUR / max(ended[-1] - ended[0], timedelta(seconds=1))
    now = datetime.now(UTC)
    lately = [each for each in ended if each > now - _HOUR]
    # A sweep that began less than an hour ago has run for less.
    hours = min(_HOUR, now - ended[0]) / _HOUR
    return Throughput(len(lately) / hours if lately else None, overall)


def _time_left(
    manifest: Manifest,
    studies: Iterable[StudyProgress],
    rows: SweepRows,
    records: Mapping[str, Record],
    spent: float,
    running: int,
) -> Span | None:
    """As of the last record or row; None while a kind of step still to run has no sample."""
    wanted = Counter(step.kind for step in manifest.references if step.key not in records)
    known = defaultdict(list)
    for record in records.values():
        known[record.kind].append(record.seconds)
    if not known.keys() >= wanted.keys():
        return None
    references = sum(count * fmean(known[kind]) for kind, count in wanted.items())
    trials = _seeds_left(manifest, studies, rows, spent)
    rate = _rate(rows.ended())
    if trials and rate is None:
        return None
    seconds = references / max(1, running) + (3600 * trials / rate if rate else 0.0)
    samples = min([len(rows)] * bool(trials) + [len(known[kind]) for kind in wanted] or [1])
    spread = 1 + _LEAST_SPREAD + 0.5 / math.sqrt(samples)
    return Span(seconds / spread, seconds * spread)


def _since(records: Mapping[str, Record], rows: SweepRows) -> float:
    """Seconds since the last record or row, by the clocks of both machines."""
    created = [datetime.fromisoformat(record.created) for record in records.values()]
    created += rows.newest()
    if not created:
        return 0.0
    return max(0.0, (datetime.now(UTC) - max(created)).total_seconds())


def _rate(ended: list[datetime]) -> float | None:
    """Rows per hour, in the hour up to the last row, so that it is stable between rows."""
    lately = [each for each in ended if each > ended[-1] - _HOUR]
    for times in (lately, ended):
        if len(times) >= _FEWEST_FOR_A_RATE:
            return (len(times) - 1) * _HOUR / max(times[-1] - times[0], timedelta(seconds=1))
    return None


def _seeds_left(
    manifest: Manifest, studies: Iterable[StudyProgress], rows: SweepRows, spent: float
) -> float:
    """Trials times seeds still to be run within the budget, including reports."""
    trials = sum(max(0, study.wanted - study.ended) for study in studies)
    ended = sum(study.ended for study in studies)
    tuned = rows.count("tuning")
    # A trial that is stopped early runs on fewer seeds.
    left = trials * (tuned / ended if ended else float(len(manifest.tuning)))
    costs = rows.costs[rows.costs != 0].tolist()
    if manifest.budget_hours is not None and costs:
        left = min(left, max(0.0, manifest.budget_hours - spent) * len(costs) / sum(costs))
    return left + sum(study.to_report - study.reported for study in studies)
