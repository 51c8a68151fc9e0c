"""Identity of a study: what names it and its trials in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unlearn_ray.config.searchers import PERCENTILE, TPE, chosen_pruner, chosen_sampler
from unlearn_ray.config.sweep_schema import Search, Study, Sweep
from unlearn_ray.core.keys import content_key, plain
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.measure import Measure
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.references import TRAININGS, kinds_of
from unlearn_ray.studies.rows import REFERENCES, Purpose

# The steps behind a score; other kinds of steps change no search.
SCORED: tuple[type[Step], ...] = (*TRAININGS.values(), Unlearn, Samples, Observe, Measure)


def study_identity(sweep: Sweep, study: Study) -> dict[str, Any]:
    """Everything that a study's suggestions and scores depend on, in plain JSON values.

    Neither the number of trials nor metrics that the objective does not use are part of it.
    """
    search, starts = sweep.search, sweep.starts(study)
    identity = {
        "method": study.method.code_identity(),
        "name": study.own_name,
        "fixed": study.fixed,
        "space": {name: field.identity() for name, field in study.space.items()},
        **problem(sweep),
        "search": {
            "seed": search.seed,
            "startup": search.startup,
            "keep": search.keep,
            "window": search.lag,
            **_named(search),
            **({"starts": starts} if starts else {}),
        },
        "tuning": sweep.seeds.tuning,
        # Without noise floors no score depends on them.
        "tuning_replicates": (sweep.seeds.tuning_replicates if sweep.objective.uses_floor() else 1),
    }
    result: dict[str, Any] = plain(identity)
    return result


def _named(search: Search) -> dict[str, Any]:
    """The sampler and the pruner, where they are not the usual ones."""
    return {
        chosen.kind: chosen.identity()
        for chosen in (chosen_sampler(search), chosen_pruner(search))
        if chosen.options or chosen.name not in (TPE, PERCENTILE)
    }


def problem(sweep: Sweep) -> dict[str, Any]:
    """What all scores of a sweep depend on: setting, objective, and how steps are run."""
    used = zip(TRAININGS.values(), kinds_of(sweep.setting), strict=True)
    instead: dict[type[Step], type[Step]] = dict(used)
    return {
        "setting": sweep.setting,
        "objective": {**sweep.objective.content(), "metrics": sweep.scored_by},
        "observed": [metric.needs() for metric in sweep.scored_by],
        "steps": [instead.get(kind, kind).code_identity() for kind in SCORED],
    }


def study_key(sweep: Sweep, study: Study) -> str:
    """The study's identity, hashed."""
    return content_key(study_identity(sweep, study))


def point_key(point: Mapping[str, Any]) -> str:
    """A point's content hash, which identifies a trial."""
    return content_key(point)


def row_name(
    study: str,
    sweep: str,
    purpose: Purpose,
    trial: int,
    point: Mapping[str, Any],
    seed: int,
    replicate: int = 0,
) -> str:
    """The name of a row in the store: writing it twice is harmless."""
    return f"{study}/{sweep}/{purpose}-{trial:06d}-{point_key(point)}-{seed}-{replicate}"


def references_folder(sweep: Sweep) -> str:
    """The prefix of the names of reference rows."""
    return f"{REFERENCES}/{content_key(problem(sweep))}/"


def reference_row_name(sweep: Sweep, method: str, seed: int, replicate: int = 0) -> str:
    """The name of a reference model's row."""
    return f"{references_folder(sweep)}{sweep.name}/{method}-{seed}-{replicate}"
