"""Runs that never ran: a sweep played through on a cluster of so many places.

What waits is started first come, first served, as Ray does; what things take is drawn, and differs
from one to the next. It is no copy of `monitor.time_left`: seeds are told apart, trials end early,
workers need time to start, and drivers share the work.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.reporting.replay import Run
from unlearn_ray.reporting.expected import reports_of, seeds_of, trials_of
from unlearn_ray.reporting.progress import Expected

START_SECONDS = 6.0
TUNING, REPORTING = ("t0", "t1"), ("r0", "r1")


@dataclass
class Task:
    """One thing that takes a place."""

    key: str
    work: str
    seconds: float
    after: frozenset[str] = frozenset()
    parts: list[tuple[str, float]] = field(default_factory=list)
    start: float = START_SECONDS


@dataclass
class Simulation:
    """A sweep.

    Attributes:
        places: how much runs at a time.
        pretrain, evaluate, trial: seconds, on average; of trials for each study.
        trials: of each study.
        spread: of trials, relative.
        pruned: share of trials that end after their first seed.
        done: trials of each study that an earlier run did.
        helped: share of the work that another driver does.
        trials_first: whether trials take places before what waited longer, as warm workers do.
    """

    seed: int
    places: int = 2
    pretrain: float = 120.0
    evaluate: float = 2.0
    trial: tuple[float, ...] = (12.0, 20.0, 30.0)
    trials: int = 20
    spread: float = 0.3
    pruned: float = 0.3
    done: int = 0
    trained: bool = False
    helped: float = 0.0
    trials_first: bool = False

    def run(self) -> Run:
        """What its driver told."""
        self.drawn = random.Random(self.seed)
        works, tasks = self._works(), list(self._tasks())
        run = Run(works, {"training": self.places, "trial": self.places})
        if self.trained or self.done:
            self._tell_what_was(run)
        self._play(run, tasks)
        return run

    def _works(self) -> dict[str, Expected]:
        works: dict[str, Expected] = {}
        for purpose in ("tuning", "reporting"):
            left = 0 if self.trained else len(TUNING)
            trainings = frozenset(f"{kind} for {purpose}" for kind in ("pretrain", "retrain"))
            for kind in ("pretrain", "retrain"):
                works[f"{kind} for {purpose}"] = Expected(
                    kind, "training", left, starting="training"
                )
            works[f"measure for {purpose}"] = Expected(
                f"measure for {purpose}", "trial", left * (1 if purpose == "tuning" else 2),
                after=trainings, parts=("evaluate",), starting="measuring",
            )  # fmt: skip
        references = frozenset(works)
        for number in range(len(self.trial)):
            name = trials_of(f"s{number}")
            tuning = frozenset(work for work in references if work.endswith("tuning"))
            works[name] = Expected(
                name, "trial", self.trials - self.done, after=tuning, most=8,
                starting="trial", warm=True,
            )  # fmt: skip
        for number in range(len(self.trial)):
            name = reports_of(f"s{number}")
            works[name] = Expected(
                name, "trial", len(REPORTING), after=references | {trials_of(f"s{number}")},
                parts=(seeds_of(f"s{number}"), "evaluate"), starting="measuring",
            )  # fmt: skip
        return works

    def _varied(self, seconds: float, spread: float) -> float:
        return seconds * self.drawn.lognormvariate(-(spread**2) / 2, spread)

    def _tasks(self) -> Iterator[Task]:
        for purpose, seeds in (("tuning", TUNING), ("reporting", REPORTING)):
            for seed in () if self.trained else seeds:
                for kind, share in (("pretrain", 1.0), ("retrain", 0.9)):
                    seconds = self._varied(share * self.pretrain, 0.08)
                    name = f"{kind} for {purpose}"
                    yield Task(f"{kind} {seed}", name, seconds, parts=[(kind, seconds)])
                    if purpose == "tuning" and kind == "pretrain":
                        continue
                    seconds = self._varied(self.evaluate, 0.3)
                    after = frozenset({f"{kind} {seed}", f"pretrain {seed}"})
                    yield Task(
                        f"measure {kind} {seed}", f"measure for {purpose}", seconds, after,
                        [("evaluate", seconds)],
                    )  # fmt: skip
        tuned = frozenset(f"measure retrain {seed}" for seed in (() if self.trained else TUNING))
        for number in range(self.done, self.trials):
            for study, mean in enumerate(self.trial):
                times = [self._varied(mean / 2, self.spread) for _ in TUNING]
                if self.drawn.random() < self.pruned:
                    times = times[:1]
                kind = trials_of(f"s{study}")
                parts = [(kind, sum(times)), *((seeds_of(f"s{study}"), each) for each in times)]
                # A warm worker is there at once, but for the first.
                start = START_SECONDS if number < self.places / len(self.trial) else 0.1
                yield Task(f"s{study} {number}", kind, sum(times), tuned, parts, start)
        for study, mean in enumerate(self.trial):
            trials = {f"s{study} {number}" for number in range(self.done, self.trials)}
            for seed in REPORTING:
                seconds = self._varied(mean / 2 + 1.5 * self.evaluate, self.spread)
                trained = (
                    ()
                    if self.trained
                    else (f"measure {kind} {seed}" for kind in ("pretrain", "retrain"))
                )
                yield Task(
                    f"report s{study} {seed}", reports_of(f"s{study}"), seconds,
                    frozenset(trials) | frozenset(trained), [(reports_of(f"s{study}"), seconds)],
                )  # fmt: skip

    def _tell_what_was(self, run: Run) -> None:
        for kind, share in (("pretrain", 1.0), ("retrain", 0.9), ("evaluate", 0.0)):
            for _ in range(4):
                mean = share * self.pretrain or self.evaluate
                run.tell(0.0, "took", kind, [self._varied(mean, 0.1)])
        for study, mean in enumerate(self.trial):
            for _ in range(self.done):
                seconds = self._varied(mean, self.spread)
                run.tell(0.0, "took", trials_of(f"s{study}"), [seconds])
                run.tell(0.0, "took", seeds_of(f"s{study}"), [seconds / 2])

    def _play(self, run: Run, tasks: list[Task]) -> None:
        waiting, over = list(tasks), set[str]()
        asked: set[str] = set()
        ends: list[tuple[float, int, Task, bool]] = []
        order, now = itertools.count(), 0.0
        free, others = self.places, round(self.places * self.helped / (1 - self.helped))
        told = 0.0
        shares: dict[str, tuple[Task, float]] = {}
        while waiting or ends:
            ready = [task for task in waiting if task.after <= over]
            if self.trials_first:
                ready.sort(key=lambda task: not task.work.startswith("trials"))
            for task in ready:
                trial = task.work.startswith("trials")
                if not trial and task.key not in asked:
                    asked.add(task.key)
                    run.tell(now, "ask", task.key, task.work, task.key, [task.key])
                here = self.drawn.random() >= self.helped
                if (here and not free) or (not here and not others):
                    continue
                waiting.remove(task)
                free, others = (free - 1, others) if here else (free, others - 1)
                end = now + task.start + task.seconds
                if here:
                    if trial:
                        run.tell(now, "ask", task.key, task.work, task.key)
                    shares[task.key] = (task, now + task.start)
                elif not trial:
                    run.tell(now, "put_off", task.key)
                heapq.heappush(ends, (end, next(order), task, here))
            now, _, task, here = heapq.heappop(ends)
            while told + 1.0 < now:
                told += 1.0
                self._hear(run, told, shares)
            shares.pop(task.key, None)
            over.add(task.key)
            free, others = (free + 1, others) if here else (free, others + 1)
            if here:
                run.tell(now, "end", task.key, [list(part) for part in task.parts])
            elif task.work.startswith("trials"):
                run.tell(now, "ended_elsewhere", task.work)
            else:
                run.tell(now, "end", task.key, None)
        run.over = now

    def _hear(self, run: Run, at: float, running: dict[str, tuple[Task, float]]) -> None:
        heard = {
            key: {"name": key, "share": round((at - begun) / task.seconds, 2)}
            for key, (task, begun) in running.items()
            if begun <= at and not task.work.startswith("trials")
        }
        run.tell(at, "hear", heard)
