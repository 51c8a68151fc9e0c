"""`unlearn_ray.unlearn`: methods on a module and datasets of one's own."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import TensorDataset

import unlearn_ray as ur
from unlearn_ray.core.errors import BadInput, DataError, UnlearnRayError
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.registry import parts
from unlearn_ray.data.augmentation import normalise
from unlearn_ray.data.base import Split
from unlearn_ray.face.own_family import OwnFamily, Removed, RemovedClasses, freshly_initialised
from unlearn_ray.families.supervised import Supervised, SupervisedModel
from unlearn_ray.methods.base import Method
from unlearn_ray.train import unlearning
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData

CLASSES = 3


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
        nn.Linear(8 * 36, 16), nn.ReLU(), nn.Linear(16, CLASSES),
    )  # fmt: skip


def images_of(label: int, count: int, generator: torch.Generator) -> Tensor:
    """Gray images with a bright stripe for each class, in [0, 1]."""
    images = torch.rand(count, 1, 6, 6, generator=generator) * 0.4
    images[:, :, 2 * label] += 0.6
    return images


def drawn(seed: int, labels: tuple[int, ...], each: int = 24) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.cat([images_of(label, each, generator) for label in labels])
    return images, torch.tensor(labels).repeat_interleave(each)


RETAIN, FORGET, OTHER = drawn(0, (0, 1)), drawn(1, (2,)), drawn(2, (0, 1, 2))


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    """By a loop of one's own."""
    model = network()
    images, labels = (torch.cat(pair) for pair in zip(RETAIN, FORGET, strict=True))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(12):
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model.eval()


def able() -> list[type[Method]]:
    """The methods that can forget a class of a classifier, at their tiny fields."""
    return [
        method
        for method in parts(Method).values()
        if method.__module__.startswith("unlearn_ray.methods.")
        and method.unsupported(OwnFamily(last_layer="6"), RemovedClasses()) is None
        and not method.reads_weights
    ]


@pytest.mark.parametrize("method", able(), ids=lambda method: method.name)
def test_every_method_of_classifiers(method: type[Method], trained: nn.Module) -> None:
    before = copy.deepcopy(trained.state_dict())
    unlearned, report = ur.unlearn(
        trained, method(**method.tiny), retain=RETAIN, forget=FORGET, validation=OTHER
    )
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())
    assert unlearned.state_dict().keys() == before.keys()
    assert not unlearned.training
    assert any(
        not torch.equal(before[name], value) for name, value in unlearned.state_dict().items()
    )
    assert report.compute_seconds > 0
    assert set(report.accuracy) == {"retain", "forget", "validation"}
    assert report.accuracy["forget"][0] > 90
    assert unlearned(OTHER[0]).shape == (len(OTHER[0]), CLASSES)


def test_a_class_is_forgotten(trained: nn.Module) -> None:
    method = ur.methods.Scrub(epochs=10, learning_rate=0.05, batch_size=16)
    _, report = ur.unlearn(trained, method, retain=RETAIN, forget=FORGET, test=OTHER)
    before, after = report.accuracy["forget"]
    assert before > 90
    assert after < 20
    assert report.accuracy["retain"][1] > 90
    assert f"forget accuracy: {before:.2f} -> {after:.2f} %" in str(report)
    assert report.iterations > 0


@pytest.mark.parametrize("name", ["Finetune", "Scrub", "GradientAscent"])
def test_no_epoch_changes_nothing(name: str, trained: nn.Module) -> None:
    cls = getattr(ur.methods, name)
    method = cls(**cls.idle)
    unlearned, report = ur.unlearn(trained, method, retain=RETAIN, forget=FORGET)
    for one, other in zip(unlearned.parameters(), trained.parameters(), strict=True):
        assert torch.equal(one, other)
    assert math.isnan(report.loss)
    assert report.iterations == 0


def test_the_same_seed_gives_the_same_weights(trained: nn.Module) -> None:
    def weights(seed: int) -> Tensor:
        method = ur.methods.Finetune(epochs=1, batch_size=16)
        model, _ = ur.unlearn(trained, method, retain=RETAIN, forget=FORGET, seed=seed)
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


