"""Try inputs on a piece of the program for a while, and say each kind of fault once, small.

An input is its number: the same seed and number make the same input on every machine. How many
are tried depends on the machine's speed alone.
"""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Generic, TypeVar

from unlearn_ray.config.yaml_tree import ConfigErrors
from unlearn_ray.core.errors import UnlearnRayError

I = TypeVar("I")  # noqa: E741

# What one input may take: of the processor's time, of a clock's, of memory.
CPU_SECONDS, SECONDS, MEGABYTES = 10.0, 60.0, 600
_MINIMISING_SECONDS = 4.0
_MOST_KINDS = 25
LONGEST_LINE, _MOST_LINES = 1600, 21
SECRET = "geheim"

_PACKAGE = str(Path(__file__).parents[2] / "unlearn_ray")


class TooLong(BaseException):
    """An input took more than its time; no `except Exception` swallows it."""


@dataclass
class Fault:
    """One kind of fault, with the first input that showed it, made smaller."""

    kind: str
    number: int
    reproduction: str
    seen: int = 1


@dataclass
class Tally:
    """What was tried on one target."""

    target: str
    seed: int
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    faults: dict[str, Fault] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        return self.accepted + self.refused + sum(fault.seen for fault in self.faults.values())

    def __str__(self) -> str:
        seen = sum(fault.seen for fault in self.faults.values())
        return (
            f"{self.target:12} {self.tried:7,} inputs in {self.seconds:4.0f} s (seed {self.seed}): "
            f"{self.accepted:,} accepted, {self.refused:,} refused, {seen} faults of "
            f"{len(self.faults)} kinds; slowest {self.slowest:.1f} s"
        )

    def check(self, accepted: float = 0.0, refused: float = 0.0) -> None:
        """Fail with every kind of fault.

        Args:
            accepted: share of the inputs that must have been, of a hundred or more.
            refused: likewise.
        """
        assert not self.faults, "\n\n".join(
            f"{fault.kind}\n  {fault.seen} times; input {fault.number} of seed {self.seed}, "
            f"made smaller: {fault.reproduction}"
            for fault in self.faults.values()
        )
        if self.tried >= 100:
            assert self.accepted >= accepted * self.tried, "hardly anything is accepted"
            assert self.refused >= refused * self.tried, "hardly anything is refused"


TALLIES: list[Tally] = []


@dataclass(frozen=True)
class Target(Generic[I]):
    """A piece of the program.

    Attributes:
        name: of it.
        make: an input, drawn.
        judge: whether the input is accepted; raises an `UnlearnRayError` to refuse it, and
            anything else where it is at fault.
        smaller: inputs that are parts of one, for the reproduction.
        show: an input as a person could type it.
    """

    name: str
    make: Callable[[random.Random], I]
    judge: Callable[[I], object]
    smaller: Callable[[I], Iterator[I]] = lambda _: iter(())
    show: Callable[[I], str] = repr

    def run(self, seconds: float) -> Tally:
        """Try inputs for so long."""
        seed = int(os.environ.get("FUZZ_SEED", "0"))
        only = os.environ.get("FUZZ_ONLY")
        tally = Tally(self.name, seed)
        TALLIES.append(tally)
        begun = time.monotonic()
        number = int(only) if only else 0
        while time.monotonic() - begun < seconds and len(tally.faults) < _MOST_KINDS:
            self._try(number, tally)
            number += 1
            if only:
                break
        tally.seconds = time.monotonic() - begun
        return tally

    def _try(self, number: int, tally: Tally) -> None:
        drawn = self.make(random.Random(f"{tally.seed} {self.name} {number}"))
        started = time.monotonic()
        kind, accepted = self._verdict(drawn)
        tally.slowest = max(tally.slowest, time.monotonic() - started)
        if kind is None:
            tally.accepted += accepted
            tally.refused += not accepted
        elif kind in tally.faults:
            tally.faults[kind].seen += 1
        else:
            small = drawn if "TooLong" in kind else self._minimised(drawn, kind)
            tally.faults[kind] = Fault(kind, number, self.show(small))

    def _verdict(self, drawn: I) -> tuple[str | None, bool]:
        """The kind of fault, if it is one, and whether the input was accepted."""
        before = _peak()
        try:
            with _limited():
                self.judge(drawn)
        except UnlearnRayError as error:
            wrong = wrong_with(error)
            return (f"{type(error).__name__}: {wrong}" if wrong else None), False
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            return _kind(error), False
        if _peak() - before > MEGABYTES:
            return f"more than {MEGABYTES} MB", True
        return None, True

    def _minimised(self, drawn: I, kind: str) -> I:
        """The smallest part found that is at fault in the same way."""
        until = time.monotonic() + _MINIMISING_SECONDS
        smallest, found = drawn, True
        while found:
            found = False
            for candidate in self.smaller(smallest):
                if time.monotonic() > until:
                    return smallest
                if self._verdict(candidate)[0] == kind:
                    smallest, found = candidate, True
                    break
        return smallest


def wrong_with(error: UnlearnRayError) -> str | None:
    """What is wrong with how an error is told, if anything."""
    text = str(error)
    lines = text.split("\n")
    most = _MOST_LINES if isinstance(error, ConfigErrors) else 1
    if len(lines) > most:
        return f"told in {len(lines)} lines"
    if (longest := max(map(len, lines))) > LONGEST_LINE:
        return f"told in a line of {longest} characters"
    if not all(line.isprintable() for line in lines):
        return f"told with characters that do not print: {_where(error)}"
    if SECRET in text:
        return "tells a secret"
    if "Traceback" in text or not (error.subject and error.reason and error.remedy):
        return f"told without subject, reason or remedy: {_where(error)}"
    return None


def _kind(error: BaseException) -> str:
    said = re.sub(r"0x[0-9a-f]+|\d+|'[^']*'|\"[^\"]*\"", "_", str(error))[:80].replace("\n", " ")
    return f"{type(error).__name__} at {_where(error)}: {said}"


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(_PACKAGE)] or frames[-1:]
    last = ours[-1]
    return f"{Path(last.filename).name}:{last.lineno} {last.name}"


def _peak() -> float:
    """The most megabytes that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 if sys.platform != "darwin" else 1 << 20)


@contextmanager
def _limited() -> Iterator[None]:
    def stop(_: int, __: FrameType | None) -> None:
        raise TooLong(f"more than {CPU_SECONDS:g} s of work, or {SECONDS:g} s of waiting")

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, CPU_SECONDS),
        signal.SIGALRM: (signal.ITIMER_REAL, SECONDS),
    }
    before = {number: signal.signal(number, stop) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])
