"""The winners of a sweep that a store keeps, as a sweep file that searches nothing.

It runs as any sweep. On the same store nothing is trained for it: a winner's method has the same
fields, so that its steps have the same keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import fmean
from typing import Any

from unlearn_ray.config.named_ranges import METHODS
from unlearn_ray.config.yaml_nodes import parse
from unlearn_ray.config.yaml_text import Comments, in_flow, yaml_text
from unlearn_ray.core.errors import BadInput, CorruptObject, listed
from unlearn_ray.core.runs import LONGEST_NAME
from unlearn_ray.core.words import counted
from unlearn_ray.monitor.kept_sweeps import KeptSweep
from unlearn_ray.storage.store import Store
from unlearn_ray.studies.history import (
    Row,
    TrialRecord,
    hyperparameters_of,
    rows_by_trial,
    trial_record,
    winners,
)
from unlearn_ray.studies.rows import MADE_ON_SEPARATOR, State
from unlearn_ray.studies.stored_rows import read_rows

_SUFFIX = "_winners"
_LONGEST = LONGEST_NAME - len(_SUFFIX)
_VERSION = "version_"


@dataclass(frozen=True)
class Winner:
    """A study's best complete trial so far, or one of its Pareto front.

    Attributes:
        trial: the trial.
        study: the name of its study.
        front: how many trials are on the front; 1 with one objective.
        complete, ended: how many trials of the study are complete, and have ended.
        hyperparameters: all fields of its method.
        rows: its rows on the reporting runs.
        revision: of the method, if its model is in the store.
    """

    trial: TrialRecord
    study: str
    front: int
    complete: int
    ended: int
    hyperparameters: Mapping[str, Any]
    rows: Sequence[Row]
    revision: int | None


def winners_text(kept: KeptSweep, store: Store, *, release: bool = False) -> str:
    """The sweep with every study's searched fields fixed to its winner's values.

    Args:
        kept: the sweep.
        store: that it ran on.
        release: whether it is for others, whose store is another one.

    Raises:
        BadInput: no study has a complete trial.
    """
    values: dict[str, Any] = parse(kept.yaml, f"the kept file of {kept.name}", "").plain
    found = {name: _winners(kept, name, values, store) for name in kept.studies}
    if not any(found.values()):
        raise BadInput(f"sweep {kept.name}", "no study has a complete trial", "run the sweep")
    best = _named(found)
    studies, values[METHODS] = values[METHODS], {}
    for name, one in best.items():
        method = kept.studies[one.study].method
        fields = studies[one.study]
        fields = {**(fields if one.study == method else fields[method]), **one.hyperparameters}
        values[METHODS][name] = fields if name == method else {method: fields}
    above: Comments = {(METHODS, name): _notes(kept, one, values) for name, one in best.items()}
    head = _head(kept, best, [name for name in found if not found[name]], values)
    values["name"] = kept.name[:_LONGEST] + _SUFFIX
    values["search"].pop("start_from", None)
    if release:
        del values["store"]
    return yaml_text(values, head, above)


def file_name(kept: KeptSweep) -> str:
    """The name of a released file: `<dataset>-<family>-<forget set>.yaml`.

    For example `digits-supervised-classes-7.yaml`.
    """
    values = parse(kept.yaml, f"the kept file of {kept.name}", "").plain
    dataset, family = (_part(values[field])[0] for field in ("dataset", "family"))
    name, fields = _part(values["forget_set"])
    said = (in_flow(value) for value in fields.values() if value is not None)
    words = re.findall(r"[A-Za-z0-9_.]+", " ".join((dataset, family, name, *said)))
    return f"{'-'.join(words)[:120]}.yaml"


def _part(value: Any) -> tuple[str, Mapping[str, Any]]:
    """A part's name and fields, as `sweep_text` writes them."""
    if isinstance(value, str):
        return value, {}
    ((name, fields),) = value.items()
    return name, fields


def _named(found: Mapping[str, Sequence[Winner]]) -> dict[str, Winner]:
    """The winners by the names of their studies; the others of a front are numbered from 2 on."""
    named: dict[str, Winner] = {}
    for name, members in found.items():
        numbers = count(2)
        for one in members:
            free = (f"{name}_{number}" for number in numbers)
            own = name if one is members[0] else next(n for n in free if n not in found)
            named[own] = one
    return named


