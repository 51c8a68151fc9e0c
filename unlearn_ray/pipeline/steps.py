"""Steps: the nodes of the graph, each named by the content of its config.

    pretrain(seed) ─┬─▶ unlearn(method, seed) ─▶ evaluate
    retrain(seed) ──┴─▶ evaluate (the reference)

Where a sparse model is pruned by the magnitude of trained weights, its training reads those:

    pretrain(dense) ─▶ pretrain(20 % sparse) ─▶ ... ─▶ pretrain(95 % sparse)

What says *where* a step runs (workers, devices, paths, store) is not in its config. `revision`
is raised when a step's numbers change.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar

from torch import nn

from unlearn_ray.core.collective import gather_objects, on_every, on_first
from unlearn_ray.core.keys import content_key, plain, stable_seed
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.data.splits import training_ids
from unlearn_ray.engine.loop import Progress, Report
from unlearn_ray.engine.sparsity import Sparsity, magnitude_masks, masks_of, synflow_masks
from unlearn_ray.engine.training import train_from_scratch
from unlearn_ray.engine.unlearning import unlearn
from unlearn_ray.methods.base import Method
from unlearn_ray.metrics.base import Metric
from unlearn_ray.pipeline.runtime import ARRAYS, MODEL, Produced, Runtime
from unlearn_ray.pipeline.setting import Setting
from unlearn_ray.storage.store import pack_tensors


@dataclass(frozen=True)
class Step:
    """One unit of work; runs at most once per store.

    Attributes:
        setting: of the sweep; each kind of step is named by the fields of it that it uses.
        seed: of the split and of everything that is drawn.
    """

    kind: ClassVar[str]
    revision: ClassVar[int]

    setting: Setting
    seed: int

    def own_config(self) -> dict[str, Any]:
        """The fields that name this step, beside its kind, revision and inputs."""
        raise NotImplementedError

    def inputs(self) -> dict[str, Step]:
        """The steps whose artifacts this one reads."""
        return {}

    def run(self, runtime: Runtime) -> Produced:
        """Do the work in this process; the inputs are in the store."""
        raise NotImplementedError

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that names this step, in plain JSON values."""
        return {
            "kind": self.kind,
            "revision": self.revision,
            **plain(self.own_config()),
            "inputs": {name: step.key for name, step in self.inputs().items()},
        }

    @cached_property
    def key(self) -> str:
        """16 hex digits of this step's content."""
        return content_key(self.config)

    def __str__(self) -> str:
        return f"{self.kind} (seed {self.seed})"


def _training_result(report: Report, recipe: Recipe, runtime: Runtime) -> dict[str, Any]:
    return {
        "compute_seconds": math.fsum(gather_objects(report.seconds)),
        "iterations": report.iterations,
        "epochs": recipe.epochs,
        "loss": None if report.iterations == 0 else report.loss,
        **runtime.compute.machine.facts(),
    }


@dataclass(frozen=True)
class Pretrain(Step):
    """The original model: trained on retain and forget set together.

    A sparse one has the initial weights of the dense one, but those that are pruned. By magnitude
    they are chosen among the final weights of its input: the same training, dense or of the
    round before. A result's compute seconds are
    of this training alone.
    """

    kind: ClassVar[str] = "pretrain"
    revision: ClassVar[int] = 1

    def own_config(self) -> dict[str, Any]:
        """Data, model, family, recipe and sparsity; the forget set plays no part."""
        return {
            "dataset": self.setting.dataset,
            "validation": self.setting.validation,
            "model": self.setting.model,
            "family": self.setting.family,
            "training": self.setting.training,
            "sparsity": self.setting.sparsity,
            "seed": self.seed,
        }

    @cached_property
    def ranked(self) -> Pretrain | None:
        """The training whose weights are pruned by their magnitude, if any are."""
        sparsity = self.setting.sparsity
        if sparsity is None or not sparsity.by_magnitude:
            return None
        return type(self)(replace(self.setting, sparsity=sparsity.before()), self.seed)

    def inputs(self) -> dict[str, Step]:
        """What the masks are made from."""
        return {} if self.ranked is None else {"ranked": self.ranked}

    def run(self, runtime: Runtime) -> Produced:
        """Train from scratch on all but the validation set."""
        data = runtime.data(self.setting.dataset, self.setting.family)
        labels = data.train_labels.cpu().numpy()
        ids = training_ids(len(labels), self.setting.validation, self.seed)
        return self._train(runtime, ids)

    def _train(self, runtime: Runtime, ids: Any) -> Produced:
        setting = self.setting
        model = runtime.new_model(setting, self.seed)
        on_every(lambda: setting.family.start(model))
        if setting.sparsity is not None:
            self._prune(model, setting.sparsity, runtime)
        report = train_from_scratch(
            model,
            setting.family,
            setting.training,
            runtime.data(setting.dataset, setting.family),
            ids,
            seed=stable_seed(self.kind, self.seed),
            compute=runtime.compute,
            checkpoints=runtime.checkpoints(self.key, at_end=True),
            on_progress=runtime.tell,
        )
        runtime.remember(self.key, model)
        result = _training_result(report, setting.training, runtime)
        return Produced({MODEL: pack_tensors(dict(model.state_dict()))}, result)

    def _prune(self, model: nn.Module, sparsity: Sparsity, runtime: Runtime) -> None:
        if self.ranked is None:
            size = self.setting.dataset.info().image_size
            fresh = runtime.compute.place(model, 0)
            # Sums differ by roundings between workers, which must agree on the masks.
            chosen = on_first(lambda: synflow_masks(fresh, size, sparsity.fraction))
        else:
            trained = runtime.model(self.ranked.key, self.ranked.setting)
            chosen = magnitude_masks(trained, sparsity.fraction)
        masks = masks_of(model)
        assert masks is not None
        masks.set(chosen)

    def __str__(self) -> str:
        name = super().__str__()
        return name if self.setting.sparsity is None else f"{name}, {self.setting.sparsity}"


