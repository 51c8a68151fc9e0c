"""The sampler's side of a study: what Optuna is told, and what a restart changes (nothing)."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from unlearn_ray.core.errors import StoreFull
from unlearn_ray.pipeline.study import PastTrial
from unlearn_ray.pipeline.sweep_schema import Range, Search
from unlearn_ray.scheduling.search import (
    FAILURE,
    HOURS,
    LAST,
    METRIC,
    SEEDS_RUN,
    Ending,
    Queue,
    StudiesSearch,
    StudySearch,
    distribution,
)

SPACE = {
    "learning_rate": Range("log_uniform", 1e-4, 1e-1),
    "beta": Range("uniform", 0.0, 20.0),
    "positive_similarity": Range("choice", choices=("tempered", "cosine")),
}
SEARCH = Search(trials=14, startup=4, keep=50)
SEEDS = 3


def gap(point: dict[str, Any], seed: int) -> float:
    wrong = 0.0 if point["positive_similarity"] == "cosine" else 1.0
    return abs(point["beta"] - 7) + 30 * point["learning_rate"] + wrong + 0.1 * seed


def run(past: list[PastTrial], until: int) -> list[PastTrial]:
    """A study from `past` on, one trial at a time, as Tune would drive it."""
    search = StudySearch("alignment_calibration", SPACE, SEARCH, past)
    trials = list(past)
    for number in range(len(past), until):
        point = search.suggest_number(str(number), number, None)
        gaps: list[float] = []
        stopped = False
        while len(gaps) < SEEDS and not stopped:
            gaps.append(gap(point, len(gaps)))
            result = {
                METRIC: sum(gaps) / len(gaps), SEEDS_RUN: len(gaps), LAST: len(gaps) == SEEDS,
                FAILURE: None, "training_iteration": len(gaps),
            }  # fmt: skip
            # Tune asks the scheduler after every seed but the last.
            stopped = not result[LAST] and search.should_stop(str(number), result)
        state = "stopped" if stopped else "complete"
        search.tell(str(number), Ending(state, result[METRIC], len(gaps)))
        trials.append(PastTrial(number, point, tuple(gaps), state))
    return trials


def test_a_restart_anywhere_suggests_the_same_trials() -> None:
    whole = run([], 14)
    assert {trial.state for trial in whole} == {"complete", "stopped"}
    for restart in (1, 3, 5, 9, 13):
        assert run(whole[:restart], 14) == whole


def test_the_search_beats_its_random_start() -> None:
    scores = [trial.score for trial in run([], 30)]
    assert min(scores[4:]) < min(scores[:4])


def test_stopped_and_failed_trials_are_never_told_complete() -> None:
    study = StudySearch("finetune", SPACE, Search(startup=2, keep=50), [])
    ends: list[tuple[int, str]] = []
    queue = Queue("finetune", study, {}, [0, 1, 2, 3, 4, 5])
    search = StudiesSearch(
        [queue],
        lambda: 6,
        lambda: True,
        lambda _: None,
        lambda trial, end: ends.append((trial.number, end.state)),
    )
    first = {METRIC: 1.0, SEEDS_RUN: 1, LAST: False, FAILURE: None, HOURS: ()}
    for number, value in enumerate((1.0, 2.0)):
        search.suggest(str(number))
        assert not search.should_stop(str(number), {**first, METRIC: value})
        search.on_trial_complete(
            str(number), {METRIC: value, SEEDS_RUN: 2, LAST: True, FAILURE: None, HOURS: ()}
        )
    search.suggest("bad")
    bad = {**first, METRIC: 50.0}
    assert search.should_stop("bad", bad)
    search.on_trial_complete("bad", bad)
    search.suggest("nan")
    search.on_trial_complete(
        "nan", {METRIC: None, SEEDS_RUN: 0, LAST: True, FAILURE: "NaN", HOURS: ()}
    )
    search.suggest("lost")
    search.on_trial_complete("lost", None, error=True)
    search.suggest("interrupted")
    search.on_trial_complete("interrupted", first)
    told = study._ot_study.trials
    assert [trial.state for trial in told] == [
        TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL,
        TrialState.FAIL, TrialState.RUNNING,
    ]  # fmt: skip
    assert [trial.value for trial in told[:2]] == [1.0, 2.0]
    assert told[0].intermediate_values == {1: 1.0, 2: 1.0}
    assert told[3].value is None
    assert ends == [
        (0, "complete"), (1, "complete"), (2, "stopped"), (3, "failed"), (4, "failed"),
    ]  # fmt: skip


def test_a_lost_trial_is_asked_for_once_and_ends_with_what_it_ran() -> None:
    study = StudySearch("finetune", SPACE, Search(startup=1, keep=50), [])
    ends: list[Ending] = []
    search = StudiesSearch(
        [Queue("finetune", study, {}, [0])],
        lambda: 1,
        lambda: True,
        lambda _: None,
        lambda _, ending: ends.append(ending),
    )
    search.suggest("a")
    first = {METRIC: 1.0, SEEDS_RUN: 1, LAST: False, FAILURE: None, HOURS: (0.5,)}
    for _ in range(2):  # its worker is lost after the first seed, and Tune starts it again
        assert not search.should_stop("a", first)
    assert study._ot_study.trials[0].intermediate_values == {1: 1.0}
    search.broke("a", "its worker was lost 2 times", lost=True)
    assert search.runs("a")
    search.on_trial_complete("a", None, error=True)
    assert not search.runs("a")
    assert ends == [Ending("failed", None, 1, "its worker was lost 2 times", (0.5,), lost=True)]


def test_what_a_trials_end_raises_ends_the_search() -> None:
    def fail(*_: Any) -> None:
        raise StoreFull("store", "no space left on device", "free space there")

    search = StudiesSearch(
        [Queue("one", None, {}, [0, 1])], lambda: 2, lambda: True, lambda _: None, fail
    )
    search.suggest("a")
    # Tune would start the trial again if this raised.
    search.on_trial_complete("a", {METRIC: 1.0, SEEDS_RUN: 1, LAST: True, FAILURE: None, HOURS: ()})
    assert isinstance(search.error, StoreFull)


@pytest.mark.parametrize("running", [0, 3, 17])
def test_a_known_space_changes_no_suggestion(running: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def suggestions() -> list[dict[str, Any]]:
        space = {**SPACE, "epochs": Range("int", 1, 9), "views": Range("int", 2, 2)}
        study = StudySearch("finetune", space, Search(startup=5), [])
        points: list[dict[str, Any]] = []
        for number in range(60):
            points.append(study.suggest_number(str(number), number, None))
            ended = number - running
            if ended == 2:
                study.tell(str(ended), Ending("failed", None, 0))
            elif ended >= 0:
                result = {METRIC: gap(points[ended], 0), SEEDS_RUN: 1, HOURS: ()}
                state = "stopped" if study.should_stop(str(ended), result) else "complete"
                study.tell(str(ended), Ending(state, result[METRIC] + 0.1, 2))
        return points

    ours = suggestions()
    monkeypatch.setattr(
        "unlearn_ray.scheduling.search._Sampler",
        lambda space, seed, startup: TPESampler(seed=seed, n_startup_trials=startup),
    )
    assert suggestions() == ours


def test_what_rows_tell_is_told() -> None:
    point = {"learning_rate": 0.01, "beta": 2.0, "positive_similarity": "cosine"}
    past = [
        PastTrial(0, point, (3.0, 5.0, 4.0), "complete"),
        PastTrial(1, point, (9.0,), "stopped"),
        PastTrial(2, point, (), "failed"),
    ]
    trials = StudySearch("finetune", SPACE, SEARCH, past)._ot_study.trials
    assert [trial.state for trial in trials] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL,
    ]  # fmt: skip
    assert trials[0].value == 4.0
    assert trials[0].intermediate_values == {1: 3.0, 2: 4.0, 3: 4.0}
    assert trials[1].intermediate_values == {1: 9.0}
    assert all(trial.params == point for trial in trials)


def test_studies_take_turns_and_begun_trials_keep_their_point() -> None:
    begun = {"learning_rate": 0.05, "beta": 1.5, "positive_similarity": "tempered"}
    queues = [
        Queue("one", StudySearch("one", SPACE, SEARCH, []), {1: begun}, [0, 1, 2]),
        Queue("none", None, {}, [0], {"epochs": 3}),
    ]
    search = StudiesSearch(queues, lambda: 4, lambda: True, lambda _: None, lambda *_: None)
    suggested = [search.suggest(str(i)) for i in range(5)]
    assert [(s["method"], s["trial"]) for s in suggested[:4]] == [
        ("one", 0), ("none", 0), ("one", 1), ("one", 2),
    ]  # fmt: skip
    assert suggested[1]["hyperparameters"] == {"epochs": 3}
    assert suggested[2]["hyperparameters"] == begun
    assert suggested[0]["hyperparameters"] != begun
    assert suggested[4] == "FINISHED"


def test_no_more_trials_run_or_wait_than_there_is_room_for() -> None:
    room = 2
    queue = Queue("one", StudySearch("one", SPACE, SEARCH, []), {}, [0, 1, 2, 3])
    search = StudiesSearch([queue], lambda: room, lambda: True, lambda _: None, lambda *_: None)
    assert [search.suggest(name) is None for name in "abc"] == [False, False, True]
    search.on_trial_complete("b", {METRIC: 1.0, SEEDS_RUN: 3, LAST: True, FAILURE: None, HOURS: ()})
    assert [search.suggest(name) is None for name in "cd"] == [False, True]
    room = 3
    assert search.suggest("d") is not None


def test_no_trial_is_launched_once_it_may_not() -> None:
    budget = 1.0
    hours: list[float] = []
    queues = [Queue("one", None, {}, [0, 1, 2, 3]), Queue("two", None, {}, [0, 1, 2, 3])]
    search = StudiesSearch(
        queues,
        lambda: 2,
        lambda: sum(hours) < budget,
        lambda _: None,
        lambda _, ending: hours.extend(ending.hours),
    )
    cost = {METRIC: 1.0, SEEDS_RUN: 2, LAST: True, FAILURE: None, HOURS: (0.25, 0.25)}
    launched = [search.suggest("a"), search.suggest("b")]
    assert [one["method"] for one in launched] == ["one", "two"]  # the budget is shared evenly
    search.on_trial_complete("a", cost)
    assert search.suggest("c") not in (None, "FINISHED")
    search.on_trial_complete("b", cost)
    assert search.suggest("d") == "FINISHED"
    search.on_trial_complete("c", cost)  # what runs ends
    assert sum(hours) == 1.5


@pytest.mark.parametrize(
    ("field_range", "expected"),
    [
        (Range("uniform", 1, 2), FloatDistribution(1, 2)),
        (Range("log_uniform", 1e-3, 1), FloatDistribution(1e-3, 1, log=True)),
        (Range("int", 2, 9), IntDistribution(2, 9)),
        (Range("choice", choices=("a", "b")), CategoricalDistribution(["a", "b"])),
    ],
)
def test_ranges_are_optunas_distributions(field_range, expected) -> None:
    assert distribution(field_range) == expected
