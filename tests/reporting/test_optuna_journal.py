"""The journal, read by Optuna itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.importance import get_param_importances
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from tests.results.searches import ADAM, SGD, one_objective, two_objectives
from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.core.ranges import Range, choice
from unlearn_ray.monitor.manifest import manifests, tuning_seeds
from unlearn_ray.reporting.optuna_journal import Journal, distribution, journal
from unlearn_ray.reporting.ranking import best_trials
from unlearn_ray.storage.store import Store
from unlearn_ray.studies.stored_rows import read_rows


def of_store(store: Store) -> Journal:
    rows = read_rows(store).to_pandas()
    identities = store.study_identities(set(rows["study_key"]))
    return journal(rows, identities, tuning_seeds(manifests(store)))


def studies(made: Journal, folder: Path) -> dict[str, optuna.Study]:
    (folder / "studies.log").write_bytes(made.data)
    storage = JournalStorage(JournalFileBackend(str(folder / "studies.log")))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


def test_trials_have_what_the_rows_say(tmp_path: Path) -> None:
    made = of_store(one_objective(tmp_path))
    found = studies(made, tmp_path)
    assert list(found) == ["one/finetune", "one/fixed"]
    assert (dict(made.trials), made.unfinished) == ({"one/finetune": 3, "one/fixed": 1}, 1)
    assert (made.without_ranges, made.notes) == ((), ())
    study = found["one/finetune"]
    assert [one.name for one in study.directions] == ["MINIMIZE"]
    assert study.metric_names == ["average_gap"]
    assert study.user_attrs["tuning_seeds"] == [1, 0]
    assert study.user_attrs["dataset"] == "digits"

    complete, stopped, failed = study.trials
    assert [one.state for one in study.trials] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
    ]  # fmt: skip
    assert complete.params == SGD
    assert complete.value == 1.5
    assert complete.intermediate_values == {0: 1.0, 1: 2.0}  # in the order of the seeds
    attributes = complete.user_attrs
    assert (attributes["trial"], attributes["seeds"]) == (0, [1, 0])
    assert attributes["keys"] == {"0": "0-0", "1": "0-1"}
    assert attributes["test_accuracy"] == 79.5  # 81 and 78
    assert attributes["test_accuracy_gap"] == 1.5
    assert attributes["accelerator_hours"] == 2 * 0.375
    assert attributes["fixed"].keys().isdisjoint(SGD)
    # 1.5 s of unlearning before the first model was there.
    assert complete.datetime_start is not None
    assert complete.datetime_complete is not None
    start, end = (
        at.astimezone(UTC) for at in (complete.datetime_start, complete.datetime_complete)
    )
    assert start == datetime(2025, 12, 31, 23, 59, 58, 500_000, UTC)
    assert end == datetime(2026, 1, 2, tzinfo=UTC)

    assert stopped.user_attrs["trial"] == 2  # the one before it has not ended
    assert stopped.params == ADAM  # nothing is searched of momentum where Adam is chosen
    assert stopped.user_attrs["fixed"]["momentum"] == 0.0
    assert (stopped.value, stopped.intermediate_values) == (30.0, {0: 30.0})
    assert (failed.value, failed.intermediate_values) == (None, {0: 3.0})
    assert failed.user_attrs["failure"] == "loss <b>became</b> NaN"
    assert found["one/fixed"].best_trial.params == {}


def test_ranges_are_those_that_were_searched(tmp_path: Path) -> None:
    (trial, *_) = studies(of_store(one_objective(tmp_path)), tmp_path)["one/finetune"].trials
    assert trial.distributions == {
        "batch_size": IntDistribution(32, 128, step=32),
        "epochs": IntDistribution(1, 64, log=True),
        "learning_rate": FloatDistribution(0.001, 0.1, log=True),
        "momentum": FloatDistribution(0.5, 0.9, step=0.1),
        "optimizer": CategoricalDistribution(["sgd", "adam"]),
        "weight_decay": CategoricalDistribution([0.0, 0.0001, 0.01]),
    }


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (choice((1, 2), "all", None), CategoricalDistribution(["[1,2]", "all", None])),
        (Range("grid", choices=(1, 10, 100)), CategoricalDistribution([1, 10, 100])),
        (Range("uniform", 0, 1), FloatDistribution(0.0, 1.0)),
    ],
)
def test_optuna_takes_single_values_alone(of: Range, expected: BaseDistribution) -> None:
    assert distribution(of) == expected


def test_several_objectives_and_constraints(tmp_path: Path) -> None:
    study = studies(of_store(two_objectives(tmp_path)), tmp_path)["two/finetune"]
    assert study.metric_names == ["average_gap", "unlearning_seconds"]
    assert [trial.values for trial in study.trials] == [[1.0, 9.0], [5.0, 1.0]]
    assert [trial.constraints for trial in study.trials] == [{"0": -1.0}, {"0": 3.0}]
    assert [trial.intermediate_values for trial in study.trials] == [{}, {}]
    assert study.trials[0].user_attrs["scores"] == {"0": [1.0, 9.0]}
    # Both are on the front, and the second breaks the constraint.
    assert [trial.number for trial in study.best_trials] == [0]


def test_optuna_finds_our_winner_and_goes_on_from_there(tmp_path: Path) -> None:
    store = one_objective(tmp_path)
    found = studies(of_store(store), tmp_path)
    for row in best_trials(read_rows(store).to_pandas()).to_dict("records"):
        study = found[f"{row['sweep']}/{row['study']}"]
        assert study.best_trial.user_attrs["trial"] == row["trial"]
        assert study.best_value == row["score"]
    study = found["one/finetune"]
    study.sampler = optuna.samplers.TPESampler(seed=0, n_startup_trials=1)
    asked = study.ask(study.trials[0].distributions)
    study.tell(asked, 0.5)
    assert set(get_param_importances(study)) <= set(SGD)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    store = one_objective(tmp_path)
    assert of_store(store).data == of_store(store).data


def test_without_its_ranges_a_study_has_attributes_alone(tmp_path: Path) -> None:
    rows = read_rows(one_objective(tmp_path)).to_pandas()
    made = journal(rows, {})
    assert made.without_ranges == ("one/finetune", "one/fixed")
    (trial, *_) = studies(made, tmp_path)["one/finetune"].trials
    assert trial.params == {}
    assert SGD.items() <= trial.user_attrs["fixed"].items()


def test_values_that_were_never_searched_are_refused(tmp_path: Path) -> None:
    store = one_objective(tmp_path)
    rows = read_rows(store).to_pandas()
    identities = store.study_identities(set(rows["study_key"]))
    for old, new in (('"epochs":8', '"epochs":128'), ('"epochs":8,', "")):
        wrong = rows.assign(hyperparameters=rows["hyperparameters"].str.replace(old, new))
        with pytest.raises(CorruptObject, match=r"trial 0 of finetune: its hyp.*epochs"):
            journal(wrong, identities)


def test_the_newest_study_of_a_name_is_taken(tmp_path: Path) -> None:
    rows = read_rows(one_objective(tmp_path)).to_pandas()
    older = rows[rows["study"] == "fixed"].assign(study_key="0", created="2025-01-01T00:00:00Z")
    made = journal(pd.concat([rows, older]), {})
    assert made.notes == ("one/fixed: 1 older study left out",)
