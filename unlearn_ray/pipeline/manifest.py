"""`Manifest`: what a sweep says of itself in the store when it starts.

From it and from the rows, records and leases, anybody can tell how far the sweep is without its
file. A sweep that is started again replaces it; a plan writes none.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from unlearn_ray.core.errors import CorruptObject
from unlearn_ray.pipeline.plan import Plan
from unlearn_ray.pipeline.similar import remember
from unlearn_ray.storage.processes import ProcessIdentity
from unlearn_ray.storage.store import Store


@dataclass(frozen=True)
class NamedStep:
    """A reference step: what it is, its key, and its name for people."""

    kind: str
    key: str
    name: str


@dataclass(frozen=True)
class NamedStudy:
    """A study: its name (`method` of its rows), its key, and how many trials it is to have."""

    method: str
    key: str
    wanted: int


@dataclass(frozen=True)
class Manifest:
    """A sweep as it was last started.

    Attributes:
        name: of the sweep.
        started: when, ISO 8601 in UTC.
        driver: the process that runs it.
        references: steps of the reference models.
        studies: in the order of the file.
        tuning, reporting: seeds.
        budget_hours: accelerator hours that it may spend; None is no limit.
    """

    name: str
    started: str
    driver: ProcessIdentity
    references: tuple[NamedStep, ...]
    studies: tuple[NamedStudy, ...]
    tuning: tuple[int, ...]
    reporting: tuple[int, ...]
    budget_hours: float | None


_ADAPTER = TypeAdapter(Manifest)


def announce(plan: Plan, store: Store) -> None:
    """Write the manifest of a sweep that this process is about to run, and what its studies are."""
    sweep = plan.sweep
    for study in sweep.studies:
        remember(sweep, study, store)
    steps = (planned.step for planned in plan.references)
    manifest = Manifest(
        name=sweep.name,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        driver=ProcessIdentity.here(),
        references=tuple(NamedStep(step.kind, step.key, f"{step}") for step in steps),
        studies=tuple(NamedStudy(one.study.name, one.key, one.wanted) for one in plan.studies),
        tuning=sweep.seeds.tuning,
        reporting=sweep.seeds.reporting,
        budget_hours=sweep.budget.hours,
    )
    store.write_sweep(sweep.name, json.dumps(asdict(manifest), indent=1).encode())


def manifests(store: Store) -> dict[str, Manifest]:
    """The sweeps that ran on a store, by name, the last started first.

    Raises:
        CorruptObject: a manifest cannot be read.
    """
    found = {name: _parsed(name, data, store) for name, data in store.sweeps().items()}
    return dict(sorted(found.items(), key=lambda item: item[1].started, reverse=True))


def orders(store: Store) -> dict[str, tuple[str, ...]]:
    """The names of each sweep's studies, in the order of its file."""
    return {
        name: tuple(study.method for study in manifest.studies)
        for name, manifest in manifests(store).items()
    }


def _parsed(name: str, data: bytes, store: Store) -> Manifest:
    try:
        return _ADAPTER.validate_json(data)
    except ValidationError as error:
        raise CorruptObject(
            f"object sweeps/{name}.json of {store.url}",
            "is no manifest of a sweep",
            "delete it; the sweep writes it anew when it is started again",
        ) from error
