"""Samples: the order of the samples in each set, and their labels."""

from __future__ import annotations

from typing import Any

import torch

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.quantities.base import SetName
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.runtime import Produced, Runtime
from unlearn_ray.storage.observations import OBSERVED, pack


@register("samples")
@schema
class Samples(Step):
    """The ids and true labels of all four sets under one seed, in their order.

    Every observation's rows are in this order, so metrics need no dataset. Where a forget set
    changes the labels that models are trained with, metrics and scores know the true ones alone.
    """

    def own_config(self) -> dict[str, Any]:
        """The fields that determine the sets."""
        return {
            "dataset": self.setting.dataset,
            "validation": self.setting.validation,
            "forget_set": self.setting.forgotten,
            "seed": self.seed,
            **({} if self.setting.masks is None else {"replicate": self.replicate}),
        }

    @property
    def batch(self) -> str | None:
        """None: it takes no time. A bank has as many as models, each with its model."""
        return None if self.setting.masks is None else self.same(Pretrain).batch

    def run(self, runtime: Runtime) -> Produced:
        """Look the labels up."""
        data = runtime.data(self.setting.dataset, self.setting.family)
        split = runtime.split(self)
        test = data.test_labels.cpu()
        columns: dict[SetName, dict[str, torch.Tensor]] = {
            "test": {"id": torch.arange(len(test)), "label": test}
        }
        trained: dict[SetName, Any] = {
            "retain": split.retain, "forget": split.forget, "validation": split.unseen,
        }  # fmt: skip
        for part, positions in trained.items():
            ids = torch.as_tensor(positions)
            columns[part] = {"id": ids, "label": data.train_labels.cpu()[ids]}
        counts = {part: len(of_set["id"]) for part, of_set in columns.items()}
        return Produced({OBSERVED: pack(columns)}, {"counts": counts})
