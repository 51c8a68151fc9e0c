"""`Manifest`: a description of a sweep, written to the store when it starts.

With it and the rows, records and leases, anybody can follow the sweep's progress without its
file. A restarted sweep replaces it; planning writes none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from unlearn_ray.core.schema import PositiveFloat
from unlearn_ray.storage.processes import ProcessIdentity
from unlearn_ray.storage.store import Store
from unlearn_ray.storage.stored import Count, Schema, Time, Word, stored

if TYPE_CHECKING:
    from unlearn_ray.studies.plan import Plan


@stored
class Wanted:
    """Something that a sweep wants: a reference step, or a study.

    Attributes:
        kind: of the step, or the study's method.
        key: its own.
        name: of the step, for people; of the study, as in its rows.
        trials: how many a study should have.
    """

    kind: Word
    key: Word
    name: str
    trials: Count = 0


@stored
class Manifest:
    """A sweep as it was last started.

    Attributes:
        name: of the sweep.
        started: when, ISO 8601 in UTC.
        driver: the process that runs it.
        references: the steps of the reference models.
        studies: in the order of the file.
        tuning: the tuning seeds.
        runs: how many reporting runs a study has: seeds times replicates.
        reference_scores: how many rows of scores the reference models have.
        study_scores: how many those of each study's winner has.
        budget_hours: accelerator hours that it may spend; None is unlimited.
        plugins: the modules and files that its parts from outside the package were found in.
    """

    name: Word
    started: Time
    driver: ProcessIdentity
    references: tuple[Wanted, ...]
    studies: tuple[Wanted, ...]
    tuning: tuple[Count, ...]
    runs: Count
    reference_scores: Count
    study_scores: Count
    budget_hours: PositiveFloat | None
    plugins: tuple[str, ...] = ()


_SCHEMA: Schema[Manifest] = Schema(
    Manifest,
    "manifest of a sweep",
    "delete that object; the sweep writes it again when it is restarted",
)


def announce(plan: Plan, store: Store, file: str = "") -> None:
    """Write the manifest, the file and the studies' identities of a sweep that is about to run.

    Args:
        plan: the sweep's.
        store: that it runs on.
        file: the text of its file.
    """
    # They need PyTorch, which reading manifests does not.
    from unlearn_ray.monitor.kept_sweeps import keep
    from unlearn_ray.studies.bank import reference_score_rows, score_rows_of_a_study
    from unlearn_ray.studies.similar import remember

    sweep = plan.sweep
    keep(plan, store, file)
    for study in sweep.studies:
        remember(sweep, study, store)
    steps = (planned.step for planned in plan.references)
    manifest = Manifest(
        name=sweep.name,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        driver=ProcessIdentity.here(),
        references=tuple(Wanted(step.name, step.key, f"{step}") for step in steps),
        studies=tuple(
            Wanted(one.study.method.name, one.key, one.study.name, one.wanted)
            for one in plan.studies
        ),
        tuning=sweep.seeds.tuning,
        runs=len(sweep.seeds.runs),
        reference_scores=len(reference_score_rows(sweep)),
        study_scores=score_rows_of_a_study(sweep),
        budget_hours=sweep.budget.hours,
        plugins=sweep.plugins,
    )
    store.write_sweep(sweep.name, json.dumps(asdict(manifest), indent=1).encode())


def manifests(store: Store) -> dict[str, Manifest]:
    """The sweeps that ran on a store, by name, the last started first.

    Damaged manifests are logged and left out.
    """
    # A manifest under another sweep's name is a copy.
    found = {
        name: manifest
        for name, manifest in store.sweeps(_SCHEMA.parse).items()
        if manifest.name == name
    }
    return dict(sorted(found.items(), key=lambda item: item[1].started, reverse=True))


def orders(told: Mapping[str, Manifest]) -> dict[str, tuple[str, ...]]:
    """The names of each sweep's studies, in file order."""
    return {
        name: tuple(study.name for study in manifest.studies) for name, manifest in told.items()
    }


def tuning_seeds(told: Mapping[str, Manifest]) -> dict[str, tuple[int, ...]]:
    """The tuning seeds of each study in a manifest, by the study's key."""
    return {study.key: manifest.tuning for manifest in told.values() for study in manifest.studies}
