"""A study whose trials are given by their numbers: what Tune's side asks of one, and no sampler."""

from __future__ import annotations

from typing import Any

from unlearn_ray.scheduling.shared_study import Assignment, Ending, SharedStudy


class Numbered(SharedStudy):
    """Runs its trials in order, each as soon as it is asked for.

    Attributes:
        ended: how each trial ended, by number.
        given_back: numbers of trials that could not be run.
    """

    def __init__(self, name: str, numbers: list[int], fixed: dict[str, Any] | None = None) -> None:
        self.name = name
        self.numbers = list(numbers)
        self.fixed = fixed or {}
        self.started = 0
        self.ended: dict[int, Ending] = {}
        self.given_back: list[int] = []

    @property
    def left(self) -> int:
        return len(self.numbers)

    def next(self) -> Assignment | None:
        self.started += 1
        return Assignment(self.name, self.numbers.pop(0), {})

    def put_back(self, number: int) -> None:
        self.numbers.insert(0, number)
        self.started -= 1

    def give_back(self, number: int) -> None:
        self.given_back.append(number)
        self.numbers.clear()

    def end(self, assignment: Assignment, ending: Ending) -> None:
        self.ended[assignment.number] = ending
