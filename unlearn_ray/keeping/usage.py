"""What fills a store: bytes by sweep and kind of step, shared or not, and what nobody refers to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from unlearn_ray.keeping.holdings import ARTIFACTS, Holdings
from unlearn_ray.storage.objects import Entry
from unlearn_ray.storage.store import Store

NOBODY = "(nobody)"
UNRECORDED = "(no record)"
STORE = "(store)"


@dataclass(frozen=True)
class Usage:
    """The size of some objects.

    Attributes:
        sweep: that refers to them. `(nobody)`: no sweep does. `(no record)`: artifacts that no
            record names. `(store)`: objects that are no artifacts.
        kind: of the steps; of other objects, their folder.
        objects: how many.
        bytes: their size.
        shared: as much of it other sweeps refer to, too.
    """

    sweep: str
    kind: str
    objects: int
    bytes: int
    shared: int


@dataclass(frozen=True)
class Total:
    """The size of a store.

    Attributes:
        bytes: of all objects, each counted once.
        nobody: of artifacts that no sweep refers to or no record names.
    """

    bytes: int
    nobody: int


def usages(store: Store) -> tuple[list[Usage], Total]:
    """What fills a store, by sweep and kind, the largest of each sweep first; and its size.

    What several sweeps refer to counts for each of them.

    Raises:
        StoreError: it cannot be read.
    """
    others = [each for each in store.objects.entries("") if not each.name.startswith(ARTIFACTS)]
    holdings = Holdings.of(store)
    references = holdings.references
    users: defaultdict[str, int] = defaultdict(int)
    for keys in references.values():
        for key in keys:
            users[key] += 1
    found: list[Usage] = []
    for name in holdings.sweeps:
        found += _by_kind(name, references[name], holdings, users)
    unused = [key for key in holdings.records if not users[key]]
    found += _by_kind(NOBODY, unused, holdings, users)
    named = {name for record in holdings.records.values() for name in record.files}
    unrecorded = [entry for name, entry in holdings.entries.items() if name not in named]
    found += _by_folder(UNRECORDED, unrecorded, 1)
    found += _by_folder(STORE, others, 0)
    everything = sum(entry.size for entry in (*holdings.entries.values(), *others))
    nobody = sum(one.bytes for one in found if one.sweep in (NOBODY, UNRECORDED))
    return found, Total(everything, nobody)


def _by_kind(
    sweep: str, keys: Iterable[str], holdings: Holdings, users: Mapping[str, int]
) -> list[Usage]:
    of_kind: defaultdict[str, list[tuple[Entry, bool]]] = defaultdict(list)
    for key in keys:
        record = holdings.records[key]
        of_kind[record.kind] += [(each, users[key] > 1) for each in holdings.present(record)]
    found = [
        Usage(
            sweep=sweep,
            kind=kind,
            objects=len(files),
            bytes=sum(entry.size for entry, _ in files),
            shared=sum(entry.size for entry, shared in files if shared),
        )
        for kind, files in of_kind.items()
        if files
    ]
    return sorted(found, key=lambda one: (-one.bytes, one.kind))


def _by_folder(sweep: str, entries: Iterable[Entry], depth: int) -> list[Usage]:
    of_folder: defaultdict[str, list[int]] = defaultdict(list)
    for entry in entries:
        *folders, _ = entry.name.split("/")
        of_folder[folders[depth] if len(folders) > depth else "other"].append(entry.size)
    found = [Usage(sweep, name, len(all_), sum(all_), 0) for name, all_ in of_folder.items()]
    return sorted(found, key=lambda one: (-one.bytes, one.kind))
