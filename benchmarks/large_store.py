"""A store of many finished trials, made without training: its numbers are drawn at random.

Its rows come from the functions that write any sweep's rows and tables, and are merged as those of
a sweep. Beyond the first trials of a study they are those again, with other values. There are
several sweeps of equal studies: each trial has three tuning seeds unless it was stopped or failed,
each winner and reference model ten reporting runs. The store also holds the sweeps' manifests,
their reference steps' records, and as many records of other steps as wanted.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.core.runs import ORIGINAL, RETRAIN, Run
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.storage.records import Record
from unlearn_ray.storage.row_tables import NAME, VERSION
from unlearn_ray.storage.row_tables import to_bytes as table_bytes
from unlearn_ray.storage.row_versions import COMPACTED, SUFFIX
from unlearn_ray.storage.store import Store
from unlearn_ray.studies.plan import make_plan, reference_steps
from unlearn_ray.studies.rows import (
    Hours,
    Keys,
    Origin,
    Purpose,
    Scalar,
    Seconds,
    State,
    Subject,
    row,
)
from unlearn_ray.studies.study import point_key, reference_row_name, row_name, study_key
from unlearn_ray.train.compute import Machine

STUDIES = 20
_METHODS = ("finetune", "gradient_ascent", "random_label", "neggrad")
_STATES = (State.COMPLETE, State.STOPPED, State.FAILED)
_SHARES = (0.55, 0.43, 0.02)
_MACHINE = Machine("cpu: a model", 1, "AVX512")
_VERSIONS = {"unlearn_ray": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6", "ray": "2.60.0"}
# Trials of a study whose rows are made one by one, which takes a millisecond for each.
_DRAWN = 100
_BEGUN = datetime(2026, 1, 1, tzinfo=UTC)

Row = dict[str, Scalar]


@dataclass(frozen=True)
class Made:
    """What was made.

    Attributes:
        files: the sweeps' files.
        rows: in the store.
        records: in the store.
    """

    files: list[Path]
    rows: int
    records: int


def sweep_file(number: int, trials: int, studies: int = STUDIES) -> str:
    """The text of one of several sweeps, which differ in the search's seed."""
    lines = [
        f"  {method}_{study:02d}: {{{method}: {{epochs: {1 + study}, "
        "learning_rate: {log_uniform: [1e-4, 1e-1]}, momentum: {uniform: [0.0, 0.99]}}}"
        for study in range(studies)
        for method in [_METHODS[study % len(_METHODS)]]
    ]
    return "\n".join(
        [
            f"name: sweep_{number}",
            "dataset: {digits: {image_size: 8}}",
            "validation: 0.1",
            "forget_set: {random: {fraction: 0.1}}",
            "model: {resnet8: {width: 8}}",
            "family: supervised",
            "training: {epochs: 15, batch_size: 64, learning_rate: 0.05}",
            "metrics: [retain_accuracy, test_accuracy, forget_accuracy, cmia_efficacy,"
            " activation_distance]",
            "methods:",
            *lines,
            f"search: {{trials: {trials}, seed: {number}}}",
            "seeds: {tuning: [0, 1, 2], reporting: [3, 4], replicates: 5}",
            "",
        ]
    )


def fill(
    store: Store,
    folder: Path,
    rows: int,
    *,
    sweeps: int = 5,
    studies: int = STUDIES,
    records: int = 0,
    small: bool = False,
) -> Made:
    """Fill a store.

    Args:
        store: an empty one.
        folder: for the sweeps' files.
        rows: about how many.
        sweeps: how many.
        studies: of each sweep.
        records: how many, besides those of the reference steps.
        small: whether each row has a file of its own; else all are in one.
    """
    mean_seeds = float(np.dot(_SHARES, (3, 1, 1)))
    trials = max(1, round(rows / (sweeps * studies * mean_seeds)))
    files, written = [], 0
    for number in range(sweeps):
        file = folder / f"sweep_{number}.yaml"
        file.write_text(sweep_file(number, trials, studies), encoding="utf-8")
        files.append(file)
        sweep = load_sweep(file, [f"store={store.url}"])
        announce(make_plan(sweep, store), store)
        for study in sweep.studies:
            written += _write(store, _study_table(sweep, study, trials), small=small)
        written += _write(store, _table(_reference_rows(sweep)), small=small)
        _write_reference_records(store, sweep)
    if not small:
        store.compact()
    for number in range(records):
        store.complete(_record(("unlearn", "observe", "measure")[number % 3], f"{number:016x}"))
    return Made(files, written, records)


