"""Time left, over runs that were recorded and runs that are simulated: is it true, does it fall?"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tests.reporting.replay import Clock, Moment, Run
from tests.reporting.simulated_runs import Simulation
from unlearn_ray.monitor.time_left import Begun, Durations, Span, TimeLeft, Work, makespan

RECORDED = Path(__file__).parent / "recorded"
KINDS: dict[str, dict[str, Any]] = {
    "one at a time": {"places": 1, "trials": 8},
    "two at a time": {"places": 2},
    "eight at a time": {"places": 8, "trials": 30},
    "trials before later trainings": {"trials_first": True},
    "gone on with": {"trained": True, "done": 8},
    "gone on with on eight": {"places": 8, "trials": 40, "trained": True, "done": 20},
    "beside another driver": {"trials": 40, "helped": 0.5},
    "mostly stopped early": {"places": 4, "trials": 40, "pruned": 0.7, "spread": 0.6},
    "long trainings": {"places": 8, "pretrain": 600.0, "trial": (60.0, 150.0), "trials": 30},
    "small": {"pretrain": 20.0, "trial": (4.0, 5.0), "trials": 6},
}


def true_share(moments: list[Moment]) -> float:
    said = [one for one in moments if one.shown is not None]
    assert len(said) > 20
    return sum(one.shown.low <= one.left <= one.shown.high for one in said if one.shown) / len(said)


def errors(moments: list[Moment]) -> tuple[float, float]:
    """The largest factor by which the middle of what is shown is wrong, and the former estimate.

    Where either says something, until the last half minute.
    """
    both = [one for one in moments if one.shown and one.old and one.left > 30]
    ours = [one.shown.middle / one.left for one in both if one.shown]
    old = [one.old / one.left for one in both if one.old]
    return max(max(each, 1 / each) for each in ours), max(max(each, 1 / each) for each in old)


def check_it_falls(moments: list[Moment]) -> None:
    longer = 0
    for before, one in pairwise(moments):
        if before.shown is None or one.shown is None:
            continue
        risen = one.shown.high > before.shown.high or one.shown.middle > before.shown.middle
        assert one.told or not risen  # never between events
        longer += risen
    assert longer <= 3  # each time, what was shown had turned out to be too short


@cache
def simulated(kind: str) -> list[list[Moment]]:
    """Two runs of a kind."""
    return [list(Simulation(seed, **KINDS[kind]).run().moments(2.0)) for seed in range(2)]


@pytest.mark.parametrize("kind", KINDS)
def test_it_falls(kind: str) -> None:
    for moments in simulated(kind):
        check_it_falls(moments)


def test_most_of_what_is_said_is_true() -> None:
    shares = {kind: fmean(map(true_share, simulated(kind))) for kind in KINDS}
    assert fmean(shares.values()) >= 0.9, shares
    assert min(shares.values()) >= 0.7, shares
    wrong = [errors(moments) for kind in KINDS for moments in simulated(kind)]
    ours, old = (sorted(each) for each in zip(*wrong, strict=True))
    assert ours[len(ours) // 2] < 2 < old[len(old) // 2]


def test_a_quickstart_that_was_recorded() -> None:
    """On two CPUs: the former estimate was wrong by a factor of more than two."""
    run = Run.read(RECORDED / "quickstart.json")
    moments = list(run.moments())
    check_it_falls(moments)
    assert true_share(moments) >= 0.9
    ours, old = errors(moments)
    assert ours < 1.8
    assert old > 2.2
    # The first trial of every study is what it waits for.
    first = next(one.at for one in moments if one.shown)
    assert 180 < first < 260
    # Most moments tell a range that is of use.
    widths = sorted(one.shown.high / max(one.shown.low, 1.0) for one in moments if one.shown)
    assert widths[len(widths) // 2] < 2


def test_nothing_is_said_before_every_kind_has_a_sample() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    works = [Work("a", "a", 2), Work("b", "b", 1, after=frozenset("a"))]
    assert left.of(works, 3) is None
    left.durations.took("a", 10.0)
    assert left.of(works, 3) is None
    left.durations.took("b", 100.0)
    clock.now = 1.0
    span = left.of([replace(works[0], waiting=1), works[1]], 3)
    assert span is not None
    assert span.low < 110 < span.high
    # What is not left needs no sample.
    assert left.of([works[1], Work("c", "c", 0)], 3) is not None


def test_a_running_training_is_a_sample_once_it_tells() -> None:
    left = TimeLeft(Clock())
    running = Work("a", "a", 0, begun=(Begun(30.0),))
    assert left.of([running], 1) is None
    span = left.of([replace(running, begun=(Begun(30.0, share=0.25),))], 1)
    assert span is not None
    assert span.low < 90 < span.high


def test_it_counts_down_between_events_and_ends() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    left.durations.took("a", 60.0)
    works = [Work("a", "a", 1)]
    first = left.of(works, 1)
    assert first is not None
    clock.now = 10.0
    assert left.of(works, 1) == Span(first.low - 10, first.high - 10)
    clock.now = first.high + 1
    assert left.of(works, 1) is None  # rather than nothing left, or less


def test_it_rises_where_work_is_added() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    for _ in range(5):
        left.durations.took("a", 60.0)
    before = left.of([Work("a", "a", 2)], 2)
    after = left.of([Work("a", "a", 20)], 20)
    assert before is not None
    assert after is not None
    assert after.low > before.high


def test_a_noisy_estimate_does_not_make_it_rise() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    for seconds in (50.0, 60.0, 70.0):
        left.durations.took("a", seconds)
    shown = left.of([Work("a", "a", 20)], 20)
    for ended in range(1, 15):
        clock.now += 60.0
        left.durations.took("a", 45.0 if ended % 2 else 75.0)
        now = left.of([Work("a", "a", 20 - ended)], 20)
        assert shown is not None
        assert now is not None
        assert now.high <= shown.high
        assert now.middle <= shown.middle
        shown = now


def test_what_this_run_tells_outweighs_the_store() -> None:
    durations = Durations()
    work = Work("a", "a", 1)
    durations.took("a", 1000.0, earlier=True)
    assert durations.usual(work).seconds == 1000.0
    for _ in range(3):
        durations.took("a", 10.0)
    assert durations.usual(work).seconds == 10.0


def test_parts_stand_for_what_has_no_sample() -> None:
    durations = Durations()
    work = Work("r", "report", 1, parts=("seed", "attack"))
    durations.took("seed", 10.0)
    assert not durations.knows(work)
    durations.took("attack", 5.0)
    assert durations.usual(work).seconds == 15.0
    durations.took("report", 20.0)
    assert durations.usual(work).seconds == 20.0


def test_short_ones_that_end_first_do_not_mislead() -> None:
    durations = Durations()
    durations.took("a", 10.0)
    begun = (Begun(100.0), Begun(100.0), Begun(5.0))
    assert durations.usual(Work("a", "a", 5, begun=begun)).seconds == 70.0


def played(*works: Work, **seconds: float) -> float:
    def each(work: Work, begun: Begun | None, several: int) -> float:
        return several * seconds[work.kind] - (begun.seconds if begun else 0.0)

    return makespan(works, each)


@pytest.mark.parametrize(
    ("works", "seconds"),
    [
        ([Work("a", "a", 4, places=1)], 40),
        ([Work("a", "a", 4, places=2)], 20),
        ([Work("a", "a", 5, places=2)], 30),
        ([Work("a", "a", 5, places=8)], 10),
        ([Work("a", "a", 5, places=8, most=2)], 30),
        ([Work("a", "a", 4, places=2, helped=2.0)], 10),
        ([Work("a", "a", 1, begun=(Begun(4.0),), places=2)], 10),
        ([Work("a", "a", 1, begun=(Begun(4.0),), places=1)], 16),
        ([Work("a", "a", 1, begun=(Begun(4.0, elsewhere=True),), places=1)], 10),
        ([Work("a", "a", 2, places=2), Work("b", "b", 1, places=2)], 13),
        ([Work("a", "a", 1, places=2), Work("b", "b", 1, places=2, after=frozenset("a"))], 13),
        ([Work("b", "b", 1, after=frozenset("gone"))], 3),
        ([Work("a", "a", 8000, places=8)], 10000),
        ([], 0),
    ],
)
def test_what_is_left_is_played_through(works: list[Work], seconds: float) -> None:
    assert played(*works, a=10.0, b=3.0) == pytest.approx(seconds, rel=0.02)
