"""Runs every study of a sweep with Tune, on warm, reused actors.

A fresh actor costs over a second per trial (process start and imports), a reused one 0.05 s.
All studies share Tune's runs, so that an actor that finished a trial of one study takes the next
trial of another.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from ray import tune

from unlearn_ray.config.sweep_schema import Resources, Study, Sweep
from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.errors import (
    StopRequested,
    StoreError,
    UnlearnRayError,
    WorkerLeaving,
    WorkersLost,
)
from unlearn_ray.core.words import counted
from unlearn_ray.scheduling import notice
from unlearn_ray.scheduling.capacity import Room
from unlearn_ray.scheduling.jobs import Jobs
from unlearn_ray.scheduling.placement import bundle, selectors
from unlearn_ray.scheduling.pruners import TrialBars
from unlearn_ray.scheduling.ray_private import keep_credentials
from unlearn_ray.scheduling.rounds import Rounds
from unlearn_ray.scheduling.search import (
    AGAIN,
    CURVE,
    EXCESSES,
    FAILURE,
    HOURS,
    LAST,
    METRIC,
    SCORES,
    SEEDS_RUN,
    SHOWN,
    STOPPED,
    UNTOLD,
    StudiesSearch,
)
from unlearn_ray.scheduling.shared_study import Assignment, Ending, SharedStudy
from unlearn_ray.scheduling.training import run_under_ray_train
from unlearn_ray.scheduling.worker import WorkerConfig
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.once import Uploaded
from unlearn_ray.storage.curves import loss_curve
from unlearn_ray.storage.store import Store
from unlearn_ray.studies.fronts import Score, Vector
from unlearn_ray.studies.history import Row, first_mean
from unlearn_ray.studies.trial import Scored, TrialSeed, score

_log = logging.getLogger(__name__)

keep_credentials()


def executor(
    worker_config: WorkerConfig, resources: Resources, board: Any
) -> Callable[[Step], Uploaded] | None:
    """How unlearning runs: in the trial's process, or on two or more Ray Train workers."""
    if resources.most_workers == 1:
        return None
    return partial(
        run_under_ray_train, worker_config=worker_config, resources=resources, board=board
    )


def own_resources(resources: Resources) -> dict[str, float]:
    """The resources of a trial's own process; next to none if Ray Train workers unlearn."""
    return {"CPU": 0.01} if resources.most_workers > 1 else bundle(resources)


