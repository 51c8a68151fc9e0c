"""What the models of a table say of each sample, from stored observations: numpy alone.

An observation that is gone, or that was never kept, is a sentence and no error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from jaxtyping import Float64, Int64

from unlearn_ray.core.errors import CorruptObject, DataError, MissingObject
from unlearn_ray.core.runs import ORIGINAL, RETRAIN, Run
from unlearn_ray.evidence.confidence import confidence
from unlearn_ray.report.records import records
from unlearn_ray.storage import observations, tensors
from unlearn_ray.storage.curves import loss_curve

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_ray.quantities.base import SetName
    from unlearn_ray.reporting.table import Comparison, Line
    from unlearn_ray.storage.store import Record, Store

Given = TypeVar("Given")
Value = TypeVar("Value")
Row = Mapping[str, Any]
Arrays = Mapping[str, np.ndarray]

_MEASURED = "key_measure_"
# Replicates of a model that figures are made from.
MOST_RUNS = 5
# Probabilities are kept of the first samples of the forget set: distances are drawn of fewer.
MOST_SAMPLES = 1000
# Studies that figures show one beside the other.
MOST_STUDIES = 20
_READERS = 4


@dataclass(frozen=True)
class Source:
    """A stored observation of one model.

    Attributes:
        run: the model's.
        key: of the step that observed it.
        samples: key of the step that knows the samples' order.
    """

    run: Run
    key: str
    samples: str


@dataclass(frozen=True)
class Outputs:
    """What one model says of the samples of its split.

    Attributes:
        run: the model's.
        ids: of the samples of each set, among the training images or the test images.
        labels: their true classes.
        confidence: log p_y - log(1 - p_y) of the true class y, in nats.
        predicted: the likeliest class.
        probabilities: of the first `MOST_SAMPLES` of the forget set.
    """

    run: Run
    ids: Mapping[SetName, Int64[np.ndarray, " n"]]
    labels: Mapping[SetName, Int64[np.ndarray, " n"]]
    confidence: Mapping[SetName, Float64[np.ndarray, " n"]]
    predicted: Mapping[SetName, Int64[np.ndarray, " n"]]
    probabilities: Float64[np.ndarray, "first classes"]


@dataclass(frozen=True)
class Found(Generic[Value]):
    """What was found of a model's runs.

    Attributes:
        values: of those runs that have one, in the order of the runs.
        missing: why others have none.
    """

    values: tuple[Value, ...] = ()
    missing: tuple[str, ...] = ()


class Observations:
    """The observations of a table's models, read once, whichever figures ask for them.

    They are of one split, the first reporting seed's: samples of several splits do not compare.

    Args:
        store: that holds them.
        models: complete rows of the reporting runs, by name: `ORIGINAL`, `RETRAIN`, and each
            study's winner.
        more: how many studies' winners are not among them.
    """

    def __init__(self, store: Store, models: Mapping[str, pd.DataFrame], more: int = 0) -> None:
        self._store = store
        self._models = models
        self.more = more
        self._runs: dict[str, list[Row]] = {}
        self._outputs: dict[str, Found[Outputs]] = {}
        self._samples: dict[str, Mapping[SetName, Arrays]] = {}

    @property
    def studies(self) -> tuple[str, ...]:
        """The names of the unlearned models."""
        return tuple(name for name in self._models if name not in (ORIGINAL, RETRAIN))

    @cached_property
    def seed(self) -> int | None:
        """The split's; None if no row is complete."""
        unlearned = [int(seed) for name in self.studies for seed in self._models[name]["seed"]]
        every = [int(seed) for rows in self._models.values() for seed in rows["seed"]]
        return min(unlearned or every, default=None)

    def runs(self, model: str) -> list[Row]:
        """The rows of a model's first replicates of the split."""
        if model not in self._runs:
            self._runs[model] = self._read_runs(model)
        return self._runs[model]

    def _read_runs(self, model: str) -> list[Row]:
        rows = self._models.get(model)
        if rows is None or self.seed is None:
            return []
        own = rows[rows["seed"] == self.seed].sort_values("replicate")[:MOST_RUNS]
        return [*records(own)]

    def outputs(self, model: str) -> Found[Outputs]:
        """The outputs of a model's runs; nothing at all if no metric reads outputs."""
        if model not in self._outputs:
            self._outputs[model] = _each(self._read_outputs, self.sources(model, "outputs"))
        return self._outputs[model]

    def sources(self, model: str, quantity: str) -> Found[Source]:
        """Where a quantity of a model's runs was observed; nothing if no metric reads it."""
        role = f"model: {quantity}"
        metrics = (c for c, record in self._first_measures.items() if role in record.inputs)
        column = next(metrics, None)
        if column is None:
            return Found()

        def source(measured: tuple[Row, Record]) -> Source:
            row, record = measured
            keys = (record.inputs.get(name, "") for name in (role, "model: samples"))
            return Source(_run(row), *keys)

        return _each(source, self._measures(model, column))

    def ids(self, source: Source) -> Mapping[SetName, Int64[np.ndarray, " n"]]:
        """The samples of each set, among the training images or the test images.

        Raises:
            MissingObject: they were removed.
            CorruptObject: they were altered.
        """
        sets = self._sets("samples", source.samples)
        return {part: of_set["id"] for part, of_set in sets.items()}

    def measured_arrays(self, model: str, metric: str) -> Found[tuple[Run, Arrays]]:
        """The arrays that a metric of a model's runs left; nothing if it was not measured."""

        def read(measured: tuple[Row, Record]) -> tuple[Run, Arrays]:
            row, record = measured
            return _run(row), self._arrays_of(record)

        return _each(read, self._measures(model, f"{_MEASURED}{metric}"))

    def observed_arrays(
        self, model: str, quantity: str, most: int = MOST_RUNS
    ) -> Found[tuple[Run, Arrays]]:
        """The arrays of a quantity that are not per sample, of a model's first runs.

        Args:
            model: its name.
            quantity: its name.
            most: how many runs.
        """

        def read(source: Source) -> tuple[Run, Arrays]:
            return source.run, self._arrays_of(self._record("observe", source.key))

        sources = self.sources(model, quantity)
        return _each(read, Found(sources.values[:most], sources.missing))

    def curves(self, model: str, column: str) -> Found[pd.DataFrame]:
        """The loss curves of the step that left a model's first run; nothing if it has none.

        Args:
            model: its name.
            column: of the step's key in its rows.
        """
        keys = [row[column] for row in self.runs(model)[:1] if isinstance(row.get(column), str)]
        found = _each(lambda key: loss_curve(self._store, key), Found(tuple(keys)))
        return Found(tuple(each for each in found.values if len(each)), found.missing)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels; empty if no record says."""
        for row in (row for name in self._models for row in self.runs(name)):
            keys = [row.get("key_original"), row.get("key_retrained")]
            steps = [
                (kind, key)
                for kind in ("pretrain", "retrain", "bring")
                for key in keys
                if isinstance(key, str)
            ]
            for record in self._store.read_records(steps).values():
                names = record.result.get("class_names")
                if isinstance(names, list):
                    return tuple(map(str, names))
        return ()

    @cached_property
    def _first_measures(self) -> Mapping[str, Record]:
        """One record of each metric, by its column of keys: what it reads is the same for all."""
        first: dict[str, str] = {}
        for row in (row for name in self._models for row in self.runs(name)):
            for column, key in row.items():
                if column.startswith(_MEASURED) and isinstance(key, str):
                    first.setdefault(column, key)
        records = self._store.read_records(("measure", key) for key in first.values())
        return {column: records[key] for column, key in first.items() if key in records}

    def _measures(self, model: str, column: str) -> Found[tuple[Row, Record]]:
        """The records of a metric of a model's runs."""
        rows = [row for row in self.runs(model) if isinstance(row.get(column), str)]
        records = self._store.read_records(("measure", row[column]) for row in rows)
        there = [(row, records[row[column]]) for row in rows if row[column] in records]
        gone = [row for row in rows if row[column] not in records]
        return Found(
            tuple(there),
            tuple(f"{_told(_run(row))}: its measurement has no record" for row in gone),
        )

    def _read_outputs(self, source: Source) -> Outputs:
        logits = {
            part: of_set["value"] for part, of_set in self._sets("observe", source.key).items()
        }
        if source.samples not in self._samples:
            self._samples[source.samples] = self._sets("samples", source.samples)
        samples = self._samples[source.samples]
        labels = {part: of_set["label"] for part, of_set in samples.items()}
        sizes = ({part: len(of) for part, of in each.items()} for each in (logits, labels))
        if len({tuple(sorted(each.items())) for each in sizes}) > 1:
            raise CorruptObject(
                f"observe {source.key}",
                "it is of other samples",
                "delete its record, and run again",
            )
        return Outputs(
            run=source.run,
            ids={part: of_set["id"] for part, of_set in samples.items()},
            labels=labels,
            confidence={part: confidence(of, labels[part]) for part, of in logits.items()},
            predicted={part: of.argmax(axis=1) for part, of in logits.items()},
            probabilities=softmax(logits["forget"][:MOST_SAMPLES]),
        )

    def _sets(self, kind: str, key: str) -> Mapping[SetName, Arrays]:
        data = self._store.read_artifact(self._record(kind, key), observations.OBSERVED)
        return observations.unpack_arrays(data, f"{kind} {key}")

    def _arrays_of(self, record: Record) -> Arrays:
        return tensors.unpack_arrays(self._store.read_artifact(record, tensors.ARRAYS))

    def _record(self, kind: str, key: str) -> Record:
        record = self._store.record(kind, key)
        if record is None:
            raise MissingObject(f"{kind} {key}", "it was removed, or never kept", "run the sweep")
        return record


