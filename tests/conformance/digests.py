"""Digests of the code of built-in parts, steps and objective, and the command that accepts them.

    make digests        (python -m tests.conformance.digests)

`digests.json` holds, for each, the revision and the digest that were accepted last. Edited code
has another digest: its author then says whether the numbers changed, by raising the revision or
not. Comments, docstrings and layout are no part of a digest (`core.code`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from unlearn_ray.core import gaps
from unlearn_ray.core.code import digest
from unlearn_ray.core.modules import Place, locate, reached
from unlearn_ray.core.registry import Part, parts
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.evidence import floors
from unlearn_ray.families.base import Family
from unlearn_ray.methods.base import Method
from unlearn_ray.metrics.base import Metric
from unlearn_ray.models.base import Model
from unlearn_ray.objectives.base import Objective
from unlearn_ray.quantities.base import Quantity
from unlearn_ray.scores.base import Score
from unlearn_ray.steps.base import Step

# What of a sweep changes its numbers; a logger does not.
CONTRACTS: list[type[Part]] = [
    *(Dataset, ForgetSet, Model, Family, Method, Quantity, Metric, Objective, Score),
]

EVIDENCE = "unlearn_ray.evidence"
RECORDED = Path(__file__).with_name("digests.json")
COVERED = (
    *("methods", "metrics", "objectives", "quantities", "families", "models", "data", "train"),
    *("measure", "core", "steps", "scores", "evidence"),
)

# In no digest: none of these changes a number that a step stores.
UNCOVERED = {
    "unlearn_ray.core.code": "makes the digests themselves; tests/core says what they are",
    "unlearn_ray.core.boundary": "messages",
    "unlearn_ray.core.collector": "pauses garbage collection, and computes nothing",
    "unlearn_ray.core.columns": "says what rows hold, and computes none of it",
    "unlearn_ray.core.errors": "messages",
    "unlearn_ray.core.flat": "names what is within other fields, for readers",
    "unlearn_ray.core.modules": "finds source for the digests",
    "unlearn_ray.core.open_clip_import": "imports another package, and computes nothing",
    "unlearn_ray.core.printable": "messages",
    "unlearn_ray.core.ranges": "says what a search may choose; what it chose is in keys",
    "unlearn_ray.core.release": "names the release, which is in rows and in no key",
    "unlearn_ray.core.restore": "makes parts from records, for readers",
    "unlearn_ray.core.runs": "names",
    "unlearn_ray.core.text_files": "decodes files whose content, as decoded, is in keys",
    "unlearn_ray.core.torchvision_import": "imports another package, and computes nothing",
    "unlearn_ray.core.words": "messages",
    "unlearn_ray.evidence.cka": "computed from observations whenever a report is made",
    "unlearn_ray.evidence.paired": "computed from rows whenever it is asked for",
    "unlearn_ray.evidence.variance": "computed from rows whenever it is asked for",
    "unlearn_ray.evidence.verdicts": "likewise",
    "unlearn_ray.methods": "finds methods by the names of their classes",
    "unlearn_ray.objectives.goal": "asks objectives, each of which has a digest",
    "unlearn_ray.steps.graph": "says in which order steps are run",
    "unlearn_ray.steps.known": "keeps records",
    "unlearn_ray.steps.once": "runs what others compute",
    "unlearn_ray.steps.timing": "times the first iterations of a training, and keeps nothing of it",
    "unlearn_ray.train.memory": "messages",
    "unlearn_ray.train.step_memory": "estimates memory, for plans",
    "unlearn_ray.data.loaded": "hands on what a dataset loads, or refuses it",
}

Sources = Mapping[str, str]


def covered() -> dict[str, tuple[int, Sources]]:
    """Revision and sources of each part, as `kind/name`, and of each kind of step."""
    found: dict[str, tuple[int, Sources]] = {}
    built_in = {
        (contract, name): part
        for contract in CONTRACTS
        for name, part in parts(contract).items()
        if not part.code
    }
    for (contract, name), part in built_in.items():
        place = located(part.__module__)
        sources = reached(place, text_of(place), part_counts(contract))
        if contract is Objective:  # rows hold the columns that it reads, which are made there
            makers = (gaps.__name__, floors.__name__)
            sources = {**sources, **{name: text_of(located(name)) for name in makers}}
        found[f"{contract.kind}/{name}"] = (part.revision, sources)
    declaring = {part.__module__ for part in built_in.values()}
    kinds = {name: kind for name, kind in parts(Step).items() if not kind.code}
    declaring |= {kind.__module__ for kind in kinds.values()}
    for name, kind in kinds.items():
        place = located(kind.__module__)
        counts = step_counts(declaring - {base.__module__ for base in kind.__mro__})
        found[f"step/{name}"] = (kind.revision, reached(place, text_of(place), counts))
    return found


def part_counts(contract: type[Part]) -> Callable[[Place], bool]:
    """What of a part's imports its digest covers: its own room, and the toolbox of statistics."""
    rooms = (".".join(contract.room.split(".")[:2]), EVIDENCE)

    def counts(place: Place) -> bool:
        return any(within(place.name, room) for room in rooms) and place.name not in UNCOVERED

    return counts


def step_counts(declaring: set[str]) -> Callable[[Place], bool]:
    """What of a step's imports its digest covers: nothing that the digest of a part covers."""
    rooms = [f"unlearn_ray.{room}" for room in ("core", "data", "train", "measure", "steps")]
    rooms.append(EVIDENCE)

    def counts(place: Place) -> bool:
        if place.name in declaring or place.name in UNCOVERED:
            return False
        return any(within(place.name, room) for room in rooms)

    return counts


def located(module: str) -> Place:
    place = locate(module)
    assert place is not None
    return place


def text_of(place: Place) -> str:
    text = place.source()
    assert text is not None
    return text


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def current() -> dict[str, dict[str, Any]]:
    """What `digests.json` should hold."""
    return {
        name: {"revision": revision, "digest": digest(sources)}
        for name, (revision, sources) in sorted(covered().items())
    }


def recorded() -> dict[str, dict[str, Any]]:
    """What was accepted."""
    if not RECORDED.exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return found


def differences(
    old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """A line for each part or step that is not what was accepted."""
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if before is None:
            yield f"{name}: new"
        elif after is None:
            yield f"{name}: gone"
        elif before["revision"] != after["revision"]:
            yield f"{name}: revision {before['revision']} -> {after['revision']}"
        else:
            yield f"{name}: code changed, revision is still {after['revision']}"


def main() -> int:
    """Accept the code as it is, and print what that changes."""
    old, new = recorded(), current()
    print("\n".join(differences(old, new)) or "nothing changed")  # noqa: T201
    lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in new.items()]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
