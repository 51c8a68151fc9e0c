"""What a trial must reach to go on to its next tuning seed."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from unlearn_ray.config.sweep_schema import Named, Search
from unlearn_ray.scheduling.pruners import Bars, RankBars, TrialBars, pruner
from unlearn_ray.studies.fronts import dominates, front, mean
from unlearn_ray.studies.history import TrialRecord, stops
from unlearn_ray.studies.rows import State


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
            marks, drawn = bars.now(0), draw(number)
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
        after_one, after_two = bars.now(0)
        assert mean([1.9]) <= after_one
        assert mean([1.9, 50.0]) > after_two

    def test_stopped_trials_count_where_they_ran(self) -> None:
        bars = Bars(Search(keep=50, startup=2), seeds=2)
        bars.tell(TrialRecord(0, {}, (1.0, 1.0), State.COMPLETE))
        assert bars.now(0) == (None,)
        bars.tell(TrialRecord(1, {}, (), State.FAILED))
        assert bars.now(0) == (None,)  # it has no score to compare with
        bars.tell(TrialRecord(2, {}, (9.0,), State.STOPPED))
        assert bars.now(0) == (5.0,)
        bars.tell(TrialRecord(3, {}, (8.0,), State.STOPPED))
        assert bars.now(0) == (8.0,)

    def test_one_seed_has_no_bar(self) -> None:
        bars = Bars(Search(startup=1), seeds=1)
        bars.tell(TrialRecord(0, {}, (1.0,), State.COMPLETE))
        assert bars.now(0) == ()


def ranked(
    draw: Callable[[int], Sequence[tuple[float, ...]]],
    *,
    keep: float = 50,
    trials: int = 300,
    startup: int = 5,
    window: int = 1,
    excess: Callable[[int], tuple[float, ...]] = lambda number: (),
) -> list[TrialRecord]:
    """Trials of several objectives with drawn scores, each stopped where its bar says so."""
    seeds = len(draw(0))
    bars = RankBars(Search(keep=keep, startup=startup), seeds)
    done: list[TrialRecord] = []
    for number in range(trials):
        if number >= window:
            bars.tell(done[number - window])
        own, drawn, beyond = bars.now(number), draw(number), excess(number)
        scores: tuple[tuple[float, ...], ...] = ()
        for run in range(seeds):
            scores += (drawn[run],)
            if run < seeds - 1 and stops(own[run], scores, (beyond,) * (run + 1)):
                break
        state = State.COMPLETE if len(scores) == seeds else State.STOPPED
        excesses = (beyond,) * len(scores) if beyond else ()
        done.append(TrialRecord(number, {}, scores, state, excesses=excesses))
    return done


def by_number(drawn: list[list[list[float]]]) -> Callable[[int], list[tuple[float, ...]]]:
    """The scores of a trial by seed and objective."""
    return lambda number: [tuple(scores) for scores in drawn[number]]


class TestRankBars:
    @pytest.mark.parametrize("keep", [25, 50, 80])
    @pytest.mark.parametrize("objectives", [1, 2, 3])
    def test_that_percentage_of_equal_trials_goes_on(self, keep: int, objectives: int) -> None:
        shares, late = [], []
        for seed in range(15):
            size = (300, 3, objectives)
            equal = np.random.default_rng(seed).normal(5, 1, size=size).tolist()
            done = ranked(by_number(equal), keep=keep)
            on = [len(trial.scores) > 1 for trial in done[5:]]
            shares.append(np.mean(on))
            late.append(np.mean(on[-50:]))
        # Many trials share a rank, and whatever has the last one that goes on goes on.
        for share in (shares, late):
            assert keep / 100 - 0.03 <= np.mean(share) <= keep / 100 + 0.03 + 0.04 * objectives

    def test_a_dominated_trial_stops_and_one_that_is_best_by_one_objective_does_not(self) -> None:
        def draw(number: int) -> list[tuple[float, ...]]:
            noise = np.random.default_rng(number).normal(0, 0.1, size=(3, 2))
            kinds = {0: (1.0, 9.0), 1: (9.0, 1.0), 2: (9.5, 9.5)}
            return [tuple(each) for each in noise + kinds[number % 3]]

        done = ranked(draw, trials=150)
        for number, trial in enumerate(done[15:], start=15):
            if number % 3 == 2:
                assert trial.state == State.STOPPED
                assert len(trial.scores) == 1
        # Half of all go on to a second seed: three quarters of what is good by one objective.
        good = [trial for number, trial in enumerate(done[15:], start=15) if number % 3 < 2]
        assert 0.65 < np.mean([len(trial.scores) > 1 for trial in good]) < 0.95

    def test_whoever_would_be_on_the_final_front_stops_no_more_often_than_by_one_seeds_luck(
        self,
    ) -> None:
        """A member by the true means stops only if one seed ranks it among the worst half."""
        stopped, by_luck = [], []
        for seed in range(20):
            drawn = np.random.default_rng(seed)
            true = drawn.uniform(0, 10, size=(60, 2))
            seen = (true[:, None, :] + drawn.normal(0, 1, size=(60, 3, 2))).tolist()
            done = ranked(by_number(seen), trials=60, window=4)
            best = [n for n in front([(0.0, *each) for each in true.tolist()]) if n >= 8]
            first = [(0.0, *each[0]) for each in seen]
            ranks = [sum(dominates(other, each) for other in first) for each in first]
            stopped += [done[n].state == State.STOPPED for n in best]
            by_luck += [ranks[n] > np.percentile(ranks, 50) for n in best]
        assert len(stopped) > 60
        assert np.mean(stopped) <= np.mean(by_luck) + 0.05
        assert np.mean(stopped) < 0.05

    def test_with_one_objective_it_does_what_bars_do(self) -> None:
        drawn = np.random.default_rng(0).normal(5, 1, size=(200, 3)).tolist()
        plain = TestBars().run(drawn.__getitem__, trials=200)
        of_ranks = ranked(lambda number: [(each,) for each in drawn[number]], trials=200)
        same = [len(a.scores) == len(b.scores) for a, b in zip(plain, of_ranks, strict=True)]
        assert np.mean(same) > 0.97

    def test_what_breaks_constraints_stops_before_what_keeps_them(self) -> None:
        # The better the score, the farther beyond the bound.
        drawn = np.random.default_rng(1).uniform(0, 1, size=120).tolist()
        done = ranked(
            lambda number: [(drawn[number],)] * 3,
            trials=120,
            excess=lambda number: (0.5 - drawn[number],),
        )
        for number, trial in enumerate(done[20:], start=20):
            if 0.5 <= drawn[number] < 0.7:
                assert trial.state == State.COMPLETE
            if drawn[number] < 0.45:
                assert trial.state == State.STOPPED

    def test_what_is_told_after_the_window_changes_no_bar(self) -> None:
        def bars(last: float) -> TrialBars:
            of_study = RankBars(Search(startup=2), 2)
            for number in range(6):
                of_study.tell(TrialRecord(number, {}, ((1.0, 2.0),) * 2, State.COMPLETE))
            now = of_study.now(6)
            of_study.tell(TrialRecord(6, {}, ((last, last),) * 2, State.COMPLETE))
            return now

        assert bars(0.0) == bars(100.0)


def optuna_run(
    named: Named,
    draw: Callable[[int], Sequence[float]],
    *,
    seeds: int,
    trials: int,
    startup: int = 3,
) -> list[TrialRecord]:
    """Trials of one study, four at a time, each stopped where Optuna's pruner says so."""
    search = Search(pruner=named, startup=startup)
    bars = pruner(search, seeds, "finetune", 1, False)
    done: list[TrialRecord] = []
    for number in range(trials):
        if number >= 4:
            bars.tell(done[number - 4])
        own = pickle.loads(pickle.dumps(bars.now(number)))
        drawn = draw(number)
        scores: tuple[float, ...] = ()
        for run in range(seeds):
            scores += (drawn[run],)
            if run < seeds - 1 and stops(own[run], scores):
                break
        state = State.COMPLETE if len(scores) == seeds else State.STOPPED
        done.append(TrialRecord(number, {}, scores, state))
    return done


