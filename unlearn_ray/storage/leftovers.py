"""Finds and removes what killed processes left in a store and nobody needs.

A process that is killed between an upload and its record, or that loses its lease meanwhile, leaves
an artifact that no record names. What is younger than a given age, by the store's own clock, is
never removed, nor is

- what a record names;
- what a record that cannot be read may name;
- anything of a step without a record while a process holds its lease. It is removed under that
  lease, so that nobody runs the step meanwhile, and a suspended holder learns of it before it
  writes its record.

Checkpoints of steps without a record stay: the next run of the step resumes from them.
"""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from unlearn_ray.core.errors import StoreDenied
from unlearn_ray.storage import checkpoints
from unlearn_ray.storage.leases import Leases, Work
from unlearn_ray.storage.objects import THREADS, Entry, ObjectStore
from unlearn_ray.storage.records import from_bytes, key_in, record_name
from unlearn_ray.storage.removals import Removals
from unlearn_ray.storage.stored import Reader

PROBES = "probes/"
# Unless it is this old, what no lease protects may still be being written.
_LEAST_SECONDS = 3600.0
_PROBE = re.compile(r"probes/[0-9a-f]{32}")
_UPLOAD = re.compile(r"artifacts/([A-Za-z0-9_-]+)/([0-9a-f]{16})/[0-9a-f]{16}/")

_Step = tuple[str, str]


@dataclass
class Leftovers:
    """What was removed, or would be removed.

    Attributes:
        artifacts: files of uploads that no record names.
        checkpoints: of steps that are complete.
        probes: objects that were written to test whether the store is writable.
        held: steps whose uploads stay because a process holds their lease.
    """

    artifacts: list[Entry] = field(default_factory=list)
    checkpoints: list[Entry] = field(default_factory=list)
    probes: list[Entry] = field(default_factory=list)
    held: int = 0

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return sum(entry.size for entry in (*self.artifacts, *self.checkpoints, *self.probes))


def clock(objects: ObjectStore) -> float:
    """The store's time, Unix seconds: the timestamp of an object written now."""
    name = f"{PROBES}{uuid.uuid4().hex}"
    objects.write(name, b"what time is it?")
    (probe,) = objects.entries(name)
    objects.delete(name)
    return probe.written


class Cleaner:
    """Finds and removes leftovers.

    Args:
        objects, leases: the store's.
        reader: reads its records.
        age: in seconds; what is younger stays.
    """

    def __init__(self, objects: ObjectStore, leases: Leases, reader: Reader, age: float) -> None:
        self._objects = objects
        self._leases = leases
        self._reader = reader
        self._age = age
        self._careful = max(age, _LEAST_SECONDS)

    def clean(self, *, remove: bool) -> Leftovers:
        """Find what is left, and remove it if `remove`."""
        now = clock(self._objects)
        found = Leftovers(
            checkpoints=self._old(now, self._of_complete_steps()),
            probes=self._old(
                now,
                filter(lambda e: _PROBE.fullmatch(e.name), self._objects.entries(PROBES)),
                self._careful,
            ),
        )
        if remove:
            self._delete([*found.checkpoints, *found.probes])
            # These credentials often lack the permission to list it; the rest continues.
            with suppress(StoreDenied):
                self._objects.remove_unfinished(self._careful, now)
        uploads = self._old_uploads(now)
        named, unreadable = self._named(uploads)
        unfinished: list[tuple[_Step, list[Entry]]] = []
        for step, of_step in uploads.items():
            if step in unreadable:
                continue
            if step not in named:
                unfinished.append((step, [entry for upload in of_step for entry in upload]))
                continue
            for upload in of_step:
                if not named[step] & {entry.name for entry in upload}:
                    found.artifacts += upload
        if remove:
            self._delete(found.artifacts)
        act = self._remove_unfinished if remove else self._is_free
        with ThreadPoolExecutor(THREADS) as pool:
            for (_, files), done in zip(unfinished, pool.map(act, unfinished), strict=True):
                found.artifacts += files if done else []
                found.held += not done
        return found

    def _old(self, now: float, entries: Iterable[Entry], age: float | None = None) -> list[Entry]:
        age = self._age if age is None else age
        return [entry for entry in entries if now - entry.written >= age]

    def _of_complete_steps(self) -> list[Entry]:
        complete = {key_in(name) for name in self._objects.names("records/")} - {None}
        # Those may be running once more.
        complete -= {key for _, key in Removals(self._objects).steps()}
        return [
            entry
            for entry in self._objects.entries(checkpoints.FOLDER)
            if checkpoints.key_in(entry.name) in complete
        ]

    def _old_uploads(self, now: float) -> dict[_Step, list[list[Entry]]]:
        """The uploads of each step all of whose files are old."""
        uploads: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self._objects.entries("artifacts/"):
            match = _UPLOAD.match(entry.name)
            if match is not None:
                uploads[match[0]].append(entry)
        by_step: defaultdict[_Step, list[list[Entry]]] = defaultdict(list)
        for folder, upload in uploads.items():
            match = _UPLOAD.match(folder)
            assert match is not None
            if len(self._old(now, upload)) == len(upload):
                by_step[match[1], match[2]].append(upload)
        return by_step

    def _named(self, steps: Iterable[_Step]) -> tuple[dict[_Step, set[str]], set[_Step]]:
        """The uploads that records name, and the steps whose record cannot be read."""
        names = {record_name(*step): step for step in steps}
        sound, damaged = self._reader.sorted_out(
            names, lambda name, data: from_bytes(*names[name], data)
        )
        named = {
            names[name]: {entry.name for entry in record.uploads} for name, record in sound.items()
        }
        return named, {names[name] for name in damaged}

    def _is_free(self, unfinished: tuple[_Step, list[Entry]]) -> bool:
        (_, key), _ = unfinished
        return self._leases.is_left(key, self._careful)

    def _remove_unfinished(self, unfinished: tuple[_Step, list[Entry]]) -> bool:
        step, files = unfinished
        lease = self._leases.await_end(step[1], Work(step[0], f"removal of what {step[1]} left"))
        if lease is None:
            return False
        # Released, not deleted: a suspended holder must find it.
        with lease:
            named, unreadable = self._named([step])
            if step in unreadable:
                return False
            # It may just have been completed.
            self._delete([entry for entry in files if entry.name not in named.get(step, ())])
        return True

    def _delete(self, entries: Sequence[Entry]) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._objects.delete, [entry.name for entry in entries]))
