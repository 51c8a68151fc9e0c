"""What Optuna is told, what a restart changes (nothing), and what a trial must reach to go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from unlearn_ray.config.sweep_schema import Range, Search
from unlearn_ray.scheduling.sampler import Bars, Sampler, distribution
from unlearn_ray.studies.history import TrialRecord, mean
from unlearn_ray.studies.rows import State

SPACE = {
    "learning_rate": Range("log_uniform", 1e-4, 1e-1),
    "beta": Range("uniform", 0.0, 20.0),
    "positive_similarity": Range("choice", choices=("tempered", "cosine")),
}
POINT = {"learning_rate": 0.01, "beta": 2.0, "positive_similarity": "cosine"}


def gap(point: dict[str, Any]) -> float:
    wrong = 0.0 if point["positive_similarity"] == "cosine" else 1.0
    return abs(point["beta"] - 7) + 30 * point["learning_rate"] + wrong


def ended(number: int, point: dict[str, Any]) -> TrialRecord:
    """Every fifth trial fails, every third is stopped."""
    if number % 5 == 4:
        return TrialRecord(number, point, (), State.FAILED, "loss is NaN")
    if number % 3 == 2:
        return TrialRecord(number, point, (gap(point),), State.STOPPED)
    return TrialRecord(number, point, (gap(point), gap(point) + 0.1), State.COMPLETE)


def points(window: int, count: int, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The points of a study whose first ones are known already."""
    sampler = Sampler("alignment_calibration", SPACE, Search(startup=4))
    found: list[dict[str, Any]] = []
    for number in range(count):
        if number >= window:
            sampler.tell(ended(number - window, found[number - window]))
        found.append(sampler.ask(known[number] if number < len(known) else None))
    return found


@pytest.mark.parametrize("window", [1, 3, 8])
def test_a_restart_anywhere_suggests_the_same(window: int) -> None:
    whole = points(window, 30, [])
    assert len({tuple(point.values()) for point in whole}) == 30
    for known in (1, 3, 9, 15, 29):
        assert points(window, 30, whole[:known]) == whole


def test_a_result_changes_what_comes_after_the_window_alone() -> None:
    def run(first: float) -> list[dict[str, Any]]:
        sampler = Sampler("alignment_calibration", SPACE, Search(startup=1))
        found: list[dict[str, Any]] = []
        for number in range(12):
            if number >= 5:
                told = number - 5
                scores = (first if told == 0 else gap(found[told]),)
                sampler.tell(TrialRecord(told, found[told], scores, State.COMPLETE))
            found.append(sampler.ask(None))
        return found

    small, large = run(0.0), run(1000.0)
    assert small[:6] == large[:6]  # one result is no order
    assert small[7:] != large[7:]


def test_the_order_of_a_files_lines_does_not_count() -> None:
    def asked(space: dict[str, Range]) -> list[dict[str, Any]]:
        sampler = Sampler("finetune", space, Search(startup=3))
        found = []
        for number in range(8):
            found.append(sampler.ask(None))
            sampler.tell(ended(number, found[-1]))
        return found

    assert asked(SPACE) == asked(dict(reversed(SPACE.items())))


def test_what_ended_is_told_as_what_it_is() -> None:
    sampler = Sampler("finetune", SPACE, Search())
    for _ in range(4):
        sampler.ask(POINT)
    sampler.tell(TrialRecord(0, POINT, (3.0, 5.0, 4.0), State.COMPLETE))
    sampler.tell(TrialRecord(1, POINT, (9.0, 11.0), State.STOPPED))
    sampler.tell(TrialRecord(2, POINT, (2.0,), State.FAILED, "loss is NaN"))
    told = sampler._study.trials
    assert [trial.state for trial in told] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING,
    ]  # fmt: skip
    assert [trial.value for trial in told] == [4.0, 10.0, None, None]
    assert told[1].intermediate_values == {2: 10.0}
    assert all(trial.params == POINT for trial in told)


