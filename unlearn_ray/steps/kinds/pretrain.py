"""Pretrain: the original model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from torch import nn

from unlearn_ray.core.collective import on_every, on_first
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import digest_of
from unlearn_ray.data.splits import training_ids
from unlearn_ray.layouts.brought import Role
from unlearn_ray.steps.base import Request, Step
from unlearn_ray.steps.runtime import Produced, Runtime
from unlearn_ray.steps.training import images_result, trained, training_result
from unlearn_ray.train.sparsity import Sparsity, magnitude_masks, masks_of, synflow_masks
from unlearn_ray.train.training import train_from_scratch


@register("pretrain")
@schema
class Pretrain(Step):
    """The original model: trained on retain and forget set together.

    A sparse model starts from the dense model's initial weights, less the pruned ones. Magnitude
    pruning ranks the final weights of its input: the same training, dense or of the previous
    round:

        pretrain(dense) ─▶ pretrain(20 % sparse) ─▶ ... ─▶ pretrain(95 % sparse)

    The result's compute seconds are those of this training alone.
    """

    distributed: ClassVar[bool] = True
    role: ClassVar[Role] = "original"

    @classmethod
    def of_references(cls, request: Request) -> Iterable[Step]:
        """The original, unless it is brought; of further replicates only what reporting needs."""
        if request.setting.brought(cls.role) is not None:
            return ()
        original = cls(setting=request.setting, seed=request.seed, replicate=request.replicate)
        return (original,) if request.reporting or not request.replicate else ()

    def own_config(self) -> dict[str, Any]:
        """Data, model, family, recipe and sparsity.

        Masks count; a forget set only if it changes the labels, or by those of its named samples
        that would be in the validation set.
        """
        masks, relabelling = self.setting.masks, self.setting.relabelling
        kept = self.setting.kept_in_training(self.seed)
        return {
            **({} if masks is None else {"masks": masks}),
            **({} if relabelling is None else {"labels": relabelling}),
            **({"kept_in_training": digest_of(kept)} if kept else {}),
            "dataset": self.setting.dataset,
            "validation": self.setting.validation,
            "model": self.setting.model,
            "family": self.setting.family,
            "training": self.setting.training,
            "sparsity": self.setting.sparsity,
            "seed": self.seed,
            "replicate": self.replicate,
        }

    @cached_property
    def ranked(self) -> Pretrain | None:
        """The training whose final weights rank the pruning; None without magnitude pruning."""
        sparsity = self.setting.sparsity
        if sparsity is None or not sparsity.by_magnitude:
            return None
        before = replace(self.setting, sparsity=sparsity.before())
        return replace(self, setting=before)

    @property
    def asks(self) -> Literal["training", "trial"]:
        """A bank has many models, which trial workers train side by side, each alone."""
        return "training" if self.setting.masks is None else "trial"

    @property
    def batch(self) -> str:
        """With its observations, where a trial worker runs it."""
        return f"measure {self.key}"

    @property
    def batch_title(self) -> str:
        """The batch, in words."""
        return f"{self}"

    def inputs(self) -> dict[str, Step]:
        """The training that the masks are derived from."""
        return {} if self.ranked is None else {"ranked": self.ranked}

    def run(self, runtime: Runtime) -> Produced:
        """Train from scratch on all samples but the validation set."""
        if self.setting.masks is not None:
            split = runtime.split(self)
            return self.train(runtime, np.concatenate([split.forget, split.retain]))
        data = runtime.data(self.setting.dataset, self.setting.family)
        labels = data.train_labels.cpu().numpy()
        named = self.setting.forget_set.named_ids()
        ids = training_ids(len(labels), self.setting.validation, self.seed, named)
        return self.train(runtime, ids)

    def train(self, runtime: Runtime, ids: Any) -> Produced:
        """Train from scratch on the samples `ids`."""
        setting = self.setting
        model = runtime.new_model(setting, self.training_seed)
        on_every(lambda: setting.family.start(model))
        if setting.sparsity is not None:
            self._prune(model, setting.sparsity, runtime)
        report = train_from_scratch(
            model,
            setting.family,
            setting.training,
            runtime.training_data(self),
            ids,
            seed=stable_seed(self.name, self.training_seed),
            compute=runtime.compute,
            checkpoints=runtime.checkpoints(self.key, at_end=True),
            on_progress=runtime.tell,
        )
        runtime.remember(self.key, model)
        result = {**training_result(report, runtime), **images_result(setting.dataset)}
        return trained(model, report, result)

    def _prune(self, model: nn.Module, sparsity: Sparsity, runtime: Runtime) -> None:
        if self.ranked is None:
            size = self.setting.dataset.info().image_size
            fresh = runtime.compute.place(model, 0)
            # Sums round differently on each worker, but all must agree on the masks.
            chosen = on_first(lambda: synflow_masks(fresh, size, sparsity.fraction))
        else:
            chosen = magnitude_masks(runtime.model(self.ranked), sparsity.fraction)
        masks = masks_of(model)
        assert masks is not None
        masks.set(chosen)

    def __str__(self) -> str:
        name = super().__str__()
        return name if self.setting.sparsity is None else f"{name}, {self.setting.sparsity}"
