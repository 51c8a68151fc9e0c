"""All studies behind Tune: turns, room, budget, and what is made of a trial's last result."""

from __future__ import annotations

from typing import Any

from tests.scheduling.numbered import Numbered
from unlearn_ray.core.errors import StoreFull
from unlearn_ray.scheduling.search import (
    AGAIN,
    EXCESSES,
    FAILURE,
    HOURS,
    LAST,
    SCORES,
    STOPPED,
    UNTOLD,
    StudiesSearch,
)
from unlearn_ray.scheduling.shared_study import Assignment, Ending
from unlearn_ray.studies.rows import State


def result(*scores: float, last: bool = True, **others: Any) -> dict[str, Any]:
    """What a trial tells after its seeds."""
    hours = tuple(0.5 for _ in scores)
    told = {SCORES: scores, EXCESSES: (), HOURS: hours, LAST: last, STOPPED: False}
    return {**told, FAILURE: None, UNTOLD: False, AGAIN: False, **others}


def searched(
    *studies: Numbered, room: int = 9, ends: list[tuple[int, Ending]] | None = None
) -> StudiesSearch:
    told = [] if ends is None else ends
    return StudiesSearch(
        list(studies),
        lambda: room,
        lambda: True,
        lambda _: None,
        lambda trial, ending: told.append((trial.number, ending)),
    )


def test_a_trial_ends_as_its_last_result_says() -> None:
    study = Numbered("finetune", [0, 1, 2, 3, 4])
    ends: list[Any] = []
    search = searched(study, ends=ends)
    for name in "abcde":
        search.suggest(name)
    search.on_trial_complete("a", result(1.0, 2.0))
    search.on_trial_complete("b", result(9.0, last=False, **{STOPPED: True}))
    search.on_trial_complete("c", result(1.0, **{FAILURE: "loss is NaN"}))  # type: ignore[arg-type]
    search.on_trial_complete("d", None, error=True)
    search.on_trial_complete("e", result(1.0, last=False))  # the sweep is being stopped
    assert ends == list(study.ended.items()) == [
        (0, Ending(State.COMPLETE, (1.0, 2.0), hours=(0.5, 0.5))),
        (1, Ending(State.STOPPED, (9.0,), hours=(0.5,))),
        (2, Ending(State.FAILED, (1.0,), "loss is NaN", (0.5,))),
        (3, Ending(State.FAILED, (), "", untold=True)),
    ]  # fmt: skip
    assert study.ended[0].score == 1.5


def test_a_lost_trial_ends_with_what_it_ran() -> None:
    study = Numbered("finetune", [0])
    search = searched(study)
    search.suggest("a")
    search.note("a", result(1.0, last=False))
    search.note("a", result(last=False))  # its worker is lost, and Tune starts it again
    search.broke("a", "its worker was lost 2 times")
    assert search.runs("a")
    search.on_trial_complete("a", None, error=True)
    assert not search.runs("a")
    lost = Ending(State.FAILED, (1.0,), "its worker was lost 2 times", (0.5,), untold=True)
    assert study.ended == {0: lost}


def test_a_trial_that_could_not_be_run_is_given_back() -> None:
    study = Numbered("finetune", [0, 1])
    ends: list[Any] = []
    search = searched(study, ends=ends)
    search.suggest("a")
    away = {FAILURE: "store: no answer", AGAIN: True}
    search.on_trial_complete("a", result(1.0, last=False, **away))
    assert (study.ended, study.given_back) == ({}, [0])
    assert ends == [(0, Ending(State.FAILED, (1.0,), "store: no answer", (0.5,), again=True))]
    assert search.suggest("b") == "FINISHED"  # nothing of its study can follow


def test_what_a_trials_end_raises_ends_the_search() -> None:
    def fail(*_: Any) -> None:
        raise StoreFull("store", "no space left on device", "free space there")

    study = Numbered("one", [0, 1])
    search = StudiesSearch([study], lambda: 2, lambda: True, lambda _: None, fail)
    search.suggest("a")
    # Tune would start the trial again if this raised.
    search.on_trial_complete("a", result(1.0))
    assert isinstance(search.error, StoreFull)


def test_what_a_study_raises_ends_the_search() -> None:
    class Full(Numbered):
        def next(self) -> Assignment | None:
            raise StoreFull("store", "no space left on device", "free space there")

    search = searched(Full("one", [0]))
    assert search.suggest("a") == "FINISHED"
    assert isinstance(search.error, StoreFull)


def test_studies_take_turns() -> None:
    search = searched(Numbered("one", [0, 1, 2]), Numbered("none", [0], {"epochs": 3}))
    suggested = [search.suggest(str(i)) for i in range(5)]
    assert [(s["study"], s["trial"]) for s in suggested[:4]] == [
        ("one", 0), ("none", 0), ("one", 1), ("one", 2),
    ]  # fmt: skip
    assert suggested[1]["hyperparameters"] == {"epochs": 3}
    assert suggested[4] == "FINISHED"


def test_a_study_whose_trials_run_elsewhere_holds_up_no_other() -> None:
    class Elsewhere(Numbered):
        def next(self) -> Assignment | None:
            return None

    blocked = Elsewhere("blocked", [0, 1])
    search = searched(blocked, Numbered("one", [0]))
    assert search.suggest("a")["study"] == "one"
    assert search.suggest("b") is None  # to be asked again
    blocked.numbers.clear()
    assert search.suggest("b") == "FINISHED"


def test_no_more_trials_run_or_wait_than_there_is_room_for() -> None:
    room = 2
    search = StudiesSearch(
        [Numbered("one", [0, 1, 2, 3])],
        lambda: room,
        lambda: True,
        lambda _: None,
        lambda *_: None,
    )
    assert [search.suggest(name) is None for name in "abc"] == [False, False, True]
    search.on_trial_complete("b", result(1.0))
    assert [search.suggest(name) is None for name in "cd"] == [False, True]
    room = 3
    assert search.suggest("d") is not None


def test_no_trial_is_launched_once_it_may_not() -> None:
    budget = 1.0
    hours: list[float] = []
    search = StudiesSearch(
        [Numbered("one", [0, 1, 2, 3]), Numbered("two", [0, 1, 2, 3])],
        lambda: 2,
        lambda: sum(hours) < budget,
        lambda _: None,
        lambda _, ending: hours.extend(ending.hours),
    )
    launched = [search.suggest("a"), search.suggest("b")]
    assert [one["study"] for one in launched] == ["one", "two"]  # the budget is shared evenly
    search.on_trial_complete("a", result(1.0))
    assert search.suggest("c") not in (None, "FINISHED")
    search.on_trial_complete("b", result(1.0))
    assert search.suggest("d") == "FINISHED"
    search.on_trial_complete("c", result(1.0))  # what runs ends
    assert sum(hours) == 1.5