def observations_of(
    store: Store,
    comparison: Comparison | None,
    models: Mapping[str, pd.DataFrame],
    most: int | None,
) -> Observations:
    """The observations of a table's models: of a Pareto front its knee.

    Args:
        store: that holds them.
        comparison: the table; None if there are no rows.
        models: complete rows of its models' runs, by name.
        most: how many studies, those nearest to retraining; None is all.
    """
    if comparison is None:
        return Observations(store, {})
    lines = [line for line in comparison.lines if line.knee is not False and line.study in models]
    studies = [line for line in lines if line.study not in (ORIGINAL, RETRAIN)]
    nearest = {line.study for line in sorted(studies, key=_gap)[:most]}
    chosen = [RETRAIN, ORIGINAL, *(line.study for line in studies if line.study in nearest)]
    return Observations(store, {name: models[name] for name in chosen}, len(studies) - len(nearest))


def _gap(line: Line) -> float:
    return math.inf if line.mean_average_gap is None else line.mean_average_gap.mean


def softmax(logits: np.ndarray) -> Float64[np.ndarray, "n classes"]:
    """Probabilities, in float64."""
    shifted = logits.astype(np.float64)
    shifted = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def left_out(missing: Mapping[str, Iterable[str]], more: int = 0) -> str:
    """Sentences on what a figure lacks, each after a blank; empty if it lacks nothing.

    Args:
        missing: reasons, by the name of the model.
        more: how many studies are further from retraining than all that are shown.
    """
    named = [f"{name} ({'; '.join(reasons)})" for name, of in missing.items() if (reasons := [*of])]
    of_models = f" Left out: {', '.join(named)}." if named else ""
    of_studies = f" {more} studies further from retraining are left out." if more else ""
    return of_models + of_studies


def _each(read: Callable[[Given], Value], found: Found[Given]) -> Found[Value]:
    """What can be read of each, several at a time."""

    def attempt(given: Given) -> tuple[Value | None, str]:
        try:
            return read(given), ""
        except (MissingObject, CorruptObject, DataError) as error:
            return None, f"{error.subject}: {error.reason}"

    with ThreadPoolExecutor(_READERS) as readers:
        attempts = [*readers.map(attempt, found.values)]
    return Found(
        tuple(value for value, reason in attempts if not reason and value is not None),
        (*found.missing, *(reason for _, reason in attempts if reason)),
    )


def _run(row: Row) -> Run:
    return Run(int(row["seed"]), int(row["replicate"]))


def _told(run: Run) -> str:
    return f"seed {run.seed}" + (f", replicate {run.replicate}" if run.replicate else "")
