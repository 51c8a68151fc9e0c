"""`KeptSweep`: the file of a sweep, kept in the store that it ran on.

It is written when the sweep is announced, under a name that its content determines: a changed file
under the same sweep's name is another version, and no version is ever overwritten by another.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from unlearn_ray.core.errors import BadInput, did_you_mean, without_secrets
from unlearn_ray.core.keys import content_key
from unlearn_ray.core.release import release
from unlearn_ray.storage.store import Store
from unlearn_ray.storage.stored import Schema, Time, Word, stored

if TYPE_CHECKING:
    from unlearn_ray.config.sweep_schema import Sweep
    from unlearn_ray.studies.plan import Plan


@stored
class KeptStudy:
    """A study of the file.

    Attributes:
        key: its key when the sweep was last started.
        method: its method.
        searched: the fields that it searches.
    """

    key: Word
    method: Word
    searched: tuple[str, ...]


@stored
class KeptSweep:
    """One version of a sweep's file.

    Attributes:
        name: of the sweep.
        started: when the sweep was last started with it, ISO 8601 in UTC.
        yaml: the whole sweep, overrides applied and defaults written out.
        file: the file's own text; empty if there was none.
        studies: by name.
        version: of this package.
    """

    name: Word
    started: Time
    yaml: str
    file: str
    studies: dict[str, KeptStudy]
    version: str

    @property
    def key(self) -> str:
        """The version's name: a hash of what it says."""
        said = asdict(self)
        del said["started"]
        return content_key(said)


_SCHEMA: Schema[KeptSweep] = Schema(
    KeptSweep,
    "kept sweep file",
    "delete that object; the sweep writes it again when it is restarted",
)


def keep(plan: Plan, store: Store, file: str = "") -> None:
    """Keep the file of a sweep that is about to run.

    Args:
        plan: the sweep's.
        store: that it runs on.
        file: the text of its file.
    """
    # It needs PyTorch, which reading kept files does not.
    from unlearn_ray.config.sweep_text import sweep_text

    sweep = plan.sweep
    kept = KeptSweep(
        name=sweep.name,
        started=datetime.now(UTC).isoformat(timespec="microseconds"),
        yaml=sweep_text(sweep),
        file=without_secrets(file),
        studies={
            one.study.name: KeptStudy(one.key, one.study.method.name, tuple(one.study.space))
            for one in plan.studies
        },
        version=release(),
    )
    store.write_sweep_file(sweep.name, kept.key, json.dumps(asdict(kept), indent=1).encode())


def sweep_of(kept: KeptSweep, store: str | None = None) -> Sweep:
    """The sweep of a kept file; its data must be on this machine.

    Args:
        kept: the file.
        store: replaces the file's store.

    Raises:
        BadInput: the file cannot be used here.
    """
    # It needs PyTorch, which reading kept files does not.
    from unlearn_ray.config.sweep_file import load_sweep

    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{kept.name}.yaml"
        file.write_text(kept.yaml, encoding="utf-8")
        return load_sweep(file, (), store)


def kept_sweeps(store: Store, name: str) -> list[KeptSweep]:
    """The versions of a sweep's file, the last started first; damaged ones are logged.

    Raises:
        BadInput: the store keeps none of this name.
    """
    found = store.sweep_files(_SCHEMA.parse)
    versions = [
        kept
        for (of, key), kept in found.items()
        if (of, key) == (name, kept.key) == (kept.name, key)
    ]
    if not versions:
        reason = "this store keeps no file of such a sweep"
        raise BadInput(f"sweep {name}", reason, did_you_mean(name, {of for of, _ in found}))
    return sorted(versions, key=lambda kept: kept.started, reverse=True)