class Pairs:
    """Anything with a length that gives pairs."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.images[index], self.labels[index]


def as_pil(images: Tensor) -> list[Image.Image]:
    return [Image.fromarray((image[0] * 255).round().byte().numpy()) for image in images]


KINDS: dict[str, Callable[[tuple[Tensor, Tensor]], Any]] = {
    "tensors": lambda pair: ((pair[0] * 255).round() / 255, pair[1]),
    "dataset": lambda pair: TensorDataset((pair[0] * 255).round() / 255, pair[1]),
    "bytes": lambda pair: Pairs((pair[0] * 255).round().byte(), pair[1].tolist()),
    "PIL": lambda pair: Pairs(as_pil(pair[0]), pair[1].numpy()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_gives_images(kind: str, trained: nn.Module) -> None:
    def accuracy(kind: str) -> tuple[float, float]:
        given = {"retain": KINDS[kind](RETAIN), "forget": KINDS[kind](FORGET)}
        method = ur.methods.Finetune(epochs=1, batch_size=16)
        model, _ = ur.unlearn(trained, method, **given)
        first, *_ = model.parameters()
        return float(first.detach().sum()), float(first.detach().abs().max())

    assert accuracy(kind) == pytest.approx(accuracy("tensors"), rel=1e-5)


def test_it_is_what_a_sweeps_engine_does() -> None:
    """The same weights as the supervised family's, from the same samples."""

    class Backbone(nn.Sequential):
        feature_size = 16

    torch.manual_seed(1)
    body = Backbone(nn.Flatten(), nn.Linear(3 * 36, 16), nn.ReLU())
    model = SupervisedModel(body, None, CLASSES)
    pixels = torch.randint(0, 256, (40, 6, 6, 3), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (40,))
    family = Supervised()
    method = ur.methods.NegGrad(epochs=2, batch_size=16)
    data = ResidentData(pixels, labels, pixels[:0], labels[:0], CLASSES)
    split = Split(np.arange(0), forget=np.arange(30, 40), retain=np.arange(30))
    expected = copy.deepcopy(model)
    unlearning.unlearn(
        expected, family, method, data, split, seed=stable_seed("unlearn", 4),
        compute=Compute.cpu(torch.get_num_threads()), make_model=lambda seed: model,
    )  # fmt: skip
    images = normalise(pixels, family.augmentation.mean, family.augmentation.std)
    given: dict[str, Any] = {
        "retain": (images[:30], labels[:30]),
        "forget": (images[30:], labels[30:]),
    }
    mean, std = family.augmentation.mean, family.augmentation.std
    found, _ = ur.unlearn(model, method, **given, mean=mean, std=std, seed=4)
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_what_the_engine_sets_is_set_back(trained: nn.Module) -> None:
    torch.use_deterministic_algorithms(False)
    model = copy.deepcopy(trained).train()
    unlearned, _ = ur.unlearn(model, ur.methods.Finetune(epochs=1), retain=RETAIN, forget=FORGET)
    assert not torch.are_deterministic_algorithms_enabled()
    assert all(module.training for module in unlearned.modules())
    assert all(module.training for module in model.modules())


class Doubled(nn.Module):
    """Whose outputs no linear layer computes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = 2 * self.inner(images)
        return logits


def test_a_method_that_needs_features_of_a_model_without_a_last_layer(trained: nn.Module) -> None:
    model = Doubled(trained)
    _, report = ur.unlearn(model, ur.methods.Scrub(epochs=1), retain=RETAIN, forget=FORGET)
    assert report.iterations > 0
    method = ur.methods.ContrastiveUnlearning(epochs=1)
    with pytest.raises(BadInput, match=r"the model: this method needs the inputs of a last"):
        ur.unlearn(model, method, retain=RETAIN, forget=FORGET)


class Scaled(nn.Module):
    """With a parameter of its own, which nothing resets."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.scale * self.inner(images)
        return logits


