"""Boundary Expanding: one class more for a while."""

from __future__ import annotations

import math

import pytest
import torch

from tests.methods.exact import small_model, small_task
from tests.methods.problem import CLASS, original, run
from tests.restarts import Kept, stop_at_iteration
from unlearn_ray.core.errors import StopRequested
from unlearn_ray.methods.boundary_expanding import BoundaryExpanding
from unlearn_ray.testing.toy import random_batch
from unlearn_ray.train import loop


def test_the_new_class() -> None:
    model, task = small_model(), small_task()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    method = BoundaryExpanding()
    assert not list(method.prepare(model, task).state_dict())
    layer = model.classifier
    assert (layer.out_features, layer.weight.shape, layer.bias.shape) == (5, (5, 4), (5,))
    assert layer.weight.dtype == torch.float64
    assert torch.equal(layer.weight[:4], before["classifier.weight"])
    assert torch.equal(layer.bias[:4], before["classifier.bias"])
    drawn = torch.randn(4, generator=task.samples.generator("boundary_expanding")).tolist()
    expected = [math.sqrt(2 / (4 + 5)) * value for value in drawn]
    assert layer.weight[4].tolist() == pytest.approx(expected)
    assert layer.bias[4] == 0
    assert all(weight.requires_grad for weight in layer.parameters())
    with torch.no_grad():
        layer.weight += 1
    method.finish(model, task)
    assert (layer.out_features, layer.bias.shape) == (4, (4,))
    assert torch.equal(layer.weight, before["classifier.weight"] + 1)
    assert all(weight.requires_grad for weight in layer.parameters())
    assert list(model.state_dict()) == list(before)


def test_loss() -> None:
    model, task = small_model(), small_task()
    method = BoundaryExpanding()
    method.prepare(model, task)
    batch = random_batch(6, tuple(range(6)), views=1, image_size=4, dtype=torch.float64)
    total = 0.0
    for image in batch.views[0]:
        logits = model(image[None])[0].tolist()
        assert len(logits) == 5
        total += math.log(math.fsum(map(math.exp, logits))) - logits[4]
    assert method.loss(model, batch, task).item() == pytest.approx(total / 6)


def test_a_class_is_sent_away() -> None:
    outcome = run(BoundaryExpanding(learning_rate=1e-3, batch_size=10), CLASS)
    assert outcome.model.classifier.weight.shape == original().classifier.weight.shape
    assert outcome.grown(CLASS.forget) > 5
    assert outcome.accuracy(CLASS.retain) > 0.9


def test_zero_epochs() -> None:
    assert run(BoundaryExpanding(epochs=0), CLASS).same_as(original())


@pytest.mark.parametrize("stopped_at", [1, 7])
def test_a_restart_changes_nothing(stopped_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint holds the wider classifier, and fits the model that was prepared anew."""
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", 0.0)
    method = BoundaryExpanding(learning_rate=1e-3, batch_size=10, epochs=2)
    expected, kept = run(method, CLASS), Kept()

    with pytest.raises(StopRequested):
        run(method, CLASS, kept, stop_at_iteration(stopped_at))
    resumed = run(method, CLASS, kept)
    assert resumed.same_as(expected.model)
    assert resumed.report.iterations == expected.report.iterations


def test_published_settings() -> None:
    method = BoundaryExpanding()
    assert (method.epochs, method.batch_size, method.learning_rate) == (10, 64, 1e-5)
    assert (method.optimizer, method.momentum, method.weight_decay) == ("sgd", 0.9, 0)
