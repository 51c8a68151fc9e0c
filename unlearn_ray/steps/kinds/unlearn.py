"""Unlearn: a method run on the original."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, ClassVar

from torch import Tensor

from unlearn_ray.core.collective import on_first
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.layouts.brought import Checkpoint
from unlearn_ray.layouts.counterpart import Ours
from unlearn_ray.methods.base import Method
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.references import reference
from unlearn_ray.steps.runtime import Produced, Runtime
from unlearn_ray.steps.training import trained, training_result
from unlearn_ray.storage.outside import read_outside
from unlearn_ray.train.unlearning import unlearn


@register("unlearn")
@schema
class Unlearn(Step):
    """An unlearned model: a method run on the original.

    Attributes:
        method: with all its hyperparameters.
    """

    distributed: ClassVar[bool] = True

    method: Method

    def own_config(self) -> dict[str, Any]:
        """The method and the forget set; the original identifies the rest."""
        outside = self.method.outside(self.seed, self.replicate)
        return {
            "method": self.method,
            **({} if outside is None else {"outside": outside}),
            "forget_set": self.setting.forgotten,
            "seed": self.seed,
            "replicate": self.replicate,
        }

    @cached_property
    def original(self) -> Step:
        """The step that trains or brings the original."""
        return reference("original", self.setting, self.seed, self.replicate)

    def inputs(self) -> dict[str, Step]:
        """The original, which the method starts from."""
        return {"original": self.original}

    def run(self, runtime: Runtime) -> Produced:
        """Unlearn; the result's compute seconds exclude measuring and I/O."""
        model = runtime.model(self.original)
        family = self.setting.family
        report = unlearn(
            model,
            family,
            self.method,
            runtime.training_data(self),
            runtime.split(self),
            seed=stable_seed(self.name, self.training_seed),
            compute=runtime.compute,
            make_model=partial(runtime.new_model, self.setting),
            extra_data=lambda dataset: runtime.data(dataset, family),
            brought=self._brought,
            checkpoints=runtime.checkpoints(self.key, at_end=False),
            on_progress=runtime.tell,
        )
        runtime.remember(self.key, model)
        result = training_result(report, runtime)
        outside = self.method.outside(self.seed, self.replicate)
        if outside is not None:
            result["compute_seconds"] = outside.seconds
        return trained(model, report, result)

    def _brought(self, checkpoint: Checkpoint) -> Mapping[str, Tensor]:
        setting = self.setting
        ours = Ours.of(setting.model, setting.family, setting.dataset.info())
        return on_first(lambda: checkpoint.load(ours, self.seed, self.replicate, read_outside))

    def __str__(self) -> str:
        return f"unlearn by {self.method.name} ({self.run_title})"