def _write(store: Store, rows: pa.Table, *, small: bool) -> int:
    if small:
        for row in rows.drop([VERSION]).to_pylist():
            store.write_row(row.pop(NAME), row)
    else:
        name = f"{COMPACTED}{uuid.uuid4().hex}{SUFFIX}"
        store.objects.write(name, table_bytes(rows))
    written: int = rows.num_rows
    return written


def _table(named: Iterable[tuple[str, Row]]) -> pa.Table:
    rows = list(named)
    columns = dict.fromkeys(column for _, row in rows for column in row)
    return pa.Table.from_pylist(
        [
            {NAME: name, VERSION: 1, **{column: row.get(column) for column in columns}}
            for name, row in rows
        ]
    )


def _study_table(sweep: Sweep, study: Study, trials: int) -> pa.Table:
    """The rows of a study; beyond the first trials they are those again, a little different."""
    first = _table(_rows_of_a_study(sweep, study, min(trials, _DRAWN)))
    tuning = first.filter(pc.equal(first["purpose"], "tuning"))
    tables = [first]
    for begin in range(_DRAWN, trials, _DRAWN):
        few = tuning.filter(pc.less(tuning["trial"], trials - begin))
        tables.append(_again(few, begin))
    return pa.concat_tables(tables)


def _again(rows: pa.Table, begin: int) -> pa.Table:
    """The same trials with numbers from `begin`, other points and somewhat worse values."""
    frame = rows.to_pandas()
    frame["trial"] += begin
    points = {point: point_key({"again": begin, "of": point}) for point in set(frame["point"])}
    frame["point"] = frame["point"].map(points)
    frame[NAME] = [
        f"{study}/{sweep}/tuning-{trial:06d}-{point}-{seed}-0"
        for study, sweep, trial, point, seed in zip(
            *(frame[name] for name in ("study_key", "sweep", "trial", "point", "seed")),
            strict=True,
        )
    ]
    worse = np.random.default_rng(begin).uniform(1.01, 1.1, len(frame))
    for name in rows.schema.names:
        if pa.types.is_floating(rows.schema.field(name).type):
            frame[name] *= worse
    return pa.Table.from_pandas(frame, rows.schema, preserve_index=False)


def _rows_of_a_study(sweep: Sweep, study: Study, trials: int) -> Iterator[tuple[str, Row]]:
    """Its tuning rows, and those of the best trial on the reporting runs."""
    drawn = np.random.default_rng([sweep.search.seed, len(study.name), *study.name.encode()])
    key = study_key(sweep, study)
    best: tuple[float, int, dict[str, float]] | None = None
    for number in range(trials):
        point = {
            "learning_rate": float(10 ** drawn.uniform(-4, -1)),
            "momentum": float(drawn.uniform(0, 0.99)),
        }
        # The first is complete, so that each study has a winner.
        state = State(drawn.choice(_STATES, p=_SHARES)) if number else State.COMPLETE
        seeds = sweep.seeds.tuning if state == State.COMPLETE else sweep.seeds.tuning[:1]
        scores = []
        for seed in seeds:
            made = _row(sweep, study, key, "tuning", number, point, Run(seed), state, drawn)
            scores.append(float(made["score"] or 0))
            yield row_name(key, sweep.name, "tuning", number, point, seed), made
        if state == State.COMPLETE:
            mean = float(np.mean(scores))
            best = (mean, number, point) if best is None else min(best, (mean, number, point))
    assert best is not None
    _, number, point = best
    for run in sweep.seeds.runs:
        name = row_name(key, sweep.name, "reporting", number, point, *run)
        yield name, _row(sweep, study, key, "reporting", number, point, run, State.COMPLETE, drawn)