@pytest.mark.parametrize("window", [1, 4, 17])
def test_a_known_space_changes_no_suggestion(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def suggestions() -> list[dict[str, Any]]:
        space = {**SPACE, "epochs": Range("int", 1, 9), "views": Range("int", 2, 2)}
        sampler = Sampler("finetune", space, Search(startup=5))
        found: list[dict[str, Any]] = []
        for number in range(60):
            if number >= window:
                sampler.tell(ended(number - window, found[number - window]))
            found.append(sampler.ask(None))
        return found

    ours = suggestions()
    monkeypatch.setattr(
        "unlearn_ray.scheduling.sampler._Sampler",
        lambda space, seed, startup: TPESampler(seed=seed, n_startup_trials=startup),
    )
    assert suggestions() == ours


@pytest.mark.parametrize(
    ("field_range", "expected"),
    [
        (Range("uniform", 1, 2), FloatDistribution(1, 2)),
        (Range("log_uniform", 1e-3, 1), FloatDistribution(1e-3, 1, log=True)),
        (Range("int", 2, 9), IntDistribution(2, 9)),
        (Range("choice", choices=("a", "b")), CategoricalDistribution(["a", "b"])),
    ],
)
def test_ranges_are_optunas_distributions(field_range: Range, expected: BaseDistribution) -> None:
    assert distribution(field_range) == expected


class TestBars:
    def run(
        self,
        draw: Callable[[int], Sequence[float]],
        *,
        keep: float = 50,
        seeds: int = 3,
        trials: int = 400,
        startup: int = 5,
    ) -> list[TrialRecord]:
        """Trials with drawn scores, each stopped where it does not reach the bars before it."""
        bars, done = Bars(Search(keep=keep, startup=startup), seeds), []
        for number in range(trials):
            marks, drawn = bars.now(), draw(number)
            scores: tuple[float, ...] = ()
            for run in range(seeds):
                scores += (drawn[run],)
                if run < seeds - 1 and marks[run] is not None and mean(scores) > marks[run]:
                    break
            state = State.COMPLETE if len(scores) == seeds else State.STOPPED
            done.append(TrialRecord(number, {}, scores, state))
            bars.tell(done[-1])
        return done

    @pytest.mark.parametrize("keep", [25, 50, 80])
    def test_that_percentage_of_equal_trials_goes_on_whenever_they_begin(self, keep: int) -> None:
        shares, late, second = [], [], []
        for seed in range(30):
            equal = np.random.default_rng(seed).normal(5, 1, size=(400, 3)).tolist()
            done = self.run(equal.__getitem__, keep=keep)
            on = [len(trial.scores) > 1 for trial in done[5:]]
            shares.append(np.mean(on))
            late.append(np.mean(on[-50:]))
            second.append(
                np.mean([len(trial.scores) > 2 for trial in done[5:] if len(trial.scores) > 1])
            )
        for share in (shares, late):
            assert np.mean(share) == pytest.approx(keep / 100, abs=0.03)
        # A mean over two seeds follows the first, which was good: fewer than keep percent reach it.
        assert np.mean(second) == pytest.approx(keep / 100, abs=0.12)

    def test_one_lucky_seed_saves_no_trial(self) -> None:
        bars = Bars(Search(keep=50, startup=4), seeds=3)
        for number in range(4):
            bars.tell(TrialRecord(number, {}, (2.0, 2.0, 2.0), State.COMPLETE))
        after_one, after_two = bars.now()
        assert mean([1.9]) <= after_one
        assert mean([1.9, 50.0]) > after_two

    def test_stopped_trials_count_where_they_ran(self) -> None:
        bars = Bars(Search(keep=50, startup=2), seeds=2)
        bars.tell(TrialRecord(0, {}, (1.0, 1.0), State.COMPLETE))
        assert bars.now() == (None,)
        bars.tell(TrialRecord(1, {}, (), State.FAILED))
        assert bars.now() == (None,)  # it has no score to compare with
        bars.tell(TrialRecord(2, {}, (9.0,), State.STOPPED))
        assert bars.now() == (5.0,)
        bars.tell(TrialRecord(3, {}, (8.0,), State.STOPPED))
        assert bars.now() == (8.0,)

    def test_one_seed_has_no_bar(self) -> None:
        bars = Bars(Search(startup=1), seeds=1)
        bars.tell(TrialRecord(0, {}, (1.0,), State.COMPLETE))
        assert bars.now() == ()
