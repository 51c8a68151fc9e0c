from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unlearn_ray.core.errors import DataError, NonFiniteLoss, StopRequested
from unlearn_ray.core.keys import content_key, stable_seed
from unlearn_ray.core.schema import field_values
from unlearn_ray.measure import regression
from unlearn_ray.measure.probe import Probe, train_probe
from unlearn_ray.measure.regression import regress
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Iteration, Progress

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
        features if features.dim() == 3 else features[None],
        labels,
        feature_size=features.shape[-1],
        num_classes=CLASSES,
        seed=seed,
        compute=CPU,
    )


def by_autograd(probe: Probe, features: Tensor, labels: Tensor, seed: int = 5) -> nn.Linear:
    """The same through `optimise`, of copies (copies, n, d)."""

    def of_rows(iteration: Iteration) -> Tensor:
        return features[iteration.epoch % len(features)][iteration.rows]

    return train_probe(
        probe,
        of_rows,
        labels,
        feature_size=features.shape[2],
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


RECIPES: dict[str, dict[str, Any]] = {
    "the default": {},
    "small batches": {"batch_size": 8},
    "a kept batch of another size": {"batch_size": 10, "last_batch": "keep"},
    "decay, warm-up": {"batch_size": 8, "weight_decay": 0.01, "warmup_epochs": 2},
    "no momentum": {"momentum": 0.0, "schedule": "constant", "learning_rate": 0.1},
    "no epochs": {"epochs": 0},
    "adam": {"optimizer": "adam", "batch_size": 8, "learning_rate": 0.01},
}


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("recipe", RECIPES)
def test_closed_form_and_autograd_give_the_same_digits(recipe: str, copies: int) -> None:
    probe = Probe(**{"epochs": 7, **RECIPES[recipe]})
    features = torch.stack([data(seed, 203)[0] for seed in range(copies)])
    labels = data(0, 203)[1]
    ours, theirs = train(probe, features, labels), by_autograd(probe, features, labels)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
    assert all(weight.requires_grad for weight in ours.parameters())


def test_epochs_take_copies_in_turns() -> None:
    """A naive loop over one epoch at a time, each with the features of its turn."""
    labels = data(0)[1]
    copies = [data(seed)[0] for seed in range(3)]
    probe = Probe(epochs=1, batch_size=512, schedule="constant", momentum=0.0, learning_rate=0.3)
    weights = rows(train(Probe(epochs=0), copies[0], labels))
    for features in (*copies, copies[0]):
        weights = naive(probe, features, labels, weights, seed=5)[-1]
    found = train(replace(probe, epochs=4), torch.stack(copies), labels)
    torch.testing.assert_close(
        torch.tensor(rows(found)), torch.tensor(weights), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("epochs", [0, 4])
def test_progress_is_told_at_the_end(epochs: int) -> None:
    told: list[Progress] = []

    def tell(progress: Progress) -> bool:
        told.append(progress)
        return False

    features, labels = data()
    regress(nn.Linear(SIZE, CLASSES), Probe(epochs=epochs, batch_size=10), features[None], labels,
            seed=0, compute=CPU, on_progress=tell)  # fmt: skip
    last = told[-1]
    assert (last.iteration, last.iterations, last.epoch, last.epochs) == (
        2 * epochs, 2 * epochs, epochs, epochs,
    )  # fmt: skip
    assert math.isfinite(last.loss) == (epochs > 0)


def test_a_run_that_is_told_to_stop_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression, "PROGRESS_SECONDS", 0.0)
    told: list[int] = []

    def stop(progress: Progress) -> bool:
        told.append(progress.iteration)
        if progress.iteration == 5:
            raise StopRequested("5 iterations", "they are enough", "go on")
        return False

    features, labels = data()
    with pytest.raises(StopRequested):
        regress(nn.Linear(SIZE, CLASSES), Probe(epochs=9, batch_size=10), features[None], labels,
                seed=0, compute=CPU, on_progress=stop)  # fmt: skip
    assert told == [1, 2, 3, 4, 5]


def test_a_loss_that_was_infinite_for_a_moment_is_refused() -> None:
    """A sample whose class has probability 0 has an infinite loss and a finite gradient."""
    features, labels = torch.zeros(4, SIZE), torch.tensor([0, 1, 2, 3])
    linear = nn.Linear(SIZE, CLASSES)
    with torch.no_grad():
        linear.bias.copy_(torch.tensor([3e38, -3e38, 0.0, 0.0]))
    with pytest.raises(NonFiniteLoss, match="first 1 of 1 iterations"):
        regress(linear, Probe(epochs=1), features[None], labels, seed=0, compute=CPU)
    assert all(bool(weight.isfinite().all()) for weight in linear.parameters())


@pytest.mark.parametrize(
    ("settings", "sets"),
    [
        ({}, 1),
        ({"features": "cached_views"}, 10),
        ({"features": "cached_views", "copies": 4}, 4),
        ({"features": "cached_views", "epochs": 3}, 3),
        ({"features": "cached_views", "copies": 4, "epochs": 3}, 3),
    ],
)
def test_sets_of_features(settings: dict[str, Any], sets: int) -> None:
    assert Probe(**settings).sets == sets


@pytest.mark.parametrize(
    "settings",
    [
        {"copies": 4},
        {"copies": 1, "features": "augmented"},
        {"copies": 0, "features": "cached_views"},
        {"copies": 1001, "features": "cached_views"},
        {"copies": 2.5, "features": "cached_views"},
    ],
)
def test_copies_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="copies"):
        Probe(**settings)


def test_copies_are_part_of_keys_where_they_are_used() -> None:
    def key(**settings: Any) -> str:
        return content_key(Probe(**settings))

    # As they were before there were copies.
    for features in ("cached", "augmented"):
        before = {k: v for k, v in field_values(Probe(features=features)).items() if k != "copies"}
        assert key(features=features) == content_key(before)
    views = {"features": "cached_views"}
    assert key(**views) == key(**views, copies=10) != key(**views, copies=4)
    assert key(**views, epochs=4) == key(**views, epochs=4, copies=9)
