"""Tune's runs follow one another, and say why they gave a trial up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from tests.scheduling.nodes import small_ray
from tests.scheduling.numbered import Numbered
from unlearn_ray.scheduling import rounds
from unlearn_ray.scheduling.jobs import Job, Jobs
from unlearn_ray.scheduling.rounds import Rounds
from unlearn_ray.scheduling.search import (
    EXCESSES,
    FAILURE,
    HOURS,
    LAST,
    METRIC,
    SCORES,
    SEEDS_RUN,
    STOPPED,
    StudiesSearch,
)
from unlearn_ray.scheduling.shared_study import Assignment, Ending
from unlearn_ray.studies.rows import State

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOM = 2


class Quick(tune.Trainable):  # type: ignore[misc]
    """Ends at once; some of method "bad" do not end well, some of "shy" do not begin well.

    Method "long" does not end at all.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.trial = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if (new_config["study"], new_config["trial"]) == ("shy", 2):
            told = Path(new_config["hyperparameters"]["file"])
            times = len(told.read_text()) if told.exists() else 0
            if times < new_config["hyperparameters"]["times"]:
                told.write_text("x" * (times + 1))
                os.kill(os.getpid(), signal.SIGKILL)
        self.trial = new_config
        return True

    def step(self) -> dict[str, Any]:
        if (self.trial["study"], self.trial["trial"]) == ("bad", 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if (self.trial["study"], self.trial["trial"]) == ("bad", 2):
            raise ValueError("a bug\nin two lines")
        if self.trial["study"] == "long":
            time.sleep(300)
        gap = float(self.trial["trial"])
        told = {METRIC: gap, SEEDS_RUN: 1, SCORES: (gap,), EXCESSES: (), HOURS: ()}
        return {**told, LAST: True, STOPPED: False, FAILURE: None, "done": True}


@pytest.fixture
def two_slots(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1000")
    with small_ray(ROOM):
        yield


def run(
    studies: list[Numbered], retries: int = 1
) -> tuple[list[Assignment], dict[Any, Ending], int]:
    """Run all trials; what was started, how it ended, and the most that ran at a time."""
    started: list[Assignment] = []
    ended: dict[Any, Ending] = {}
    most = 0

    def on_start(assignment: Assignment) -> None:
        nonlocal most
        started.append(assignment)
        most = max(most, len(started) - len(ended))

    def on_end(assignment: Assignment, ending: Ending) -> None:
        ended[assignment.study, assignment.number] = ending

    search = StudiesSearch(list(studies), lambda: ROOM, lambda: True, on_start, on_end, retries)
    trainable = tune.with_resources(Quick, tune.PlacementGroupFactory([{"CPU": 1}]))
    jobs = Jobs({})
    tune_runs = Rounds(search, trainable, "quick", lambda: ROOM, retries, list, lambda: False, jobs)
    jobs.add([Job("studies", tune_runs.run)])
    jobs.run(lambda: False)
    return started, ended, most


def test_every_trial_runs_once_in_rounds_of_bounded_size(
    two_slots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "MOST_TRIALS", 5)
    monkeypatch.setattr(rounds, "MOST_TRIALS_EACH", 1)
    sizes: list[int] = []
    round_of = rounds.Round

    def noted(search: Any, trials: int, on_started: Any) -> Any:
        sizes.append(trials)
        return round_of(search, trials, on_started)

    monkeypatch.setattr(rounds, "Round", noted)
    numbers = list(range(7))
    started, ended, most = run([Numbered(name, numbers) for name in ("a", "b")])
    assert sizes == [5, 5, 4]
    assert [(one.study, one.number) for one in started] == [
        (name, number) for number in numbers for name in ("a", "b")
    ]
    assert {key: ending.state for key, ending in ended.items()} == {
        (one.study, one.number): "complete" for one in started
    }
    assert most == ROOM


def test_what_took_a_trial_along_is_its_reason(two_slots: None) -> None:
    _, ended, _ = run([Numbered("bad", [0, 1, 2])])
    assert ended["bad", 0] == Ending(State.COMPLETE, (0.0,))
    killed, raised = ended["bad", 1], ended["bad", 2]
    assert killed.untold
    assert killed.failure == (
        "its worker was lost 2 times (last: Worker unexpectedly exits with a connection error"
        " code 2. End of file.)"
    )
    assert raised.untold
    assert raised.failure == "its worker failed 2 times (last: ValueError('a bug\\nin two lines'))"


def test_a_machine_that_runs_low_on_memory_ends_no_search(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    # Any use is too much, for Ray's own monitor.
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    request.getfixturevalue("two_slots")
    _, ended, _ = run([Numbered("long", [0, 1])])
    for number in (0, 1):
        assert ended["long", number].untold
        failure = ended["long", number].failure or ""
        assert failure.startswith(
            "its worker was lost 2 times (last: Ray killed it as its machine ran low on memory; "
            "lower the batch size, or"
        )
        assert "\n" not in failure


@pytest.mark.parametrize("trials", [3, 6], ids=["its round is over", "its round goes on"])
def test_a_worker_that_is_lost_while_it_takes_a_trial(
    trials: int, two_slots: None, tmp_path: Path
) -> None:
    shy = {"file": str(tmp_path / "told"), "times": 1}
    started, ended, most = run([Numbered("shy", list(range(trials)), shy)])
    assert (tmp_path / "told").exists()
    assert [one.number for one in started] == list(range(trials))
    assert {number: ending.state for (_, number), ending in ended.items()} == dict.fromkeys(
        range(trials), "complete"
    )
    assert most <= ROOM


def test_a_worker_that_is_lost_again_and_again_while_it_takes_a_trial(
    two_slots: None, tmp_path: Path
) -> None:
    shy = {"file": str(tmp_path / "told"), "times": 100}
    _, ended, _ = run([Numbered("shy", list(range(6)), shy)])
    lost = ended.get(("shy", 2))
    assert lost is not None
    assert lost.state == "complete" or (lost.untold and "was lost" in (lost.failure or ""))
    assert len(ended) == 6