def test_a_freshly_initialised_model(trained: nn.Module) -> None:
    torch.manual_seed(3)
    fresh = freshly_initialised(copy.deepcopy(trained))
    for one, other in zip(fresh.parameters(), trained.parameters(), strict=True):
        assert not torch.equal(one, other)
    method = ur.methods.BadTeacher(epochs=1)
    with pytest.raises(BadInput, match=r"parameters scale: .* new_model="):
        ur.unlearn(Scaled(trained), method, retain=RETAIN, forget=FORGET)
    given: dict[str, Any] = {"retain": RETAIN, "forget": FORGET}
    ur.unlearn(Scaled(trained), method, **given, new_model=lambda: Scaled(network()))


WRONG: dict[str, tuple[dict[str, Any], type[UnlearnRayError], str]] = {
    "a label too many": (
        {"retain": (RETAIN[0], RETAIN[1] + 5)}, BadInput, r"label 6: the model has 3 classes",
    ),
    "no labels": ({"forget": (FORGET[0], FORGET[1][:3])}, DataError, r"24 images and 3 labels"),
    "nothing": ({"forget": []}, DataError, r"the forget set: it is empty"),
    "no pairs": ({"forget": [FORGET[0][0]]}, DataError, r"sample 0 of the forget set = .*not a"),
    "names": ({"forget": [(FORGET[0][0], "cat")]}, DataError, r"label 0 of the forget set = 'cat'"),
    "sizes": (
        {"forget": [(torch.zeros(1, 6, 6), 0), (torch.zeros(1, 7, 6), 0)]},
        DataError, r"sample 0 has the shape \(1, 6, 6\), and sample 1 \(1, 7, 6\)",
    ),
    "other sizes": (
        {"forget": (torch.zeros(4, 1, 5, 6), FORGET[1][:4])}, BadInput, r"the forget set of shape",
    ),
    "text": ({"forget": [("image", 0)]}, DataError, r"image 0 of the forget set: neither"),
    "NaN": ({"forget": (FORGET[0] * math.nan, FORGET[1])}, DataError, r"not finite"),
    "normalised": ({"forget": (FORGET[0] - 1, FORGET[1])}, BadInput, r"beyond \[0, 1\]"),
    "half": ({"mean": 0.5}, DataError, r"mean and std: one is given without the other"),
    "no deviation": ({"mean": 0.5, "std": 0.0}, DataError, r"not positive"),
    "floats": ({"forget": (FORGET[0], FORGET[1].float())}, DataError, r"not classes"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used(case: str, trained: nn.Module) -> None:
    changed, kind, message = WRONG[case]
    given: dict[str, Any] = {"retain": RETAIN, "forget": FORGET, **changed}
    with pytest.raises(kind, match=message):
        ur.unlearn(trained, ur.methods.Finetune(epochs=1), **given)


def test_methods_that_lack_something(trained: nn.Module) -> None:
    validating = next(m for m in able() if m(**m.tiny).extra_data() == ("validation",))
    with pytest.raises(BadInput, match=r"not trained on; give validation="):
        ur.unlearn(trained, validating(**validating.tiny), retain=RETAIN, forget=FORGET)
    contrastive = ur.methods.AlignmentCalibration()
    with pytest.raises(BadInput, match=r"needs a contrastive family; your model has no"):
        ur.unlearn(trained, contrastive, retain=RETAIN, forget=FORGET)
    half = tuple(tensor[:12] for tensor in RETAIN)
    whole = next(
        m for m in able() if m.unsupported(OwnFamily(last_layer="6"), Removed()) is not None
    )
    with pytest.raises(BadInput, match=r"this forget set"):
        ur.unlearn(trained, whole(**whole.tiny), retain=RETAIN, forget=half, validation=OTHER)


def test_methods_by_their_classes() -> None:
    assert ur.methods.Scrub is ur.methods.SCRUB is parts(Method)["scrub"]
    assert {method.__name__ for method in parts(Method).values()} <= set(dir(ur.methods))
    with pytest.raises(AttributeError, match=r"no method has a class Scrubb; "):
        _ = ur.methods.Scrubb
    with pytest.raises(AttributeError, match=r"has no attribute 'anything'"):
        _ = ur.anything
    assert {"Sweep", "Run", "unlearn", "methods"} <= set(dir(ur))
