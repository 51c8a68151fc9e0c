"""Unlearning: a method's phases through the one training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from unlearn_ray.core.collective import on_first, sharing
from unlearn_ray.core.curves import MOST_POINTS, Curve
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.recipe import Player
from unlearn_ray.data.base import Dataset, Split
from unlearn_ray.families.base import Family
from unlearn_ray.layouts.brought import Checkpoint
from unlearn_ray.methods.base import Loss, Method, Phase, Source, Task, nothing_brought
from unlearn_ray.train.batches import Batches, CompanionBatches
from unlearn_ray.train.beside import Checkpoints
from unlearn_ray.train.compute import Compute, Stopwatch
from unlearn_ray.train.curves import of_phase, packed, unpacked
from unlearn_ray.train.loop import (
    Iteration,
    Progress,
    Report,
    Training,
    check_weights,
    optimise,
)
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.samples import TaskSamples
from unlearn_ray.train.sparsity import apply_masks, keeper
from unlearn_ray.train.training import ready

Stored = tuple[dict[str, Tensor], dict[str, str]]


def unlearn(
    model: nn.Module,
    family: Family,
    method: Method,
    data: ResidentData,
    split: Split,
    *,
    seed: int,
    compute: Compute,
    make_model: Callable[[int], nn.Module],
    extra_data: Callable[[Dataset], ResidentData] | None = None,
    brought: Callable[[Checkpoint], Mapping[str, Tensor]] = nothing_brought,
    checkpoints: Checkpoints | None = None,
    on_progress: Callable[[Progress], bool] | None = None,
) -> Report:
    """Unlearn the forget set from `model`, in place; zero epochs do not change a bit of it.

    The pruned weights of a sparse model are reset to zero after every update and after the
    method's own edits, so that they are zero whenever a loss is computed.

    Args:
        model: the original, as pretraining left it.
        family: of the model.
        method: with all its hyperparameters.
        data: the dataset on the device.
        split: forget and retain set.
        seed: of order, views and all random draws of the method.
        compute: the device.
        make_model: builds a randomly initialised model from a seed, for methods that need one.
        extra_data: another dataset on the device, for methods that use one.
        brought: see `Task`.
        checkpoints: where to save and resume.
        on_progress: see `optimise`.

    Raises:
        NonFiniteLoss: a loss or a weight became NaN or infinite.
    """
    samples = TaskSamples(
        data, split, augmentation=family.augmentation, seed=seed, make_model=make_model
    )
    compute.place(model, 0)
    stopwatch = Stopwatch(compute)
    task = Task(family, samples, brought=brought)
    with stopwatch.running():
        task = replace(task, state=method.prepare(model.eval(), task).to(compute.device))
        apply_masks(_Kept(model, task.state))
    run = _Unlearning(model, method, task, data, split, seed, compute, stopwatch, extra_data)
    loss = run.train(checkpoints, on_progress)
    with stopwatch.running():
        method.finish(model.eval(), task)
        apply_masks(model)
    remedy = "lower the learning rate, or the strength of the method's edit"
    check_weights(model, "weights after unlearning", remedy)
    return Report(run.done, stopwatch.total(), loss, tuple(run.curves))


@dataclass
class _OfPhase:
    """The checkpoints of one phase; those of earlier phases are ignored."""

    checkpoints: Checkpoints
    phase: int
    done: int
    stored: Stored | None
    curves: Sequence[Curve] = ()

    @property
    def seconds_between(self) -> float:
        """As for the whole."""
        return self.checkpoints.seconds_between

    @property
    def at_end(self) -> bool:
        """As for the whole."""
        return self.checkpoints.at_end

    def load(self) -> Stored | None:
        """The newest checkpoint, if it is of this phase."""
        return self.stored

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        """Store a checkpoint, newer than those of earlier phases."""
        of_phase = {"phase": str(self.phase), "done": str(self.done)}
        kept = tensors | packed(self.curves)
        self.checkpoints.save(self.done + iteration, kept, metadata | of_phase)


@dataclass
class _Unlearning:
    model: nn.Module
    method: Method
    task: Task
    data: ResidentData
    split: Split
    seed: int
    compute: Compute
    stopwatch: Stopwatch
    extra_data: Callable[[Dataset], ResidentData] | None
    done: int = 0
    points: int = MOST_POINTS
    curves: list[Curve] = field(default_factory=list)

    def train(
        self,
        checkpoints: Checkpoints | None,
        on_progress: Callable[[Progress], bool] | None,
    ) -> float:
        """Run all remaining phases; returns the last loss, NaN if there was none."""
        phases = list(enumerate(self.method.phases(self.model, self.task)))
        stored = None if checkpoints is None else on_first(checkpoints.load)
        first = 0 if stored is None else int(stored[1]["phase"])
        self.done = 0 if stored is None else int(stored[1]["done"])
        self.curves = [] if stored is None else unpacked(stored[0])
        self.points = max(1, MOST_POINTS // max(1, len(phases)))
        loss = math.nan
        for number, phase in phases[first:]:
            saved = None
            if checkpoints is not None:
                saved = _OfPhase(checkpoints, number, self.done, stored, [*self.curves])
            report = self._run(phase, number, saved, on_progress)
            if phase.after is not None:
                with self.stopwatch.running():
                    phase.after()
                    apply_masks(_Kept(self.model, self.task.state))
            self.curves += of_phase(report.curves, number, self.done)
            self.done += report.iterations
            loss, stored = report.loss, None
        return loss

    def _run(
        self,
        phase: Phase,
        number: int,
        checkpoints: Checkpoints | None,
        on_progress: Callable[[Progress], bool] | None,
    ) -> Report:
        batches = self._batches(phase)
        seed = stable_seed("phase", self.seed, number) if number else self.seed
        count = len(batches) + batches.added
        layout = phase.recipe.layout(count, self.task.family.last_batch)
        ready(self.model, phase.recipe.epochs, layout, self.compute)
        size = layout.batch if phase.joined else phase.recipe.batch_size
        sources = [
            CompanionBatches(self._of(source, phase), size, seed, number)
            for number, source in enumerate(phase.companions)
        ]

        def of_iteration(loss: Loss, iteration: Iteration) -> Tensor:
            own = len(iteration.rows)
            most = own if phase.joined else None
            companions = tuple(source.of(iteration, most) for source in sources)
            together = own + sum(each.size for each in companions) if phase.joined else own
            with sharing(together):
                batch = replace(batches.at(iteration), companions=companions)
                return loss(self.model, batch, self.task)

        self.model.train(phase.training)
        kept = _Kept(self.model, self.task.state)
        training = Training(
            players=[
                Player(each.module, each.recipe, partial(of_iteration, each.loss))
                for each in phase.players(self.model)
            ],
            count=count,
            seed=seed,
            last_batch=self.task.family.last_batch,
            repeats=phase.repeats,
            iterations=phase.iterations,
            after_update=_masked(phase.after_update, keeper(kept)),
            until=phase.until,
            points=self.points,
            kept=kept,
        )
        report = optimise(
            training, self.compute, checkpoints=checkpoints, on_progress=on_progress,
            stopwatch=self.stopwatch,
        )  # fmt: skip
        self.model.eval()
        return report

    def _batches(self, phase: Phase) -> Batches:
        if phase.trains_on != "all":
            return self._of(phase.trains_on, phase, phase.added)
        ids = np.concatenate([self._retain(phase), self.split.forget])
        return self._made(ids, phase.added)

    def _of(self, source: Source, phase: Phase, added: int = 0) -> Batches:
        if isinstance(source, Dataset):
            assert self.extra_data is not None
            data = self.extra_data(source)
            every = np.arange(data.train_labels.shape[0])
            return Batches(self.task.family, data, every, np.zeros(len(every), dtype=bool))
        if source == "retain":
            return self._made(self._retain(phase), added)
        ids = self.split.forget if source == "forget" else self.split.validation
        return self._made(ids, added)

    def _retain(self, phase: Phase) -> Int64[np.ndarray, " n"]:
        retain = self.split.retain[: phase.retain_limit]
        if phase.retain_per_class is None:
            return retain
        labels = self.data.train_labels[torch.from_numpy(retain)].cpu().numpy()
        by_class = np.argsort(labels, kind="stable")
        begins = np.searchsorted(labels[by_class], labels[by_class])
        taken = np.arange(len(retain)) - begins < phase.retain_per_class
        return retain[np.sort(by_class[taken])]

    def _made(self, ids: Int64[np.ndarray, " n"], added: int) -> Batches:
        forget = np.isin(ids, self.split.forget)
        return Batches(self.task.family, self.data, ids, forget, added)


def _masked(
    after_update: Callable[[], None] | None, keep: Callable[[], None] | None
) -> Callable[[], None] | None:
    """A method's `after_update`, followed by resetting pruned weights to zero."""
    if keep is None or after_update is None:
        return keep or after_update

    def both() -> None:
        keep()
        after_update()
        keep()

    return both


class _Kept(nn.Module):
    """The model and the state: the content of a checkpoint."""

    def __init__(self, model: nn.Module, state: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.state = state