class Trial(tune.Trainable):  # type: ignore[misc]
    """One trial: each of Tune's training iterations is one tuning seed."""

    def setup(
        self, config: dict[str, Any], sweep: Sweep, worker_config: WorkerConfig, board: Any
    ) -> None:
        """Called once per actor."""
        notice.install_handler()
        self.sweep = sweep
        self.worker_config = worker_config
        self.board = board
        self.studies = {study.name: study for study in sweep.studies}
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in the same, warm process."""
        self.trial = new_config
        self.scores: tuple[Score, ...] = ()
        self.excesses: tuple[Vector, ...] = ()
        self.hours: tuple[float, ...] = ()
        return True

    def step(self) -> dict[str, Any]:
        """Run the next tuning seed."""
        study = self.studies[self.trial["study"]]
        seeds = self.sweep.seeds.tuning
        try:
            with notice.at_work():
                scored = self.score(study, seeds[len(self.scores)])
        except WorkerLeaving as error:
            sys.exit(str(error))  # Tune restarts the trial where there is room for it
        except StopRequested:
            return self._result(last=False, done=True)
        except WorkersLost as error:
            return self._result(last=True, done=True, failure=str(error), untold=True)
        except UnlearnRayError as error:
            # Without a row, the trial is run again once the store or the data are fixed.
            return self._result(last=True, done=True, failure=str(error), again=True)
        except Exception as error:
            # Tune would restart the trial, as if its worker had been lost.
            _log.exception("trial %s", self.trial["trial"])
            failure = f"its worker failed: {reason_of(error)}"
            return self._result(last=True, done=True, failure=failure, untold=True)
        self.hours += (scored.accelerator_hours,)
        if scored.score is None:
            return self._result(last=True, done=True, failure=scored.failure)
        self.scores += (scored.score,)
        self.excesses += (scored.excesses,)
        last = len(self.scores) == len(seeds)
        done = last or scored.stopped
        return {
            **self._result(last=last, done=done, stopped=scored.stopped),
            **self._shown(scored),
        }

    def _result(
        self,
        *,
        last: bool,
        done: bool,
        stopped: bool = False,
        failure: str | None = None,
        untold: bool = False,
        again: bool = False,
    ) -> dict[str, Any]:
        """The result for Tune and the search; an interrupted trial is done, but not complete."""
        return {
            METRIC: first_mean(self.scores) if failure is None and self.scores else None,
            SCORES: self.scores,
            EXCESSES: self.excesses if any(self.excesses) else (),
            SEEDS_RUN: len(self.scores),
            LAST: last,
            STOPPED: stopped,
            FAILURE: failure,
            UNTOLD: untold,
            AGAIN: again,
            HOURS: self.hours,
            "done": done,
        }

    def _shown(self, scored: Scored) -> dict[str, Any]:
        """What loggers show of a seed; empty without loggers."""
        if not self.sweep.log:
            return {}
        columns = [column for metric in self.sweep.scored_by for column in metric.columns]
        value, gap = SHOWN
        compared = columns if self.sweep.setting.compares else []
        return {
            **{value + column: scored.row[column] for column in columns},
            **{gap + column: scored.row[f"{column}_gap"] for column in compared},
            CURVE: curve_points(scored.row, self.worker_config.runtime(self.board).store),
        }

    def score(self, study: Study, seed: int) -> Scored:
        """Unlearn, observe, measure, write the row."""
        number, hyperparameters = self.trial["trial"], self.trial["hyperparameters"]
        point = study.searched(hyperparameters)
        bars: TrialBars = self.trial["bars"]
        run = len(self.scores)
        trial = TrialSeed.of(
            self.sweep,
            study,
            number,
            point,
            seed,
            "tuning",
            earlier=self.scores,
            earlier_excesses=self.excesses,
            bar=bars[run] if run < len(bars) else None,
        )
        scored = score(
            trial,
            self.worker_config.runtime(self.board),
            executor(self.worker_config, self.sweep.resources.trial, self.board),
        )
        if scored.wrote:
            self.board.wrote.remote(trial.row_name, scored.row)
        return scored


Point = tuple[str, float, int]


def curve_points(row: Row, store: Store) -> list[Point]:
    """The loss curves of a row's unlearning: names, values and iterations, for loggers.

    There are none if the store lacks them: no sweep fails for what is only shown.
    """
    try:
        curves = loss_curve(store, str(row["key_unlearn"]))
    except StoreError as error:
        _log.warning("loss curve of %s: %s", row["key_unlearn"], error)
        return []
    parts = [name for name in ("phase", "player") if curves[name].nunique() > 1]
    points = []
    for point in curves.dropna().to_dict("records"):
        of_part = "".join(f"/{name}_{point[name]}" for name in parts)
        for name in ("loss", "learning_rate"):
            series = f"{name}/seed_{row['seed']}{of_part}"
            points.append((series, float(point[name]), int(point["iteration"])))
    return points


def _callbacks(sweep: Sweep) -> list[Any]:
    if not sweep.log:
        return []
    # Their imports are slow, in every worker that unpickles a trial.
    from unlearn_ray.scheduling.loggers import callbacks

    return callbacks(sweep)


def run_studies(
    sweep: Sweep,
    studies: list[SharedStudy],
    worker_config: WorkerConfig,
    board: Any,
    jobs: Jobs,
    *,
    on_start: Callable[[Assignment], None],
    on_end: Callable[[Assignment, Ending], None],
    may_launch: Callable[[], bool],
    stopping: Callable[[], bool],
    note: Callable[[str], None],
) -> None:
    """Run every trial that has not ended; returns when all that started here have ended.

    Args:
        sweep: sets the resources.
        studies: its studies, in their current state.
        worker_config: of the actors.
        board: for progress.
        jobs: the driver's; Tune's runs are added to them.
        on_start: called with each trial that starts.
        on_end: called with each trial that ends.
        may_launch: called before every trial; after the first False, there are no more.
        stopping: polled throughout.
        note: called with messages for the user.
    """
    if not may_launch():
        return
    resources = sweep.resources.trial
    room = Room(resources, sweep.search.concurrent)
    searched = [study for study in sweep.studies if study.space]
    most = sweep.search.lag * len(searched)
    if searched and room() > most:
        note(
            f"the cluster has room for {counted(room(), 'trial')}; {most} run at a time, "
            f"{sweep.search.lag} of each study; a larger search.window "
            "allows more, but is another search"
        )
    search = StudiesSearch(
        studies,
        room,
        lambda: may_launch() and not stopping(),
        on_start,
        on_end,
        resources.retries,
    )
    trainable = tune.with_resources(
        tune.with_parameters(Trial, sweep=sweep, worker_config=worker_config, board=board),
        tune.PlacementGroupFactory([own_resources(resources)], **selectors(resources, 1)),
    )
    Rounds(
        search,
        trainable,
        name=sweep.name,
        room=room,
        retries=resources.retries,
        callbacks=partial(_callbacks, sweep),
        stopping=stopping,
        jobs=jobs,
    ).run()