class TestOptunaBars:
    def test_the_median_stops_what_is_worse_than_the_median_at_the_same_seed(self) -> None:
        done = optuna_run("median", lambda number: (1.0 + number % 2,) * 3, seeds=3, trials=20)
        assert [trial.state for trial in done[:6]] == [State.COMPLETE] * 6
        late = done[12:]
        assert {len(trial.scores) for trial in late if trial.number % 2} == {1}
        assert {len(trial.scores) for trial in late if trial.number % 2 == 0} == {3}

    def test_wilcoxon_stops_what_is_worse_on_every_seed_once_enough_have_run(self) -> None:
        done = optuna_run(
            "wilcoxon",
            lambda number: [0.1 * seed + 5 * (number > 0) for seed in range(6)],
            seeds=6,
            trials=12,
        )
        assert done[0].state == State.COMPLETE
        # The first p-value below 0.1 is that of four seeds, 1/16.
        assert {len(trial.scores) for trial in done[6:]} == {4}

    def test_hyperband_takes_seeds_as_its_resource(self) -> None:
        drawn = np.random.default_rng(0).normal(5, 1, size=(40, 3)).tolist()
        done = optuna_run("hyperband", drawn.__getitem__, seeds=3, trials=40)
        ran = [len(trial.scores) for trial in done]
        # One bracket of two lets a third go on from the first seed, the other stops nothing.
        assert set(ran) == {1, 3}
        assert 0.2 < np.mean(np.equal(ran, 1)) < 0.8

    def test_options_reach_it_and_none_stops_nothing(self) -> None:
        def worse(number: int) -> Sequence[float]:
            return (float(number),) * 3

        late = optuna_run({"median": {"n_warmup_steps": 2}}, worse, seeds=3, trials=12)[8:]
        assert {len(trial.scores) for trial in late} == {2}
        assert {len(trial.scores) for trial in optuna_run("none", worse, seeds=3, trials=12)} == {3}

    def test_one_by_its_import_path_is_asked(self) -> None:
        named: Named = {"optuna.pruners.ThresholdPruner": {"upper": 2.0}}
        done = optuna_run(named, lambda number: (float(number),) * 2, seeds=2, trials=6)
        assert [len(trial.scores) for trial in done] == [2, 2, 2, 1, 1, 1]
