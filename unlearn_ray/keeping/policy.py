"""Which trials' models are kept, and so which artifacts of a store nobody needs.

The models of the reporting runs, of the reference models and of banks are always kept. Of the
tuning runs

    reporting   none are kept
    best        those of each study's winner, or of its whole Pareto front
    N           those of the best N trials of each study, its front first

Whatever is kept, its inputs and observations are, too. Small observations and the arrays of metrics
always stay: new metrics and attacks are computed from them, without any model. So do loss curves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from unlearn_ray.keeping.holdings import Holdings, Kept, keys_in
from unlearn_ray.monitor.manifest import tuning_seeds
from unlearn_ray.storage.curves import CURVES
from unlearn_ray.storage.objects import Entry
from unlearn_ray.studies.history import (
    Row,
    TrialRecord,
    most_seeds,
    rows_by_trial,
    trial_record,
    winners,
)
from unlearn_ray.studies.rows import State

Models = Literal["reporting", "best"] | int

_MODEL = "model.safetensors"
_OF_ANY_TRIAL = ("key_original", "key_retrained")


@dataclass(frozen=True)
class Needless:
    """An artifact that nothing kept needs.

    Attributes:
        record: of its step.
        files: those that may go and are in the store.
        whole: whether these are all that may go.
    """

    record: Kept
    files: tuple[Entry, ...]
    whole: bool

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(entry.size for entry in self.files)


def needless(
    holdings: Holdings,
    models: Models,
    *,
    running: Collection[str] = (),
    large: Collection[str] = (),
    sweep: str | None = None,
) -> list[Needless]:
    """The weights and large observations that nothing kept needs, in the order of their keys.

    Nothing goes that a running sweep may still ask for, that is, nothing that was made from one of
    its reference models: which points its trials will have, nobody knows.

    Args:
        holdings: of the store.
        models: which tuning runs' models are kept.
        running: the sweeps that run.
        large: the names of the quantities whose observations are large.
        sweep: only artifacts that this sweep refers to, and no other; None is any.
    """
    asked = {
        wanted.key
        for name in running
        if name in holdings.manifests
        for wanted in holdings.manifests[name].references
    }
    needed = holdings.closure(_roots(holdings, models)) | holdings.descendants(asked)
    found = []
    for key in sorted(_among(holdings, sweep) - needed):
        record = holdings.records[key]
        if _MODEL not in record.names and record.quantity not in large:
            continue
        going = [name for name in record.files if not name.endswith(f"/{CURVES}")]
        files = tuple(entry for entry in holdings.present(record) if entry.name in going)
        if files:
            found.append(Needless(record, files, len(files) == len(going)))
    return found


def _among(holdings: Holdings, sweep: str | None) -> frozenset[str]:
    if sweep is None:
        return frozenset(holdings.records)
    own = holdings.references.get(sweep, frozenset())
    return own.difference(*(keys for name, keys in holdings.references.items() if name != sweep))


def large_quantities() -> frozenset[str]:
    """The quantities whose observations are stored only where they are asked for."""
    from unlearn_ray.core.registry import parts
    from unlearn_ray.quantities.base import Quantity

    return frozenset(name for name, quantity in parts(Quantity).items() if not quantity.kept)


def _roots(holdings: Holdings, models: Models) -> Iterator[str]:
    """The keys of the steps whose artifacts are needed for themselves."""
    for manifest in holdings.manifests.values():
        yield from (wanted.key for wanted in manifest.references)
    kept = set(_kept_trials(holdings, models))
    for row in holdings.rows:
        yield from (str(row[column]) for column in _OF_ANY_TRIAL if row.get(column))
        if row["purpose"] != "tuning" or _trial(row) in kept:
            yield from keys_in(row)
    yield from (record.key for record in holdings.under_way())


_Trial = tuple[str, int, str]


def _trial(row: Row) -> _Trial:
    return row["study_key"], row["trial"], row["point"]


def _kept_trials(holdings: Holdings, models: Models) -> Iterator[_Trial]:
    """Study, number and point of the trials whose tuning runs are kept."""
    seeds = tuning_seeds(holdings.manifests)
    wanted: defaultdict[str, set[int]] = defaultdict(set)
    for manifest in holdings.manifests.values():
        for study in manifest.studies:
            wanted[study.key].add(study.trials)
    by_study: defaultdict[str, list[Row]] = defaultdict(list)
    for row in holdings.rows:
        if row["purpose"] == "tuning":
            by_study[row["study_key"]].append(row)
    for key, rows in by_study.items():
        by_number = rows_by_trial(rows)
        of_study = seeds.get(key) or most_seeds(by_number.values())
        trials = [trial_record(number, each, of_study) for number, each in by_number.items()]
        kept = {one.number for one in trials if _goes_on(one, wanted[key])}
        # Sweeps may want different numbers of trials of one study, and have different winners.
        for most in wanted[key] or {max(by_number) + 1}:
            kept |= _best([one for one in trials if one.number < most], models)
        yield from (_trial(next(iter(by_number[number].values()))) for number in kept)


def _goes_on(trial: TrialRecord, wanted: Iterable[int]) -> bool:
    return trial.state == State.UNFINISHED and any(trial.number < each for each in wanted)


def _best(trials: Collection[TrialRecord], models: Models) -> set[int]:
    if models == "reporting":
        return set()
    first = [trial.number for trial in winners(trials)]
    if models == "best":
        return set(first)
    complete = [trial for trial in trials if trial.state == State.COMPLETE]
    complete.sort(key=lambda trial: (trial.mark, trial.number))
    order = dict.fromkeys((*first, *(trial.number for trial in complete)))
    return set([*order][:models])
