"""One trial, or a study's winner, for `results show`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from unlearn_ray.cli.shown import Shown
from unlearn_ray.core.errors import BadInput, did_you_mean, shown
from unlearn_ray.core.words import counted

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_ray.storage.store import Store
    from unlearn_ray.studies.history import TrialRecord

_KEY = "key_"
_RUN = ("purpose", "seed", "replicate")
_OF_A_RUN = (*_RUN, "state", "score", "average_gap", "unlearning_compute_seconds", "failure")


def shown_trial(what: str, store: Store) -> Shown:
    """A trial, or the best complete trial of a study.

    Args:
        what: SWEEP/STUDY or SWEEP/STUDY/TRIAL.
        store: that has it.

    Raises:
        BadInput: there is none.
    """
    sweep, _, rest = what.partition("/")
    name, _, number = rest.partition("/")
    key, rows, seeds = _study(sweep, name, store)
    trials, seeds = _trials(rows, seeds)
    if not trials:
        raise BadInput(shown(what), "the study has no trial yet", "run the sweep first")
    trial = _best(trials, what) if not number else _numbered(number, trials)
    own = rows[(rows["trial"] == trial.number) & (rows["purpose"] != "score")]
    first = own.iloc[0]
    facts: dict[str, Any] = {
        "sweep": sweep,
        "study": name,
        "study key": key,
        "method": first["method"],
        "trial": f"{trial.number} of {len(trials)}" + ("" if number else ", the best"),
        "point": first["point"],
        "state": str(trial.state),
        "reason": _reason(trial, seeds),
        "mean score": trial.score,
        "objective": first["objective"],
        **_hyperparameters(first["hyperparameters"]),
        **{name: first[name] for name in ("dataset", "forget_set", "family", "model")},
    }
    facts = {name: value for name, value in facts.items() if value not in ("", None)}
    return Shown(facts, {"run": _runs(own), "step": _keys(own)})


def _study(sweep: str, name: str, store: Store) -> tuple[str, pd.DataFrame, tuple[int, ...]]:
    """The key of a study, its rows of whichever sweep, and its tuning seeds."""
    from unlearn_ray.monitor.manifest import manifests, tuning_seeds
    from unlearn_ray.studies.stored_rows import read_rows

    rows: pd.DataFrame = read_rows(store).to_pandas()
    told = manifests(store)
    known = {each.name: each.key for each in getattr(told.get(sweep), "studies", ())}
    if len(rows):  # of a sweep whose manifest is gone, the newest study of this name
        of_sweep = rows[(rows["sweep"] == sweep) & (rows["study_key"] != "")]
        newest = of_sweep.sort_values("created").groupby("study")["study_key"].last()
        known = {**newest.to_dict(), **known}
    if not known:
        sweeps = {*told, *(rows["sweep"] if len(rows) else ())}
        raise BadInput(f"sweep {shown(sweep)}", "is not in this store", did_you_mean(sweep, sweeps))
    if name not in known:
        subject = f"study {shown(name)}"
        raise BadInput(subject, f"sweep {sweep} has none of this name", did_you_mean(name, known))
    key = known[name]
    own = rows[rows["study_key"] == key] if len(rows) else rows
    return key, own, tuning_seeds(told).get(key, ())


def _trials(
    rows: pd.DataFrame, seeds: tuple[int, ...]
) -> tuple[list[TrialRecord], tuple[int, ...]]:
    """The trials, and the tuning seeds, which no manifest may name."""
    from unlearn_ray.studies.history import most_seeds, rows_by_trial, trial_record

    listed = [{f"{name}": of for name, of in row.items()} for row in rows.to_dict("records")]
    by_trial = rows_by_trial(listed)
    wanted = seeds or most_seeds(by_trial.values())
    return [trial_record(number, of, wanted) for number, of in by_trial.items()], wanted


def _best(trials: list[TrialRecord], what: str) -> TrialRecord:
    from unlearn_ray.studies.history import winner

    best = winner(trials)
    if best is None:
        numbers = did_you_mean("", (str(trial.number) for trial in trials))
        raise BadInput(shown(what), "the study has no complete trial yet", f"name one: {numbers}")
    return best


def _numbered(text: str, trials: list[TrialRecord]) -> TrialRecord:
    for trial in trials:
        if str(trial.number) == text:
            return trial
    numbers = (str(trial.number) for trial in trials)
    raise BadInput(f"trial {shown(text)}", "the study has none", did_you_mean(text, numbers))


def _reason(trial: TrialRecord, seeds: tuple[int, ...]) -> str:
    if trial.failure is not None:
        return trial.failure
    done = f"{len(trial.scores)} of {counted(len(seeds), 'tuning seed')}"
    words = {
        "complete": f"ran on {done}",
        "stopped": f"clearly worse than others after {done}",
        "unfinished": f"ran on {done} so far",
    }
    return words.get(str(trial.state), "")


def _hyperparameters(text: Any) -> Mapping[str, Any]:
    from unlearn_ray.config.yaml_tree import in_yaml
    from unlearn_ray.storage.stored import json_value

    try:
        values = json_value(str(text))
        return {f"hyperparameter {name}": in_yaml(value) for name, value in values.items()}
    except (ValueError, AttributeError):
        return {"hyperparameters": f"{text}"}


def _runs(rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each run, tuning first."""
    ordered = rows.sort_values(["purpose", *_RUN[1:]], ascending=[False, True, True])
    kept = [name for name in _OF_A_RUN if name in ordered and ordered[name].notna().any()]
    return ordered[kept].reset_index(drop=True)


def _keys(rows: pd.DataFrame) -> pd.DataFrame:
    """The keys of the steps behind each run."""
    import pandas as pd

    lines = [
        [*(row[name] for name in _RUN), column.removeprefix(_KEY), row[column]]
        for row in rows.to_dict("records")
        for column in rows.columns
        if column.startswith(_KEY) and isinstance(row[column], str)
    ]
    return pd.DataFrame(lines, columns=[*_RUN, "step", "key"]).sort_values(
        [*_RUN], ascending=[False, True, True], kind="stable", ignore_index=True
    )
