"""Measure: one metric of one model, from stored observations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import Seed, schema
from unlearn_ray.layouts.brought import Role
from unlearn_ray.metrics.base import Metric, Observed
from unlearn_ray.quantities.base import Observation, Quantity
from unlearn_ray.steps.base import Request, Step
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.steps.references import reference
from unlearn_ray.steps.runtime import Produced, Runtime
from unlearn_ray.storage.store import pack_tensors
from unlearn_ray.storage.tensors import ARRAYS
from unlearn_ray.train.loop import Progress


@register("measure")
@schema
class Measure(Step):
    """One metric of one model: a function of observations of it and of related models.

    It takes no lease: measuring twice concurrently costs little, and one record counts.

    Attributes:
        model: the step that trains the measured model.
        metric: the metric, with its fields.
        other_seeds: seeds under which the same model is also observed, if the metric needs it.
    """

    exclusive: ClassVar[bool] = False

    model: Step
    metric: Metric
    other_seeds: tuple[Seed, ...] = ()

    @classmethod
    def of_references(cls, request: Request) -> Iterable[Step]:
        """Every metric of the retrained model, and on reporting seeds of the original."""
        roles: list[Role] = ["retrained"] if request.setting.compares else []
        if request.reporting or (request.original and not request.replicate):
            roles.append("original")
        for role in roles:
            model = reference(role, request.setting, request.seed, request.replicate)
            yield from measures(model, request.metrics, request.other_seeds)

    def own_config(self) -> dict[str, Any]:
        """The metric; its inputs identify all else."""
        return {"metric": self.metric}

    @cached_property
    def _related(self) -> dict[str, tuple[Step, tuple[Quantity, ...]]]:
        """The compared models, by role, with the quantities to observe of them."""
        needs, run = self.metric.needs(), (self.setting, self.seed, self.replicate)
        related: dict[str, tuple[Step, tuple[Quantity, ...]]] = {
            "model": (self.model, needs.model),
            "original": (reference("original", *run), needs.original),
            "retrained": (reference("retrained", *run), needs.retrained),
        }
        for seed in self.other_seeds if needs.other_seeds else ():
            related[f"seed {seed}"] = (replace(self.model, seed=seed), needs.other_seeds)
        return {role: asked for role, asked in related.items() if asked[1] or role == "model"}

    def _observed(self) -> Iterator[tuple[str, Quantity, Observe]]:
        for role, (model, quantities) in self._related.items():
            for quantity in quantities:
                yield role, quantity, model.same(Observe, model=model, quantity=quantity)

    def inputs(self) -> dict[str, Step]:
        """The samples of each seed, and the observations of each model."""
        read: dict[str, Step] = {}
        for role, (model, _) in self._related.items():
            if model.seed != self.seed or role == "model":
                read[f"{role}: samples"] = Samples(setting=self.setting, seed=model.seed)
        for role, quantity, step in self._observed():
            alike = sum(name.startswith(f"{role}: {quantity.name}") for name in read)
            read[f"{role}: {quantity.name}{f' {alike + 1}' if alike else ''}"] = step
        return read

    @property
    def batch(self) -> str:
        """With what is observed of the model, which may await the original's observations.

        Where any other model's are awaited, it is apart: else two batches could await each other.
        """
        awaited = (model for role, (model, _) in self._related.items() if role != "original")
        apart = any(model.key != self.model.key for model in awaited)
        return f"{'compare' if apart else 'measure'} {self.model.key}"

    def run(self, runtime: Runtime) -> Produced:
        """Measure; values are the result, arrays (alignment matrices) the artifact."""
        runtime.tell(Progress(0, 0, float("nan"), 0.0, doing=self.metric.name))
        measured = self.metric.measure(self._models(runtime))
        files = {ARRAYS: pack_tensors(measured.arrays)} if measured.arrays else {}
        return Produced(files, {"values": measured.values, **runtime.compute.machine.facts()})

    def _models(self, runtime: Runtime) -> Observed:
        steps: dict[str, dict[Quantity, Observe]] = {role: {} for role in self._related}
        for role, quantity, step in self._observed():
            steps[role][quantity] = step

        def observed(role: str, seed: int, **others: Any) -> Observed:
            asked = steps.get(role, {})

            def observe(quantity: Quantity) -> Observation:
                if quantity not in asked:
                    raise ValueError(
                        f"{self.metric.name} asks for {quantity} of the {role}, which its needs()"
                        " does not name"
                    )
                return runtime.observation(asked[quantity])

            ids, labels = runtime.samples(Samples(setting=self.setting, seed=seed))
            return Observed(ids, labels, observe, **others)

        related: Mapping[str, Observed] = {
            role: observed(role, self.seed) for role in ("original", "retrained")
        }
        return observed(
            "model",
            self.seed,
            other_seeds=[
                observed(role, model.seed)
                for role, (model, _) in self._related.items()
                if role.startswith("seed ")
            ],
            **related,
        )

    @property
    def batch_title(self) -> str:
        """The batch, in words."""
        return f"measure {self.model}"

    def __str__(self) -> str:
        return f"measure {self.metric.name} of {self.model}"


def measures(
    model: Step, metrics: Iterable[Metric], other_seeds: tuple[int, ...] = ()
) -> list[Measure]:
    """The steps that measure a model, in the order of the metrics."""
    return [
        model.same(Measure, model=model, metric=metric, other_seeds=other_seeds)
        for metric in metrics
    ]