def _winners(kept: KeptSweep, name: str, values: Mapping[str, Any], store: Store) -> list[Winner]:
    """A study's winner, and the other members of its front."""
    study = kept.studies[name]
    rows = read_rows(store, f"{study.key}/").to_pylist()
    wanted = values["search"]["trials"] if study.searched else 1
    by_trial = {n: own for n, own in rows_by_trial(rows).items() if n < wanted}
    seeds = tuple(values["seeds"]["tuning"])
    trials = [trial_record(number, own, seeds) for number, own in by_trial.items()]
    best = winners(trials)
    rows_of = {one.number: next(iter(by_trial[one.number].values())) for one in best}
    return [
        Winner(
            one,
            name,
            front=len(best),
            complete=sum(trial.state == State.COMPLETE for trial in trials),
            ended=sum(trial.state != State.UNFINISHED for trial in trials),
            hyperparameters=_hyperparameters(name, rows_of[one.number], study.searched),
            rows=_reported(kept, rows, rows_of[one.number]),
            revision=_revision(rows_of[one.number], store),
        )
        for one in best
    ]


def _reported(kept: KeptSweep, rows: Sequence[Row], of: Row) -> list[Row]:
    """The rows of a trial's reporting runs for this sweep."""
    same = ("trial", "point")
    reported = [
        row
        for row in rows
        if (row["purpose"], row["sweep"]) == ("reporting", kept.name)
        and all(row[column] == of[column] for column in same)
    ]
    return sorted(reported, key=lambda row: (row["seed"], row["replicate"]))


def _hyperparameters(name: str, row: Row, searched: Sequence[str]) -> Mapping[str, Any]:
    values = hyperparameters_of(row)
    missing = [field for field in searched if field not in values]
    if missing:
        raise CorruptObject(
            f"row of trial {row['trial']} of {name}",
            f"its hyperparameters lack {listed(missing)}",
            "delete the row and run the sweep again",
        )
    return {field: values[field] for field in searched}


def _revision(row: Row, store: Store) -> int | None:
    record = store.record("unlearn", row["key_unlearn"]) if row.get("key_unlearn") else None
    method = record.config.get("method") if record is not None else None
    return method.get("revision") if isinstance(method, dict) else None


def _head(
    kept: KeptSweep,
    winners: Mapping[str, Winner],
    without: Sequence[str],
    values: Mapping[str, Any],
) -> list[str]:
    """Where all of it comes from."""
    seeds = values["seeds"]
    rows = [row for one in winners.values() for row in one.rows]
    machines = {part for row in rows for part in _machines(row)}
    versions = {
        f"{column.removeprefix(_VERSION)} {value}"
        for row in rows
        for column, value in row.items()
        if column.startswith(_VERSION) and value is not None
    }
    lines = [
        f"The winners of sweep {kept.name}: nothing is searched, and the file runs as any other.",
        f"Chosen by {in_flow(values['objective'])} on tuning seeds {listed(seeds['tuning'])},"
        f" version {kept.key} of its file, last started {kept.started[:19]}Z,"
        f" unlearn_ray {kept.version}.",
    ]
    if machines:
        lines.append(f"Made on: {'; '.join(sorted(machines))}.")
    if versions:
        lines.append(f"With: {', '.join(sorted(versions))}.")
    if without:
        lines.append(f"Without a complete trial, and left out: {listed(without, 20)}.")
    return lines


def _machines(row: Row) -> list[str]:
    return (row.get("made_on") or "").split(MADE_ON_SEPARATOR) if row.get("made_on") else []


def _notes(kept: KeptSweep, one: Winner, values: Mapping[str, Any]) -> list[str]:
    """Where one study's values come from."""
    study = kept.studies[one.study]
    if study.searched:
        wanted = values["search"]["trials"]
        unfinished = "" if one.ended >= wanted else f"; {wanted - one.ended} not run yet"
        chosen = f"trial {one.trial.number} of {wanted}, {one.complete} complete{unfinished}"
        if one.front > 1:
            chosen += f"; on a front of {one.front} of {one.study}"
    else:
        chosen = "nothing searched"
    revision = "" if one.revision is None else f", revision {one.revision}"
    scores = ", ".join(f"{score:.4g}" for score in one.trial.mark[1:])
    lines = [f"{chosen}; score {scores}; study {study.key}{revision}"]
    gaps = [row["average_gap"] for row in one.rows if row.get("average_gap") is not None]
    if gaps:
        seeds = listed(dict.fromkeys(row["seed"] for row in one.rows))
        runs = counted(len(gaps), "run")
        lines.append(f"average gap {fmean(gaps):.2f} points, mean of {runs} on seeds {seeds}")
    return lines
