"""Score: a score of many models, from their stored observations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.evidence.confidence import confidence, correct
from unlearn_ray.evidence.estimates import Estimate
from unlearn_ray.evidence.masks import FORGET, OUT, RETAIN, states
from unlearn_ray.quantities.base import Quantity, SetName
from unlearn_ray.scores.base import (
    OUTPUTS,
    MaskedBank,
    MaskedScore,
    Population,
    ReplicateBank,
    ReplicateScore,
    Score,
    Scores,
)
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.steps.references import reference
from unlearn_ray.steps.runtime import Produced, Runtime
from unlearn_ray.storage.store import pack_tensors
from unlearn_ray.storage.tensors import ARRAYS

_COMPARED: tuple[SetName, ...] = ("forget", "retain", "test")


@register("score")
@schema
class ScoreModels(Step):
    """One score of many models of one kind, from their outputs and those of related models.

    Attributes:
        score: the score, with its fields.
        models: the steps that train the scored models: the models of a bank in their order, or
            the replicates of one split.
    """

    score: Score
    models: tuple[Step, ...]

    def own_config(self) -> dict[str, Any]:
        """The score; its inputs identify all else."""
        return {"score": self.score}

    def inputs(self) -> dict[str, Step]:
        """Outputs of the models and of those they are compared with, and the samples' order."""
        read: dict[str, Step] = {}
        orders: set[str] = set()
        for number, model in enumerate(self.models):
            for role, related in self._related(model).items():
                read[f"{number:04d} {role}"] = _observed(related, self._quantity)
            samples = _samples(model)
            if samples.key not in orders:
                read[f"{number:04d} samples"] = samples
                orders.add(samples.key)
        return read

    @property
    def _quantity(self) -> Quantity:
        return self.score.quantity if isinstance(self.score, MaskedScore) else OUTPUTS

    def _related(self, model: Step) -> dict[str, Step]:
        run = model.setting, model.seed, model.replicate
        related = {"original": reference("original", *run), "unlearned": model}
        if isinstance(self.score, ReplicateScore):
            related["retrained"] = reference("retrained", *run)
        return related

    def run(self, runtime: Runtime) -> Produced:
        """Score; estimates are the result, arrays (ROC curves) the artifact."""
        if isinstance(self.score, MaskedScore):
            scores = self.score.measure(self._bank(runtime))
        else:
            assert isinstance(self.score, ReplicateScore)
            scores = self.score.measure(self._replicates(runtime))
        estimates = {name: _plain(each) for name, each in scores.estimates.items()}
        result = {"estimates": estimates, **runtime.compute.machine.facts()}
        return Produced(_files(scores), result)

    def _bank(self, runtime: Runtime) -> MaskedBank:
        masks = self.setting.masks
        assert masks is not None
        rows = [_audited(model, masks.samples, self._quantity, runtime) for model in self.models]
        states, original, unlearned, before, after, classes = map(np.stack, zip(*rows, strict=True))
        confident = self._quantity == OUTPUTS
        return MaskedBank(states, original, unlearned, before, after, classes[0], confident)

    def _replicates(self, runtime: Runtime) -> ReplicateBank:
        kinds = [[*self._related(model).values()] for model in self.models]
        original, unlearned, retrained = (
            _population(models, runtime) for models in zip(*kinds, strict=True)
        )
        return ReplicateBank(unlearned=unlearned, retrained=retrained, original=original)

    def __str__(self) -> str:
        return f"{self.score.name} of {len(self.models)} models, {self.models[0]} and on"


def _plain(estimate: Estimate) -> dict[str, Any]:
    """For a record, which has no NaN."""
    numbers = asdict(estimate).items()
    return {name: None if value != value else value for name, value in numbers}


def _samples(model: Step) -> Samples:
    replicate = 0 if model.setting.masks is None else model.replicate
    return Samples(setting=model.setting, seed=model.seed, replicate=replicate)


def _observed(model: Step, quantity: Quantity) -> Observe:
    return model.same(Observe, model=model, quantity=quantity)


def _audited(
    model: Step, count: int, quantity: Quantity, runtime: Runtime
) -> tuple[np.ndarray, ...]:
    """State of the audited samples, their signal before and after, that of the test samples, and
    their classes; see `MaskedBank`.
    """
    (state,) = states(range(model.replicate, model.replicate + 1), count, model.seed)
    _, labels = runtime.samples(_samples(model))

    def audited(values: Mapping[SetName, Tensor]) -> np.ndarray:
        """In the order of the bank: a split has audited samples first, or last."""
        kept, out = (int((state == each).sum()) for each in (RETAIN, OUT))
        rows = np.empty((count, *values["forget"].shape[1:]), values["forget"].numpy().dtype)
        rows[state == RETAIN] = values["retain"][:kept].numpy()
        rows[state == FORGET] = values["forget"].numpy()
        rows[state == OUT] = values["validation"][len(values["validation"]) - out :].numpy()
        return rows

    classes, test = audited(labels), labels["test"].numpy()
    signals = []
    original = reference("original", model.setting, model.seed, model.replicate)
    for each in (original, model):
        values = runtime.observation(_observed(each, quantity)).samples
        of_test = values["test"].numpy()
        if quantity == OUTPUTS:
            signals.append((confidence(audited(values), classes), confidence(of_test, test)))
        else:
            signals.append((audited(values).astype(float), of_test.astype(float)))
    (before, unseen_before), (after, unseen_after) = signals
    return state, before, after, unseen_before, unseen_after, classes


def _population(models: Iterable[Step], runtime: Runtime) -> Population:
    of_set: dict[SetName, list[tuple[np.ndarray, np.ndarray]]] = {part: [] for part in _COMPARED}
    for model in models:
        _, labels = runtime.samples(_samples(model))
        logits = runtime.observation(_observed(model, OUTPUTS)).samples
        for part, rows in of_set.items():
            given = logits[part].numpy(), labels[part].numpy()
            rows.append((confidence(*given), correct(*given)))
    stacked = {
        part: [np.stack(each) for each in zip(*rows, strict=True)] for part, rows in of_set.items()
    }
    return Population(
        confidence={part: each[0] for part, each in stacked.items()},
        correct={part: each[1] for part, each in stacked.items()},
    )


def _files(scores: Scores) -> dict[str, bytes]:
    if not scores.arrays:
        return {}
    arrays = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in scores.arrays.items()}
    return {ARRAYS: pack_tensors(arrays)}
