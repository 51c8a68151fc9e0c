"""Bring: a reference model that other code has trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.layouts.brought import Checkpoint, Role
from unlearn_ray.layouts.counterpart import Ours
from unlearn_ray.steps.base import Request, Step
from unlearn_ray.steps.runtime import Produced, Runtime
from unlearn_ray.steps.training import images_result
from unlearn_ray.storage.outside import read_outside
from unlearn_ray.storage.store import pack_tensors
from unlearn_ray.storage.tensors import MODEL


@register("bring")
@schema
class Bring(Step):
    """A trained model in our own layout, from a checkpoint.

    Its key covers the weights, not where they are. One file for all seeds is one step.

    Attributes:
        role: which reference model it is.
    """

    role: Role

    @classmethod
    def of_references(cls, request: Request) -> Iterable[Step]:
        """Both models, as far as they are brought; of further replicates what reporting needs."""
        if request.replicate and not request.reporting:
            return
        for role in get_args(Role):
            if request.setting.brought(role) is not None:
                yield cls(
                    setting=request.setting,
                    seed=request.seed,
                    replicate=request.replicate,
                    role=role,
                )

    @property
    def _checkpoint(self) -> Checkpoint:
        checkpoint = self.setting.brought(self.role)
        assert checkpoint is not None
        return checkpoint

    def own_config(self) -> dict[str, Any]:
        """The weights, and the data, model and family that they are of."""
        return {
            "dataset": self.setting.dataset,
            "validation": self.setting.validation,
            "model": self.setting.model,
            "family": self.setting.family,
            "weights": self._checkpoint.of_run(self.seed, self.replicate).digest,
        }

    @property
    def batch(self) -> str:
        """With its observations."""
        return f"measure {self.key}"

    def run(self, runtime: Runtime) -> Produced:
        """Read the checkpoint again, and store its weights.

        The compute seconds are those in its metadata; None if it has none.
        """
        setting, planned = self.setting, self._checkpoint.of_run(self.seed, self.replicate)
        ours = Ours.of(setting.model, setting.family, setting.dataset.info())
        state = self._checkpoint.load(ours, self.seed, self.replicate, read_outside)
        result = {
            "compute_seconds": planned.seconds,
            **runtime.compute.machine.facts(),
            **images_result(setting.dataset),
        }
        return Produced({MODEL: pack_tensors(state)}, result)

    @property
    def run_title(self) -> str:
        """Seed and replicate, in words, as far as there is a file for each."""
        seed, replicate = self._checkpoint.own_run(self.seed, self.replicate)
        words = [f"seed {seed}"] if self._checkpoint.names("seed") else ["all seeds"]
        words += [f"replicate {replicate}"] if replicate else []
        return ", ".join(words)

    def __str__(self) -> str:
        return f"bring {self.role} ({self.run_title})"
