from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unlearn_ray.core.errors import DataError, NonFiniteLoss
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.measure.probe import Probe, train_probe
from unlearn_ray.train.compute import Compute

CPU = Compute(torch.device("cpu"))
SAMPLES, SIZE, CLASSES = 23, 3, 4


def data(seed: int = 0, samples: int = SAMPLES) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (samples,), generator=generator)
    centers = 2 * torch.randn(CLASSES, SIZE, generator=generator)
    return centers[labels] + torch.randn(samples, SIZE, generator=generator), labels


def train(probe: Probe, features: Tensor, labels: Tensor, seed: int = 5) -> nn.Linear:
    return train_probe(
        probe,
        lambda iteration: features[iteration.rows],
        labels,
        feature_size=features.shape[1],
        num_classes=CLASSES,
        seed=seed,
        compute=CPU,
    )


Weights = list[list[float]]


def naive(
    probe: Probe, features: Tensor, labels: Tensor, weights: Weights, seed: int
) -> list[Weights]:
    """SGD with momentum in loops; each row of weights is a class, its bias last.

    Returns the weights after every epoch.
    """
    inputs = [[*row, 1.0] for row in features.double().tolist()]
    weights = [list(row) for row in weights]
    velocity = [[0.0] * (SIZE + 1) for _ in range(CLASSES)]
    history = []
    batch = min(probe.batch_size, len(inputs))
    for epoch in range(probe.epochs):
        words = ("order", stable_seed("probe", seed), epoch)
        generator = torch.Generator().manual_seed(stable_seed(*words))
        order = torch.randperm(len(inputs), generator=generator).tolist()
        rate = probe.learning_rate
        if probe.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * epoch / probe.epochs)) / 2
        for start in range(0, len(inputs) - batch + 1, batch):
            gradient = [[0.0] * (SIZE + 1) for _ in range(CLASSES)]
            for sample in order[start : start + batch]:
                logits = [
                    sum(w * x for w, x in zip(row, inputs[sample], strict=True)) for row in weights
                ]
                total = sum(math.exp(logit) for logit in logits)
                for c in range(CLASSES):
                    error = math.exp(logits[c]) / total - (c == int(labels[sample]))
                    for k in range(SIZE + 1):
                        gradient[c][k] += error * inputs[sample][k] / batch
            for c in range(CLASSES):
                for k in range(SIZE + 1):
                    velocity[c][k] = probe.momentum * velocity[c][k] + gradient[c][k]
                    weights[c][k] -= rate * velocity[c][k]
        history.append([list(row) for row in weights])
    return history


def rows(linear: nn.Linear) -> Weights:
    return [
        [*weight, bias]
        for weight, bias in zip(linear.weight.tolist(), linear.bias.tolist(), strict=True)
    ]


@pytest.mark.parametrize("batch_size", [8, 512])
def test_every_epoch_equals_a_naive_loop(batch_size: int) -> None:
    features, labels = data()
    settings: dict[str, Any] = {
        "batch_size": batch_size,
        "schedule": "constant",
        "learning_rate": 0.3,
    }
    initial = rows(train(Probe(epochs=0, **settings), features, labels))
    expected = naive(Probe(epochs=6, **settings), features, labels, initial, seed=5)
    for epochs in range(1, 7):
        linear = train(Probe(epochs=epochs, **settings), features, labels)
        torch.testing.assert_close(
            torch.tensor(rows(linear)), torch.tensor(expected[epochs - 1]), rtol=1e-4, atol=1e-5
        )


def test_the_cosine_of_the_paper_equals_a_naive_loop() -> None:
    features, labels = data(1)
    probe = Probe(epochs=20, batch_size=5)
    assert (probe.learning_rate, probe.momentum, probe.weight_decay) == (1.0, 0.9, 0.0)
    initial = rows(train(Probe(epochs=0), features, labels))
    expected = naive(probe, features, labels, initial, seed=5)[-1]
    torch.testing.assert_close(
        torch.tensor(rows(train(probe, features, labels))),
        torch.tensor(expected),
        rtol=1e-3,
        atol=1e-3,
    )


def test_learns_what_can_be_learned() -> None:
    """Classes lie around the corners of a tetrahedron: nothing beats the nearest of these."""
    corners = 1.5 * torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    labels = torch.arange(600) % CLASSES
    noise = torch.Generator().manual_seed(2)
    features = corners[labels] + torch.randn(600, SIZE, generator=noise)
    linear = train(Probe(), features, labels)
    nearest = torch.cdist(features, corners).argmin(1)
    by_probe = (linear(features).argmax(1) == labels).float().mean()
    assert by_probe >= (nearest == labels).float().mean() - 0.025
    assert by_probe > 0.9


def test_depends_on_the_seed_and_on_nothing_else() -> None:
    features, labels = data()
    first = train(Probe(epochs=3), features, labels)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    second = train(Probe(epochs=3), features, labels)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(first.weight, train(Probe(epochs=3), features, labels, 6).weight)


def test_a_class_without_samples_is_pushed_down() -> None:
    features, labels = data(3, 200)
    kept = labels != 2
    linear = train(Probe(), features[kept], labels[kept])
    assert linear.out_features == CLASSES
    assert float(linear(features[kept]).softmax(1)[:, 2].mean().detach()) < 0.01


def test_constant_features_give_the_class_frequencies() -> None:
    labels = torch.tensor([0] * 60 + [1] * 30 + [3] * 10)
    linear = train(Probe(epochs=400), torch.zeros(100, SIZE), labels)
    shares = linear(torch.zeros(1, SIZE)).softmax(1)[0]
    torch.testing.assert_close(shares, torch.tensor([0.6, 0.3, 0.0, 0.1]), rtol=0, atol=0.01)


def test_no_samples_are_refused() -> None:
    with pytest.raises(DataError, match="retain set of 0 samples"):
        train(Probe(), torch.zeros(0, SIZE), torch.zeros(0, dtype=torch.long))


def test_a_diverging_probe_says_so() -> None:
    features, labels = data()
    with pytest.raises(NonFiniteLoss, match="NaN or inf"):
        train(Probe(learning_rate=1e38), features * 1e3, labels)
