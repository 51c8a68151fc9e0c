"""Retrain: the retrained model, which unlearning should match."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.layouts.brought import Role
from unlearn_ray.steps.base import Request, Step
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.runtime import Produced, Runtime


@register("retrain")
@schema
class Retrain(Pretrain):
    """The same training on the retain set alone, from the same initial weights.

    A sparse model derives its masks from the retain set alone, too: the original's masks depend
    on the forget set. (The code of Jia et al., NeurIPS 2023, retrains with the original's masks.)
    """

    revision: ClassVar[int] = 1
    role: ClassVar[Role] = "retrained"

    @classmethod
    def of_references(cls, request: Request) -> Iterable[Step]:
        """The retrained model, unless the sweep has none."""
        return super().of_references(request) if request.setting.compares else ()

    def own_config(self) -> dict[str, Any]:
        """The fields of pretraining, and the forget set."""
        return {**super().own_config(), "forget_set": self.setting.forgotten}

    def run(self, runtime: Runtime) -> Produced:
        """Train from scratch on the retain set."""
        return self.train(runtime, runtime.split(self).retain)
