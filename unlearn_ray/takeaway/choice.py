"""Which model of a finished sweep to take: of a study's winner, or a reference model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unlearn_ray.core.errors import BadInput, did_you_mean, listed, shown
from unlearn_ray.core.runs import ORIGINAL, RETRAIN, Run
from unlearn_ray.storage.lookup import find_record
from unlearn_ray.storage.store import Record, Store

if TYPE_CHECKING:
    import pandas as pd

_KEY = {ORIGINAL: "key_original", RETRAIN: "key_retrained"}


@dataclass(frozen=True)
class Choice:
    """A model of a sweep.

    Attributes:
        sweep, study: where it is from; `study` may be `retrain` or `original`.
        row: of its run, without empty columns.
        line: the study's numbers over all runs, as `compare` has them.
        record: of the step that made it.
    """

    sweep: str
    study: str
    row: Mapping[str, Any]
    line: Mapping[str, Any]
    record: Record


def choose(
    store: Store,
    sweep: str,
    study: str | None = None,
    seed: int | None = None,
    replicate: int = 0,
) -> Choice:
    """The model of one run of a study.

    Args:
        store: that the sweep ran on.
        sweep: its name.
        study: its name, or its method's if one study has it; `retrain` and `original` are the
            reference models. None: the study with the smallest average gap, or the smallest
            mean score where nothing was retrained.
        seed: a reporting seed; None is the first with a model.
        replicate: of the seed.

    Raises:
        BadInput: there is no such sweep, study or run.
        StoreError: the store cannot be read.
    """
    from unlearn_ray.monitor.manifest import manifests, tuning_seeds
    from unlearn_ray.reporting.table import comparison, models_of

    rows, tuning = rows_of(store, sweep), tuning_seeds(manifests(store))
    models = models_of(rows, tuning)
    lines = comparison(rows, tuning=tuning).frame()
    name = _nearest(lines, models) if study is None else _named(study, models)
    row = _run(models[name], name, seed, replicate)
    key = row.get(_KEY.get(name, "key_unlearn"))
    if key is None:
        raise BadInput(f"study {name}", "its row names no model", "choose another run")
    line = lines[lines["study"] == name]
    numbers = _present(line.iloc[0]) if len(line) else {}
    return Choice(sweep, name, row, numbers, find_record(store, str(key)))


def rows_of(store: Store, sweep: str) -> pd.DataFrame:
    """The rows of a sweep.

    Raises:
        BadInput: it has none.
    """
    from unlearn_ray.studies.stored_rows import read_rows

    rows: pd.DataFrame = read_rows(store).to_pandas()
    known = sorted(set(rows["sweep"])) if len(rows) else []
    if sweep not in known:
        raise BadInput(
            f"sweep {shown(sweep)}", "has no rows in this store", did_you_mean(sweep, known)
        )
    return rows[rows["sweep"] == sweep]


def _named(given: str, models: Mapping[str, pd.DataFrame]) -> str:
    if given in models and len(models[given]):
        return given
    having = [name for name, rows in models.items() if given in set(rows["method"].dropna())]
    if len(having) == 1:
        return having[0]
    finished = [name for name, rows in models.items() if len(rows)]
    subject = f"study {shown(given)}"
    if having:
        raise BadInput(subject, "several studies run it", f"name one: {listed(having)}")
    raise BadInput(subject, "has no reported model in this sweep", did_you_mean(given, finished))


def _nearest(lines: pd.DataFrame, models: Mapping[str, pd.DataFrame]) -> str:
    gaps = (
        lines.set_index("study")["average_gap_of_means"]
        .drop(index=[*_KEY], errors="ignore")
        .dropna()
    )
    found = {name: gap for name, gap in gaps.items() if name in models}
    if not found:
        means = {name: rows["score"].mean() for name, rows in models.items() if name not in _KEY}
        found = {name: score for name, score in means.items() if not math.isnan(score)}
    if not found:
        finished = listed(name for name, rows in models.items() if len(rows)) or "none"
        raise BadInput(
            "the best study",
            "no study has a gap from retrained models, or a score",
            f"name one by --method; those with a model: {finished}",
        )
    return str(min(found, key=lambda name: found[name]))


def _run(rows: pd.DataFrame, study: str, seed: int | None, replicate: int) -> dict[str, Any]:
    wanted = rows[rows["replicate"] == replicate]
    wanted = wanted if seed is None else wanted[wanted["seed"] == seed]
    if not len(wanted):
        runs = sorted(
            Run(int(s), int(r)) for s, r in zip(rows["seed"], rows["replicate"], strict=True)
        )
        known = listed((f"seed {run.seed} replicate {run.replicate}" for run in runs), 10)
        asked = f"replicate {replicate}" if seed is None else f"seed {seed} replicate {replicate}"
        raise BadInput(asked, f"{study} has no model of this run", f"its runs are {known}")
    return _present(wanted.sort_values("seed").iloc[0])


def _present(row: pd.Series[Any]) -> dict[str, Any]:
    """The values that are there, as Python's own numbers."""
    values = {f"{name}": of.item() if hasattr(of, "item") else of for name, of in row.items()}
    return {
        name: of
        for name, of in values.items()
        if of is not None and not (isinstance(of, float) and math.isnan(of))
    }
