"""Claims: the trials of a study, each with its point and the driver that runs it.

Trial n of a study is claimed by creating `claims/<study>/<n>.<generation>.json`. The first
generation fixes the trial's point permanently: later claims keep it, so that all drivers continue
the same trials. The driver that created the highest generation runs the trial until its rows say
that it ended. Each driver holds a lease of its own, which its heartbeat keeps alive; once that
lease has ended or expired, another driver may claim the next generation.

Claims only avoid duplicate work: create-if-absent ensures that a trial has one point, and that a
row has one version. Two drivers that both believe they run a trial write equal rows. So a damaged
claim does no harm: it counts as given back, with the point of an older one; if there is none, the
next driver claims the next generation with the point that it suggests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from unlearn_ray.storage.objects import ObjectStore
from unlearn_ray.storage.stored import Count, Reader, Schema, Word, stored

_PREFIX = "claims/"
_NAME = re.compile(r"([0-9]{6,9})\.([0-9]{6,9})\.json")


@stored
class Claim:
    """A trial's point, and the driver that runs it.

    Attributes:
        point: the values of the searched fields.
        driver: key of that driver's lease; "" once the driver has given the trial back.
        sweep: the sweep that the driver runs.
        generation: how many times the trial was claimed.
    """

    point: dict[str, Any]
    driver: Word | Annotated[str, Field(max_length=0)]
    sweep: Word
    generation: Count


_SCHEMA: Schema[Claim] = Schema(
    Claim, "claim of a trial", "the trial is claimed again; delete that object to end this warning"
)


class Claims:
    """The claims of one study.

    Args:
        objects: the store's.
        study: the study's key.
        reader: the store's.
    """

    def __init__(self, objects: ObjectStore, study: str, reader: Reader) -> None:
        self._objects = objects
        self._reader = reader
        self._folder = f"{_PREFIX}{study}/"

    def newest(self, among: Iterable[int] | None = None) -> dict[int, Claim]:
        """The newest claim of each trial, by number.

        Args:
            among: numbers of the trials to read; all if not given.
        """
        return self._newest(self._folder, among)

    def newest_of(self, number: int) -> Claim | None:
        """The newest readable claim of one trial; None if there is none."""
        return self._newest(self._prefix(number), [number]).get(number)

    def _newest(self, prefix: str, among: Iterable[int] | None) -> dict[int, Claim]:
        present = self._generations(prefix)
        wanted = sorted(present if among is None else present.keys() & set(among))
        newest = {self._name(number, max(present[number])): number for number in wanted}
        sound, damaged = self._reader.sorted_out(newest, self._parsed)
        found = {newest[name]: claim for name, claim in sound.items()}
        for number in sorted(newest[name] for name in damaged):
            older = [self._name(number, each) for each in sorted(present[number])]
            for claim in self._reader.parsed(older, self._parsed).values():
                found[number] = _given_back(claim, max(present[number]))
        return found

    def take(self, number: int, point: Mapping[str, Any], driver: str, sweep: str) -> Claim:
        """Claim an unclaimed trial; if another driver was quicker, its claim is returned."""
        generation = 1
        while True:
            mine = Claim(dict(point), driver, sweep, generation)
            if self._objects.create(self._name(number, generation), _to_bytes(mine)):
                return mine
            claim = self.newest_of(number)
            if claim is not None:
                return claim
            # None of its claims can be read.
            generation = max(self._generations(self._prefix(number)).get(number, {0})) + 1

    def later(self, claims: Mapping[int, Claim]) -> dict[int, Claim]:
        """The claims that directly follow these, by number; one request for each."""
        names = {self._name(n, claim.generation + 1): n for n, claim in claims.items()}
        sound, damaged = self._reader.sorted_out(names, self._parsed)
        found = {names[name]: claim for name, claim in sound.items()}
        for number in (names[name] for name in damaged):
            found[number] = _given_back(claims[number], claims[number].generation + 1)
        return found

    def give_back(self, number: int, claim: Claim) -> None:
        """Release a trial for any driver; its point stays."""
        left = _given_back(claim, claim.generation + 1)
        self._objects.create(self._name(number, left.generation), _to_bytes(left))

    def take_over(self, number: int, claim: Claim, driver: str, sweep: str) -> bool:
        """Claim a trial that another driver has abandoned; False if one was quicker."""
        mine = Claim(claim.point, driver, sweep, claim.generation + 1)
        return self._objects.create(self._name(number, mine.generation), _to_bytes(mine))

    def _generations(self, prefix: str) -> dict[int, set[int]]:
        found: dict[int, set[int]] = {}
        for name in self._objects.names(prefix):
            match = _NAME.fullmatch(name[len(self._folder) :])
            if match is not None and name == self._name(int(match[1]), int(match[2])):
                found.setdefault(int(match[1]), set()).add(int(match[2]))
        return found

    def _parsed(self, name: str, data: bytes) -> Claim:
        claim = _SCHEMA.parse(name, data)
        if not name.endswith(_ending(claim.generation)):
            raise _SCHEMA.corrupt(name, f"it says generation {claim.generation}")
        return claim

    def _prefix(self, number: int) -> str:
        return f"{self._folder}{number:06d}."

    def _name(self, number: int, generation: int) -> str:
        return f"{self._folder}{number:06d}{_ending(generation)}"


def _ending(generation: int) -> str:
    return f".{generation:06d}.json"


def _given_back(claim: Claim, generation: int) -> Claim:
    return Claim(claim.point, "", claim.sweep, generation)


def _to_bytes(claim: Claim) -> bytes:
    return json.dumps(asdict(claim), sort_keys=True).encode()
