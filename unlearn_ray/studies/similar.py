"""Studies that differ in code or data alone: why a finished search has to be run again.

A study's identity includes each part's revision, a digest of the code of parts from outside the
package, and one of the data of their datasets. The store files each identity under a hash of the
rest, so that one listing finds the studies that a change has made obsolete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unlearn_ray.config.sweep_schema import Study, Sweep
from unlearn_ray.core.keys import canonical, content_key
from unlearn_ray.core.words import counted
from unlearn_ray.storage.store import Store
from unlearn_ray.studies.stored_rows import read_rows
from unlearn_ray.studies.study import study_identity

Aspect = Literal["revision", "code", "data"]
_ASPECTS: tuple[Aspect, ...] = ("revision", "code", "data")


@dataclass(frozen=True)
class Change:
    """A part that has changed since a study was run.

    Attributes:
        part: its name.
        aspects: which of its aspects have changed.
        trials: how many trials of the earlier study the store holds.
        study: the earlier study's key.
    """

    part: str
    aspects: tuple[Aspect, ...]
    trials: int
    study: str

    def __str__(self) -> str:
        what = " and ".join(self.aspects)
        trials = counted(self.trials, "stored trial")
        return f"{what} of {self.part} changed since {trials}"


def remember(sweep: Sweep, study: Study, store: Store) -> None:
    """Store a study's identity, for `changes` of later ones to find."""
    identity = study_identity(sweep, study)
    data = canonical(identity).encode()
    store.write_study(_likeness(identity), content_key(identity), data)


def changes(sweep: Sweep, study: Study, store: Store) -> tuple[Change, ...]:
    """The differences from the similar study that has the most trials in the store.

    Raises:
        StoreError: the store cannot be read.
    """
    identity = study_identity(sweep, study)
    found: list[tuple[Change, ...]] = []
    for key, stored in store.studies(_likeness(identity)).items():
        trials = _trials(key, store)
        if key != content_key(identity) and trials:
            then = dict(_parts(stored, ""))
            found.append(
                tuple(
                    Change(part["name"], aspects, trials, key)
                    for where, part in _parts(identity, "")
                    if (aspects := _differing(part, then.get(where, {})))
                )
            )
    return max(found, key=lambda changed: changed[0].trials, default=())


def _trials(study: str, store: Store) -> int:
    rows = read_rows(store, f"{study}/", columns=("trial", "purpose")).to_pylist()
    return len({row["trial"] for row in rows if row["purpose"] == "tuning"})


def _differing(now: Mapping[str, Any], then: Mapping[str, Any]) -> tuple[Aspect, ...]:
    return tuple(aspect for aspect in _ASPECTS if now.get(aspect) != then.get(aspect))


def _likeness(identity: Any) -> str:
    return content_key(_without_aspects(identity))


def _is_part(value: Any) -> bool:
    return isinstance(value, Mapping) and {"name", "revision"} <= value.keys()


def _without_aspects(value: Any) -> Any:
    if isinstance(value, Mapping):
        dropped = _ASPECTS if _is_part(value) else ()
        return {k: _without_aspects(inner) for k, inner in value.items() if k not in dropped}
    return [_without_aspects(item) for item in value] if isinstance(value, list) else value


def _parts(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The parts in an identity, by where they stand."""
    if _is_part(value):
        yield where, value
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _parts(inner, f"{where}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _parts(inner, f"{where}.{number}")
