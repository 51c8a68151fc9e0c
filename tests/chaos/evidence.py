"""What the requests that passed a proxy prove about a store: nothing lost, nothing run twice."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from tests.chaos.proxy import Exchange
from unlearn_ray.core.registry import parts
from unlearn_ray.steps.base import Step

ABSENT = "absent"


@dataclass(frozen=True)
class History:
    """The requests that concern one store.

    Attributes:
        bucket: its name.
        prefix: of the store's objects in it, with a slash at its end.
        exchanges: of the proxy: all, those to come included.
    """

    bucket: str
    prefix: str
    exchanges: Sequence[Exchange]

    def lost(self, client: Any) -> list[str]:
        """Objects that are not what the last writes that the server answered made of them."""
        return [
            f"{name}: {found[:12]}, expected {' or '.join(sorted(each[:12] for each in states))}"
            for name, states in sorted(self._states().items())
            if (found := _digest(client, self.bucket, self.prefix + name)) not in states
        ]

    def run_again(self) -> list[str]:
        """Steps of which something was uploaded that was begun after they had a record.

        Those that take no lease may run in two processes at a time; one record counts.
        """
        leased = {name for name, kind in parts(Step).items() if kind.exclusive}
        complete: dict[str, Exchange] = {}
        found = []
        for one, name in self._writes(key=lambda one: one.began):
            what, _, rest = name.partition("/")
            if one.method != "PUT" or what not in ("records", "artifacts"):
                continue
            kind, key = rest.removesuffix(".json").split("/")[:2]
            if kind not in leased:
                continue
            step = f"{kind}/{key}"
            record = complete.get(step)
            if record and one.began > record.ended and one.digest != record.digest:
                found.append(f"{name}: answered {one.status}")
            if what == "records" and one.status == HTTPStatus.OK:
                complete[step] = one
        return found

    def uploads(self) -> dict[str, int]:
        """How often the artifact of each step was uploaded, where that is more than once."""
        folders = defaultdict(set)
        for one, name in self._writes():
            parts = name.split("/")
            if one.method == "PUT" and parts[0] == "artifacts":
                folders["/".join(parts[1:3])].add(parts[3])
        return {step: len(places) for step, places in folders.items() if len(places) > 1}

    def _states(self) -> dict[str, set[str]]:
        """What each object may be now: the digest of its bytes, or ABSENT."""
        states: dict[str, set[str]] = defaultdict(lambda: {ABSENT})
        last_end: dict[str, float] = {}
        for one, name in self._writes():
            if not _may_have_acted(one):
                continue
            after = ABSENT if one.method == "DELETE" else one.digest
            alone = one.began >= last_end.get(name, 0.0)
            certain = one.status is not None and one.status < 300
            states[name] = {after} if certain and alone else states[name] | {after}
            last_end[name] = one.ended
        return states

    def _writes(
        self, key: Callable[[Exchange], float] = lambda one: one.ended
    ) -> Iterator[tuple[Exchange, str]]:
        """PUTs and DELETEs in order, with the names of their objects in the store."""
        start = f"/{self.bucket}/{self.prefix}"
        for one in sorted(self.exchanges, key=key):
            if one.path.startswith(start) and one.method in ("PUT", "DELETE"):
                yield one, unquote(one.path.removeprefix(start))


def _may_have_acted(one: Exchange) -> bool:
    """Whether a write may have had its effect: not if the server refused it."""
    return one.reached and (one.status is None or one.status < 300 or one.status >= 500)


def _digest(client: Any, bucket: str, key: str) -> str:
    try:
        body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    except client.exceptions.NoSuchKey:
        return ABSENT
    return hashlib.sha256(body).hexdigest()
