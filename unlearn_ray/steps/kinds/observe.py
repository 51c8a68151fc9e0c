"""Observe: one quantity of a model on every sample, stored once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.families.base import ClassifierFamily
from unlearn_ray.quantities.base import Observation, Quantity
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.runtime import Produced, Runtime
from unlearn_ray.storage.observations import OBSERVED, pack
from unlearn_ray.storage.store import pack_tensors
from unlearn_ray.storage.tensors import ARRAYS


@register("observe")
@schema
class Observe(Step):
    """One quantity of one model, for all samples in the order of the step `samples`.

    Attributes:
        model: the step that trains the model.
        quantity: what to observe.
    """

    model: Step
    quantity: Quantity

    def own_config(self) -> dict[str, Any]:
        """The quantity, the forget set, and the probe if the quantity uses it."""
        family = self.setting.family
        probed = not (isinstance(family, ClassifierFamily) or family.reads_captions)
        return {
            "quantity": self.quantity,
            **({"probe": self.setting.probe} if probed and self.quantity.trained else {}),
            "forget_set": self.setting.forgotten,
            "seed": self.seed,
        }

    def inputs(self) -> dict[str, Step]:
        """The observed model."""
        return {"model": self.model}

    @property
    def batch(self) -> str:
        """All observations of a model share its features."""
        return f"measure {self.model.key}"

    def kept(self, named: Iterable[str]) -> bool:
        """True for small quantities, and for those that the sweep names."""
        return self.quantity.kept or self.quantity.name in named

    def observe(self, runtime: Runtime) -> Observation:
        """Compute the observation."""
        return self.quantity.observe(runtime.inference(self.model, self))

    def run(self, runtime: Runtime) -> Produced:
        """Observe; values per sample and other arrays are the artifact."""
        observation = self.observe(runtime)
        runtime.remember_observation(self.key, observation)
        files = {}
        if observation.samples:
            columns = {part: {"value": rows} for part, rows in observation.samples.items()}
            files[OBSERVED] = pack(columns)
        if observation.arrays:
            files[ARRAYS] = pack_tensors(dict(observation.arrays))
        return Produced(files, runtime.compute.machine.facts())

    @property
    def batch_title(self) -> str:
        """The batch, in words."""
        return f"measure {self.model}"

    def __str__(self) -> str:
        return f"observe {self.quantity.name} of {self.model}"