def _reference_rows(sweep: Sweep) -> Iterator[tuple[str, Row]]:
    drawn = np.random.default_rng(sweep.search.seed)
    for name in (RETRAIN, ORIGINAL):
        for run in sweep.seeds.runs:
            made = _row(sweep, name, "", "reference", -1, {}, run, State.COMPLETE, drawn)
            yield reference_row_name(sweep, name, *run), made


def _row(
    sweep: Sweep,
    study: Study | str,
    key: str,
    purpose: Purpose,
    number: int,
    point: dict[str, float],
    run: Run,
    state: State,
    drawn: np.random.Generator,
) -> Row:
    """One row, of numbers that are drawn."""
    metrics = sweep.scored_by if purpose == "tuning" else sweep.metrics
    columns = [column for metric in metrics for column in metric.columns]
    away = float(drawn.exponential(5)) if isinstance(study, Study) else 0.0
    values = {c: float(drawn.normal(80 - away, 1)) for c in columns}
    seconds = float(drawn.uniform(1, 9))
    failed = state == State.FAILED
    is_study = isinstance(study, Study)
    made_at = _BEGUN + timedelta(seconds=10 * number + run.seed)
    return row(
        Subject(
            sweep=sweep.name,
            study_key=key,
            purpose=purpose,
            study=study.name if isinstance(study, Study) else study,
            trial=number,
            seed=run.seed,
            replicate=run.replicate,
            point=point_key(point) if is_study else "",
            hyperparameters=study.at(dict(point)) if isinstance(study, Study) else None,
        ),
        sweep.setting,
        metrics,
        sweep.objective,
        state=state,
        failure=f"loss is not finite after {number} iterations" if failed else None,
        values=None if failed else values,
        reference=None if failed else _retrained(columns, run),
        seconds=Seconds() if failed else Seconds(seconds if is_study else None, 30.0, 0.5),
        hours=Hours(seconds / 3600, 0.5 / 3600) if is_study else Hours(),
        keys=Keys(
            unlearn=f"{drawn.integers(2**63):016x}" if is_study else None,
            original=None if study == RETRAIN else f"0{run.seed:07x}{run.replicate:08x}",
            retrained=f"1{run.seed:07x}{run.replicate:08x}",
            measured={}
            if failed
            else {f"key_measure_{m.name}": f"{drawn.integers(2**63):016x}" for m in metrics},
        ),
        origin=Origin(
            _MACHINE,
            frozenset({_MACHINE}),
            f"node{number % 16:02d}",
            _VERSIONS,
            made_at.isoformat(timespec="seconds"),
        ),
    )


def _retrained(columns: Sequence[str], run: Run) -> dict[str, float]:
    """The retrained model's values of a run, the same in every row."""
    drawn = np.random.default_rng([run.seed, run.replicate])
    return {column: float(drawn.normal(80, 1)) for column in columns}


def _write_reference_records(store: Store, sweep: Sweep) -> None:
    runs = (*sweep.seeds.tuning_runs, *sweep.seeds.runs)
    steps = {step.key: step for run in runs for step in reference_steps(sweep, *run)}
    there = store.kinds()
    for key, step in steps.items():
        if key not in there:
            store.complete(_record(step.name, key, sweep.name))


def _record(kind: str, key: str, sweep: str = "") -> Record:
    """A step's record, as large as one of a trial."""
    return Record(
        kind=kind,
        key=key,
        config={"kind": kind, "revision": 1, "inputs": {"model": key}},
        inputs={"model": key},
        files={},
        result={"values": {"test_accuracy": 80.0}},
        seconds=1.0,
        created=_BEGUN.isoformat(timespec="seconds"),
        versions=_VERSIONS,
        host="node00",
        sweep=sweep,
        row="",
        workers=1,
        accelerators=1.0,
        earlier_seconds=0.0,
    )
