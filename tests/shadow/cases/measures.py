"""What is observed of models of every kind, every metric of it, and the linear probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args, get_type_hints

from torch import Tensor

from tests.metrics.evidence import FORGET_SETS as KINDS
from tests.metrics.evidence import metrics_of
from tests.shadow.device import counting
from tests.shadow.ledger import Ledger
from tests.shadow.world import (
    DEEP,
    PerIteration,
    apart,
    maker,
    on_cpu,
    on_device,
    parts_of,
    resident,
)
from tests.tiny import finish, tiny_sweep
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import find, parts
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.confusion import Confusion
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.families.base import Family
from unlearn_ray.measure.inference import Inference
from unlearn_ray.measure.probe import Probe
from unlearn_ray.metrics.base import Metric, Needs, Observed
from unlearn_ray.quantities.base import SETS, Observation, Quantity
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.storage.store import open_store
from unlearn_ray.testing.toy import tiny
from unlearn_ray.train.compute import Compute

# A classifier, a model that needs a probe, and one that reads captions.
FAMILIES = ("supervised", "simclr", "clip")
FORGET_SETS: dict[str, ForgetSet] = {
    "samples": Random(count=24),
    "classes": Classes(classes=(5,)),
    "swapped": Confusion(classes=(0, 1), count=8),
}
PROBE = Probe(epochs=2, batch_size=32)


def cases() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Every registered quantity, and every registered metric."""
    for name, part in parts(Quantity).items():
        yield f"quantity {name}", partial(_quantity, part)
    for name, metric in parts(Metric).items():
        yield f"metric {name}", partial(_metric, metric)
    for features in get_args(get_type_hints(Probe)["features"]):
        yield f"probe {features}", partial(_probe, features)
    yield "relearning", _relearning
    yield "sweep", _sweep


@cache
def _inference(family: str, forgotten: str, compute: Compute, seed: int) -> Inference:
    made: Family = tiny(find(Family, family))
    model = compute.place(maker(made, DEEP)(seed), 0).eval()
    return Inference(
        model, resident(made, compute), parts_of(FORGET_SETS[forgotten]), family=made,
        probe=PROBE, seed=0, compute=compute, make_model=maker(made, DEEP),
    )  # fmt: skip


@cache
def _observation(quantity: Quantity, of: Inference) -> Observation:
    return quantity.observe(of)


@cache
def _asked() -> dict[str, set[Quantity]]:
    """The quantities that metrics ask for of models of each family."""
    asked: dict[str, set[Quantity]] = {family: set() for family in FAMILIES}
    for forgotten in KINDS:
        for metric in metrics_of(forgotten).values():
            needs = metric().needs()
            for family in FAMILIES:
                if family == "clip" or not metric.needs_captions:
                    asked[family].update(*(getattr(needs, role) for role in _ROLES))
    return asked


_ROLES = tuple(Needs.__dataclass_fields__)


def _quantity(part: type[Quantity]) -> dict[str, Any]:
    found: dict[str, float] = {}
    for family, asked in _asked().items():
        for quantity in asked:
            if isinstance(quantity, part):
                here, there = (
                    _observation(quantity, _inference(family, "samples", compute, 1))
                    for compute in (on_cpu(), on_device(exact=True))
                )
                found[f"{quantity} of {family}"] = max(
                    apart(there.samples, here.samples), apart(there.arrays, here.arrays)
                )
    return {"apart": found}


def _metric(part: type[Metric]) -> dict[str, Any]:
    forgotten = next(kind for kind in KINDS if part.unsupported(KINDS[kind]) is None)
    family = "clip" if part.needs_captions else "simclr"
    here, there = (
        part().measure(_observed(family, forgotten, compute))
        for compute in (on_cpu(), on_device(exact=True))
    )
    return {
        "expected": here.values,
        "found": there.values,
        "apart": apart(there.arrays, here.arrays),
    }


def _observed(family: str, forgotten: str, compute: Compute) -> Observed:
    """A model with its original, its retrained counterpart, and that of another seed."""

    def observed(seed: int, **others: Any) -> Observed:
        of = _inference(family, forgotten, compute, seed)
        ids, labels = ({part: each(part) for part in SETS} for each in (of.ids, of.labels))
        return Observed(ids, labels, lambda quantity: _observation(quantity, of), **others)

    return observed(
        1, original=observed(2), retrained=observed(3), other_seeds=[observed(4), observed(5)]
    )


def _probe(features: Any) -> dict[str, Any]:
    family: Family = tiny(find(Family, "simclr"))

    def logits(compute: Compute, batch: int = 32) -> dict[str, Tensor]:
        model = compute.place(maker(family, DEEP)(1), 0).eval()
        inference = Inference(
            model, resident(family, compute), parts_of(FORGET_SETS["samples"]), family=family,
            probe=replace(PROBE, features=features, batch_size=batch, last_batch="drop"),
            seed=0, compute=compute, make_model=maker(family, DEEP),
        )  # fmt: skip
        return {"logits": inference.logits("test")}

    def counted(batch: int) -> Ledger:
        with counting() as ledger:
            logits(on_device(), batch)
        return ledger

    retained = len(parts_of(FORGET_SETS["samples"]).retain)
    longer, shorter = (PROBE.epochs * (retained // batch) for batch in (16, 32))
    cost = PerIteration(longer, shorter, counted(16), counted(32))
    return {"apart": apart(logits(on_device(exact=True)), logits(on_cpu())), **cost.report()}


def _relearning() -> dict[str, Any]:
    recipe = Recipe(epochs=1, batch_size=16, learning_rate=0.01, schedule="constant")

    def losses(compute: Compute, updates: int = 3) -> Tensor:
        inference = _inference("supervised", "samples", compute, 1)
        return inference.relearning_losses("retain", recipe, updates, 16)

    def counted(updates: int) -> Ledger:
        with counting() as ledger:
            losses(on_device(), updates)
        return ledger

    expected, found = (losses(compute) for compute in (on_cpu(), on_device(exact=True)))
    losses(on_device(), 1)  # the model goes to the device once
    return {
        "apart": apart({"losses": found}, {"losses": expected}),
        **PerIteration(6, 3, counted(6), counted(3)).report(),
    }


def _sweep() -> dict[str, Any]:
    """A sweep's rows, of models that the device has trained and stored."""
    with TemporaryDirectory() as folder:
        sweep = tiny_sweep(Path(folder))
        rows = [
            [one.row for one in finish(sweep, Runtime(open_store(f"{folder}/{n}"), compute, 600))]
            for n, compute in enumerate((on_cpu(), on_device(exact=True)))
        ]
        columns = [column for metric in sweep.metrics for column in metric.columns]
        expected, found = ([[row[column] for column in columns] for row in of] for of in rows)
        return {
            "expected": expected,
            "found": found,
            "devices": sorted({str(row["device"]) for row in rows[1]}),
        }