@dataclass(frozen=True)
class Retrain(Pretrain):
    """The retrained model: the same from the retain set alone, with the same initial weights.

    A sparse one finds its masks from the retain set alone, too: those of the original have seen
    the forget set. (The code of Jia et al., NeurIPS 2023, retrains with the original's masks.)
    """

    kind: ClassVar[str] = "retrain"
    revision: ClassVar[int] = 1

    def own_config(self) -> dict[str, Any]:
        """As pretraining, and the forget set."""
        return {**super().own_config(), "forget_set": self.setting.forget_set}

    def run(self, runtime: Runtime) -> Produced:
        """Train from scratch on the retain set."""
        return self._train(runtime, runtime.split(self.setting, self.seed).retain)


@dataclass(frozen=True)
class Unlearn(Step):
    """An unlearned model: a method run on the original.

    Attributes:
        method: with all its hyperparameters.
    """

    kind: ClassVar[str] = "unlearn"
    revision: ClassVar[int] = 1

    method: Method

    def own_config(self) -> dict[str, Any]:
        """The method and the forget set; the rest is the original's."""
        return {"method": self.method, "forget_set": self.setting.forget_set, "seed": self.seed}

    @cached_property
    def original(self) -> Pretrain:
        """The step that trains the original."""
        return Pretrain(self.setting, self.seed)

    def inputs(self) -> dict[str, Step]:
        """The original."""
        return {"original": self.original}

    def run(self, runtime: Runtime) -> Produced:
        """Unlearn; evaluation and I/O are not in the result's compute seconds."""
        model = runtime.model(self.original.key, self.setting)
        family = self.setting.family
        report = unlearn(
            model,
            family,
            self.method,
            runtime.data(self.setting.dataset, family),
            runtime.split(self.setting, self.seed),
            seed=stable_seed(self.kind, self.seed),
            compute=runtime.compute,
            make_model=partial(runtime.new_model, self.setting),
            other_data=lambda dataset: runtime.data(dataset, family),
            checkpoints=runtime.checkpoints(self.key, at_end=False),
            on_progress=runtime.tell,
        )
        runtime.remember(self.key, model)
        result = _training_result(report, self.method, runtime)
        return Produced({MODEL: pack_tensors(dict(model.state_dict()))}, result)

    def __str__(self) -> str:
        return f"unlearn by {self.method.name} (seed {self.seed})"


@dataclass(frozen=True)
class Evaluate(Step):
    """Some metrics of one model.

    Those of a sweep's objective are one step; each other metric is a step of its own, so that one
    that is added later asks for nothing that was measured before.

    Attributes:
        model: the step whose model is measured.
        metrics: what is measured.
    """

    kind: ClassVar[str] = "evaluate"
    revision: ClassVar[int] = 1

    model: Pretrain | Unlearn
    metrics: tuple[Metric, ...]

    def own_config(self) -> dict[str, Any]:
        """Metrics, probe and forget set."""
        return {
            "metrics": self.metrics,
            "probe": self.setting.probe,
            "forget_set": self.setting.forget_set,
            "seed": self.seed,
        }

    @cached_property
    def original(self) -> Pretrain:
        """The original: what a model looked like before unlearning."""
        return Pretrain(self.setting, self.seed)

    def inputs(self) -> dict[str, Step]:
        """The measured model, and the original that some metrics compare it with."""
        return {"model": self.model, "original": self.original}

    def run(self, runtime: Runtime) -> Produced:
        """Measure; the values are the result, arrays (alignment matrices) an artifact."""
        started = time.perf_counter()
        original = runtime.evidence(self.original.key, self.setting, self.seed, None)
        evidence = (
            original
            if self.model.key == self.original.key
            else runtime.evidence(self.model.key, self.setting, self.seed, original)
        )
        values: dict[str, float] = {}
        arrays: dict[str, Any] = {}
        for metric in self.metrics:
            runtime.tell(Progress(0, 0, math.nan, 0.0, doing=metric.name))
            measured = metric.measure(evidence)
            values |= measured.values
            arrays |= {f"{metric.name}/{name}": array for name, array in measured.arrays.items()}
        result = {
            "values": values,
            "seconds": time.perf_counter() - started,
            **runtime.compute.machine.facts(),
        }
        return Produced({ARRAYS: pack_tensors(arrays)} if arrays else {}, result)

    def __str__(self) -> str:
        if len(self.metrics) == 1:
            return f"evaluate {self.metrics[0].name} of {self.model}"
        return f"evaluate {self.model}"
