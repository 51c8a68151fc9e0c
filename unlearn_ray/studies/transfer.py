"""Where a search starts: points that were best elsewhere, read when a sweep is planned.

`search.start_from` names sweep files that search nothing, sweeps on stores, or points themselves.
Each source gives the studies of a method the configurations of its studies of that method: of a
file in its order, of a store the winners, those of the smallest score first. What does not lie in a
study's space is left out, and so is what came before. The points take the place of their source,
in the sweep and in the identities of its studies: where they came from does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlearn_ray.config.fields import field_nodes
from unlearn_ray.config.named_ranges import METHODS, expanded
from unlearn_ray.config.studies_file import read_studies
from unlearn_ray.config.sweep_schema import Point, Start, Study, Sweep
from unlearn_ray.config.yaml_file import read_tree
from unlearn_ray.core.errors import ConfigError, did_you_mean, without_secrets
from unlearn_ray.core.keys import canonical, plain
from unlearn_ray.core.schema import field_values
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.history import (
    hyperparameters_of,
    most_seeds,
    rows_by_trial,
    trial_record,
    winners,
)
from unlearn_ray.studies.rows import EXCESSES, FURTHER_SCORES
from unlearn_ray.studies.stored_rows import read_rows

_ENDINGS = (".yaml", ".yml")
_COLUMNS = (
    *("sweep", "purpose", "study_key", "study", "method", "trial", "point", "seed", "state"),
    *("failure", "score", *FURTHER_SCORES, *EXCESSES, "created", "hyperparameters"),
)
# A method's name, and the values of all its fields.
Configuration = tuple[str, Mapping[str, Any]]


def with_starts(sweep: Sweep) -> Sweep:
    """The sweep with points in place of the files and stores that `search.start_from` names.

    Raises:
        ConfigError: a source cannot be read, or has no point for any study.
        StoreError: a store cannot be read.
    """
    found: list[Start] = []
    seen: set[tuple[str, str]] = set()
    for start in sweep.search.start_from:
        if isinstance(start, str):
            points = [*_points(_configurations(start), sweep.studies)]
            if not points:
                raise ConfigError(
                    _subject(start),
                    "none of its configurations lies in the space of a study of the same method",
                    "widen a range, or remove it",
                )
        else:
            points = [*start.items()]
        for name, point in points:
            if (name, canonical(point)) not in seen:
                seen.add((name, canonical(point)))
                found.append({name: point})
    if tuple(found) == sweep.search.start_from:
        return sweep
    return replace(sweep, search=replace(sweep.search, start_from=tuple(found)))


def _points(
    configurations: Iterable[Configuration], studies: Iterable[Study]
) -> Iterator[tuple[str, Point]]:
    """The studies' points among some configurations."""
    each = [*configurations]
    for study in studies:
        for method, values in each:
            if method == study.method.name and study.space and study.space.keys() <= values.keys():
                point = study.searched(values)
                if study.has(point):
                    yield study.name, point


def _configurations(source: str) -> list[Configuration]:
    return _of_a_file(source) if source.endswith(_ENDINGS) else _of_a_store(source)


def _of_a_file(source: str) -> list[Configuration]:
    try:
        nodes = field_nodes(expanded(read_tree(Path(source))))
    except ConfigError as error:
        reason = f"{error.subject}: {error.reason}"
        raise ConfigError(_subject(source), reason, error.remedy) from None
    if METHODS not in nodes:
        raise ConfigError(_subject(source), "it has no methods", "name a sweep file")
    studies = [study for study in read_studies(nodes[METHODS]) if not study.space]
    return [(study.method.name, plain(field_values(study.at({})))) for study in studies]


def _of_a_store(source: str) -> list[Configuration]:
    """The winners of a sweep's studies, and their fronts, those of the smallest score first."""
    url, slash, sweep = source.rstrip("/").rpartition("/")
    if not slash or not url:
        raise ConfigError(
            _subject(source),
            "neither a .yaml file nor a sweep on a store",
            "write STORE/SWEEP, as in ./store/quickstart",
        )
    store = open_store(url)
    store.check_readable()
    rows = read_rows(store, columns=_COLUMNS).to_pylist()
    tuning = [row for row in rows if row["purpose"] == "tuning"]
    own = [row for row in tuning if row["sweep"] == sweep]
    if not own:
        reason = f"that store has no trials of a sweep {sweep}"
        known = {str(row["sweep"]) for row in tuning}
        raise ConfigError(_subject(source), reason, did_you_mean(sweep, known))
    found: list[tuple[float, str, list[Configuration]]] = []
    for key in dict.fromkeys(row["study_key"] for row in own):
        # Of any sweep that has the study.
        trials = rows_by_trial(row for row in tuning if row["study_key"] == key)
        seeds = most_seeds(trials.values())
        best = winners(trial_record(number, rows, seeds) for number, rows in trials.items())
        rows_of = [next(iter(trials[one.number].values())) for one in best]
        if best:
            each = [(row["method"], hyperparameters_of(row)) for row in rows_of]
            found.append((best[0].score, rows_of[0]["study"], each))
    return [one for *_, each in sorted(found, key=lambda of: of[:2]) for one in each]


def _subject(source: str) -> str:
    return f"search.start_from = {without_secrets(source)}"
