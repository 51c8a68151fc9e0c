"""Batches of one image: refused when the sweep is planned, or trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.config.batch_check import check_study, check_training, counts_of
from unlearn_ray.config.data_check import check_data
from unlearn_ray.config.sweep_schema import Study
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.ranges import Range
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import find, parts
from unlearn_ray.data.base import Split
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.families.base import Family
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method
from unlearn_ray.methods.shared import OneShot
from unlearn_ray.models.base import Model
from unlearn_ray.models.resnet import ResNet18
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.training import new_model
from unlearn_ray.train.unlearning import unlearn

ONE = "forget_set: {random: {count: 1}}"
CAPTIONS = "{embedding_size: 8, text_width: 8, text_heads: 2, text_layers: 1}"
# Half of the digits' 1,438 training images is kept for validation.
ALL_BUT_ONE = "forget_set: {random: {count: 718}}"


def sweep_text(family: str, method: str, forget_set: str) -> str:
    text = SWEEP.replace("family: simclr", f"family: {family}")
    text = text.replace("forget_set: {random: {fraction: 0.1}}", forget_set)
    if "clip" in family:
        text = text.replace("dataset: {digits: {image_size: 8}}", "dataset: captioned_digits")
    return text.replace("finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}", method)


@pytest.mark.parametrize("family", ["simclr", "byol", "simsiam", f"{{clip: {CAPTIONS}}}"])
@pytest.mark.parametrize(
    ("method", "forget_set", "message"),
    [
        ("gradient_ascent: {}", ONE, "gradient_ascent on a forget set of 1 sample"),
        ("gradient_ascent: {batch_size: 1}", "forget_set: {random: {count: 9}}",
         "gradient_ascent on 1 image at a time"),
        ("neggrad: {batch_size: {choice: [8, 1]}}", ONE, "neggrad on 1 image at a time"),
        ("gradient_penalty: {criterion_on: forget}", ONE, "on a forget set of 1 sample"),
        ("finetune: {}", ALL_BUT_ONE, "training on a retain set of 1 sample"),
    ],
)  # fmt: skip
def test_one_image_alone_is_refused(
    family: str, method: str, forget_set: str, message: str, tmp_path: Path
) -> None:
    text = sweep_text(family, method, forget_set)
    with pytest.raises(ConfigError, match="cannot be trained on one image") as found:
        tiny_sweep(tmp_path, text)
    lines = str(found.value).splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert "tiny.yaml:" in lines[0]


@pytest.mark.parametrize("family", ["simclr", "byol", "simsiam", f"{{clip: {CAPTIONS}}}"])
@pytest.mark.parametrize(
    "method", ["finetune: {}", "neggrad: {}", "l1_sparsity: {}", "gradient_ascent: {epochs: 0}",
               "gradient_penalty: {}"],
)  # fmt: skip
def test_one_request_is_served_where_batches_hold_more(
    family: str, method: str, tmp_path: Path
) -> None:
    assert tiny_sweep(tmp_path, sweep_text(family, method, ONE)).studies


def test_an_ids_file_says_how_many_there_are(tmp_path: Path) -> None:
    """Whatever the seed: named samples are never held out."""
    order = np.random.RandomState(1).permutation(1438)
    ids = tmp_path / "ids.txt"
    text = sweep_text("simclr", "gradient_ascent: {}", f"forget_set: {{ids: {{file: {ids}}}}}")
    ids.write_text(f"{order[0]}\n")
    with pytest.raises(ConfigError, match="gradient_ascent on a forget set of 1 sample"):
        tiny_sweep(tmp_path, text)
    ids.write_text("".join(f"{number}\n" for number in order[-40:]))
    assert tiny_sweep(tmp_path, text).studies


def test_classes_are_counted_in_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = sweep_text("simclr", "gradient_ascent: {}", "forget_set: {classes: {classes: [3]}}")
    sweep = tiny_sweep(tmp_path, text)
    check_data(sweep)
    monkeypatch.setattr(
        "unlearn_ray.config.data_check.split",
        lambda *_: Split(np.arange(5), np.arange(5, 6), np.arange(6, 20)),
    )
    with pytest.raises(ConfigError, match="forget set of 1 sample"):
        check_data(sweep)


@pytest.mark.parametrize(
    ("family", "model", "size", "refused"),
    [
        ("supervised", ResNet8(width=2), 8, False),
        ("supervised", ResNet8(width=2), 4, True),
        ("supervised", ResNet18(width=2), 8, True),
        ("supervised", ResNet18(width=2), 32, False),
        ("moco", ResNet18(width=2), 32, False),
        ("moco", ResNet18(width=2), 8, True),
        ("simclr", ResNet18(width=2), 32, True),
    ],
)  # fmt: skip
def test_what_is_refused_is_what_torch_cannot_do(
    family: str, model: Model, size: int, refused: bool
) -> None:
    """Gradient ascent on one image with the real engine, and retraining on it."""
    made = find(Family, family)()
    study = Study(find(Method, "gradient_ascent"), {"epochs": 1})
    counts = counts_of(7, 1, 1)
    split = Split(np.arange(1), np.arange(1, 2), np.arange(2, 8))
    pixels = torch.randint(0, 256, (8, size, size, 3), dtype=torch.uint8)
    data = ResidentData(pixels, torch.arange(8) % 3, pixels, torch.arange(8) % 3, 3)
    info = Digits(image_size=size).info()

    def ascend() -> None:
        unlearn(
            new_model(model, made, info, 1), made, study.at({}), data, split, seed=1,
            compute=Compute.cpu(), make_model=lambda seed: new_model(model, made, info, seed),
        )  # fmt: skip

    if refused:
        with pytest.raises(ConfigError, match="cannot be trained on one image"):
            check_study(study, counts, made, model, size)
        with pytest.raises(ConfigError, match="training on a retain set of 1 sample"):
            check_training(Recipe(), counts_of(7, 6, 1), made, model, size)
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            ascend()
    else:
        check_study(study, counts, made, model, size)
        check_training(Recipe(), counts_of(7, 6, 1), made, model, size)
        ascend()
    check_training(Recipe(epochs=0), counts_of(7, 6, 1), made, model, size)


def test_every_method_says_what_it_trains_on() -> None:
    for name, method in parts(Method).items():
        batches = method().own_batches()
        assert {part for part, _ in batches} <= {"all", "retain", "forget", "validation"}, name
        assert all(size > 0 for _, size in batches)
        if issubclass(method, OneShot):
            assert batches == ()
    assert find(Method, "contrastive_unlearning")().own_batches() == ()
    scrub = find(Method, "scrub")
    assert dict(scrub(forget_batch_size=3).own_batches()) == {"retain": 128, "forget": 3}
    assert dict(scrub(msteps=0).own_batches()) == {"retain": 128}
    labels = find(Method, "random_label")
    assert [part for part, _ in labels().own_batches()] == ["forget", "retain"]
    assert [part for part, _ in labels(passes="mixed").own_batches()] == ["all"]


def test_the_whole_space_is_looked_at() -> None:
    study = Study(
        find(Method, "scrub"), {}, {"forget_batch_size": Range("choice", choices=(8, 1, 4))}
    )
    with pytest.raises(ConfigError, match="make its batches of the forget set larger"):
        check_study(study, counts_of(100, 10, 5), Supervised(), ResNet8(width=2), 4)
    check_study(study, counts_of(100, 10, 5), Supervised(), ResNet8(width=2), 8)
