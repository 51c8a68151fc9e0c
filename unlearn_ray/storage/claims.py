"""Claims: the trials of a study, each with its point and with the driver that runs it.

Trial n of a study is claimed by creating `claims/<study>/<n>.<generation>.json`. The first
generation fixes the trial's point for good: whoever comes later finds it there and takes it as it
is, so that all drivers continue the same trials. Whoever created the highest generation runs the
trial until its rows say that it ended. A driver is known by a lease of its own, which its
heartbeat keeps alive; when that has ended, or is silent, another may claim the next generation.

Claims only save double work: that a trial has one point is the doing of create-if-absent, that a
row has one truth that of rows. Two drivers that both believe to run a trial write equal rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.storage.objects import ObjectStore, read_present

_PREFIX = "claims/"


@dataclass(frozen=True)
class Claim:
    """A trial's point, and who runs the trial.

    Attributes:
        point: the searched fields.
        driver: key of the lease of the driver that runs it; "" once that has given it back.
        sweep: that the driver runs it for.
        generation: how often the trial was claimed.
    """

    point: dict[str, Any]
    driver: str
    sweep: str
    generation: int


_ADAPTER = TypeAdapter(Claim)


class Claims:
    """The claims of one study.

    Args:
        objects: of the store.
        study: its key.
    """

    def __init__(self, objects: ObjectStore, study: str) -> None:
        self._objects = objects
        self._folder = f"{_PREFIX}{study}/"

    def newest(self, among: Iterable[int] | None = None) -> dict[int, Claim]:
        """The last claim of each trial, by number.

        Args:
            among: numbers of the trials that are asked for; all if not given.

        Raises:
            CorruptObject: a claim cannot be read.
        """
        return self._newest(self._folder, among)

    def newest_of(self, number: int) -> Claim | None:
        """The last claim of one trial; None if nobody has claimed it.

        Raises:
            CorruptObject: it cannot be read.
        """
        return self._newest(f"{self._folder}{number:06d}.", [number]).get(number)

    def _newest(self, prefix: str, among: Iterable[int] | None) -> dict[int, Claim]:
        latest: dict[int, int] = {}
        for name in self._objects.names(prefix):
            number, _, generation = name[len(self._folder) :].removesuffix(".json").partition(".")
            if number.isdecimal() and generation.isdecimal():
                latest[int(number)] = max(latest.get(int(number), 0), int(generation))
        wanted = latest.keys() if among is None else latest.keys() & set(among)
        names = {self._name(number, latest[number]): number for number in sorted(wanted)}
        found = read_present(self._objects, names)
        return {names[name]: _parsed(name, data) for name, data in found.items()}

    def take(self, number: int, point: Mapping[str, Any], driver: str, sweep: str) -> Claim:
        """Claim a trial that nobody has claimed; whoever was quicker has it, with its point."""
        mine = Claim(dict(point), driver, sweep, 1)
        name = self._name(number, 1)
        if self._objects.create(name, _to_bytes(mine)):
            return mine
        claim = self.newest_of(number)
        assert claim is not None, "a claim that could not be created exists"
        return claim

    def later(self, claims: Mapping[int, Claim]) -> dict[int, Claim]:
        """Claims that came right after these, by number; one request for each."""
        names = {self._name(n, claim.generation + 1): n for n, claim in claims.items()}
        found = read_present(self._objects, names)
        return {names[name]: _parsed(name, data) for name, data in found.items()}

    def give_back(self, number: int, claim: Claim) -> None:
        """Leave a trial to whoever comes; its point stays."""
        left = Claim(claim.point, "", claim.sweep, claim.generation + 1)
        self._objects.create(self._name(number, left.generation), _to_bytes(left))

    def take_over(self, number: int, claim: Claim, driver: str, sweep: str) -> bool:
        """Claim a trial, with its point, that another driver has left; False if one was quicker."""
        mine = Claim(claim.point, driver, sweep, claim.generation + 1)
        return self._objects.create(self._name(number, mine.generation), _to_bytes(mine))

    def _name(self, number: int, generation: int) -> str:
        return f"{self._folder}{number:06d}.{generation:06d}.json"


def _to_bytes(claim: Claim) -> bytes:
    return json.dumps(asdict(claim), sort_keys=True).encode()


def _parsed(name: str, data: bytes) -> Claim:
    try:
        return _ADAPTER.validate_json(data)
    except ValidationError as error:
        raise CorruptObject(
            f"object {name}",
            "is no claim of a trial",
            "when nothing runs on this store, delete that object",
        ) from error
