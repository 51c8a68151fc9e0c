"""Methods on CLIP: all that can run do, alone and in two workers; the rest say why not."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.families.naive import cosine
from tests.methods import pairs
from tests.methods.pairs import FAMILY, RECIPE, original, retrained, similarity, split, zero_shot
from tests.tiny import SWEEP, tiny_sweep
from tests.words import coco_files
from tests.workers import found_by_two
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.registry import find, parts
from unlearn_ray.core.schema import field_values
from unlearn_ray.data.base import ForgetSet
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.ids import Ids
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.families.base import InfoNCE
from unlearn_ray.families.clip import CLIP
from unlearn_ray.methods.alignment_calibration import AlignmentCalibration
from unlearn_ray.methods.base import Method, Task
from unlearn_ray.testing.toy import ToySamples, TwoLayerBackbone, random_batch

FORGET_SETS: dict[str, ForgetSet] = {"class": Classes(classes=(3,)), "samples": Random()}
# Whose outcome is known; that any other method trains is for the conformance suite to see.
KNOWN = (
    "alignment_calibration", "contrastive_unlearning", "finetune", "gradient_ascent",
    "gradient_penalty", "l1_sparsity", "neggrad",
)  # fmt: skip
CASES = [
    (name, kind)
    for name in KNOWN
    for kind in FORGET_SETS
    if (name, kind) != ("contrastive_unlearning", "samples")
]
each_case = pytest.mark.parametrize(("name", "kind"), CASES)


@each_case
def test_changes_the_model_within_reason(name: str, kind: str) -> None:
    model, before = original(), original().state_dict()
    method = find(Method, name)(**RECIPE, epochs=2, learning_rate=1e-4)
    report = pairs.run(method, kind, model)
    assert report.iterations > 0
    assert math.isfinite(report.loss)
    after = model.state_dict()
    for part in ("backbone.first.weight", "text.transformer.text_projection"):
        if name != "gradient_penalty" or part.startswith("backbone"):
            assert not torch.equal(before[part], after[part])
    assert not model.training
    assert zero_shot(model, split(kind).retain) > 0.8


@each_case
def test_zero_epochs_leave_every_bit(name: str, kind: str) -> None:
    model, before = original(), original().state_dict()
    assert pairs.run(find(Method, name)(epochs=0), kind, model).iterations == 0
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", parts(Method))
def test_others_are_refused_when_a_sweep_is_planned(name: str, tmp_path: Path) -> None:
    texts = {"class": "{classes: {classes: [3]}}", "samples": "{random: {fraction: 0.2}}"}
    for kind, forget_set in FORGET_SETS.items():
        reason = find(Method, name).unsupported(FAMILY, forget_set)
        if find(Method, name).reads_weights:
            continue
        if reason is None:
            assert tiny_sweep(tmp_path, sweep(name, texts[kind]))
            continue
        with pytest.raises(ConfigError, match=f"methods.{name}: {re.escape(reason)}"):
            tiny_sweep(tmp_path, sweep(name, texts[kind]))


def test_contrastive_unlearning_of_samples_is_refused(tmp_path: Path) -> None:
    reason = "contrastive_unlearning forgets whole classes of clip; random does not"
    with pytest.raises(ConfigError, match=reason):
        tiny_sweep(tmp_path, sweep("contrastive_unlearning", "{random: {fraction: 0.2}}"))
    method = find(Method, "contrastive_unlearning")
    assert method.unsupported(FAMILY, Ids(file="a.txt")) == reason.replace("random", "ids")
    assert tiny_sweep(tmp_path, sweep("contrastive_unlearning", "{classes: {classes: [3]}}"))


def test_contrastive_unlearning_of_pairs_without_classes_is_refused(tmp_path: Path) -> None:
    photos = json.dumps({"coco_captions": {**coco_files(tmp_path, {"train": 60, "test": 9})}})
    text = sweep("contrastive_unlearning", "{classes: {classes: [3]}}")
    with pytest.raises(ConfigError, match="the dataset's images are unlabelled"):
        tiny_sweep(tmp_path, text.replace("{captioned_digits: {image_size: 8}}", photos))


def sweep(method: str, forget_set: str) -> str:
    text = SWEEP.replace("{digits:", "{captioned_digits:").replace("simclr", "clip")
    text = text.replace("{random: {fraction: 0.1}}", forget_set)
    return text.replace(
        "finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}", f"{method}: {{}}"
    )


# Alignment Calibration: the paper's equation 5, from the embeddings of both towers.

SMALL = CLIP(temperature=0.3, embedding_size=7, text_width=8, text_heads=2, text_layers=1)


@pytest.mark.parametrize("forget", [(), (2,), (0, 3), (1, 2, 5), (0, 1, 2, 3, 4, 5)])
@pytest.mark.parametrize(
    ("alpha", "beta"), [(1.0, 0.0), (0.5, 0.3), (0.8, 1.0)], ids=["no beta", "both", "large"]
)
def test_alignment_calibration_is_equation_5_in_both_directions(
    alpha: float, beta: float, forget: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    model = SMALL.build(TwoLayerBackbone(), 10).double()
    model.log_scale.data.fill_(-math.log(0.3))
    batch = random_batch(6, forget, views=1, dtype=torch.float64)
    images = model.image_projection(model.backbone(batch.views[0])).tolist()
    texts = model.text(batch.texts).tolist()
    retain, negative, positive, uniform = [], [], [], []
    for own, others in ((images, texts), (texts, images)):
        for pair in range(6):
            s = [cosine(own[pair], other) / 0.3 for other in others]
            log_sum = math.log(math.fsum(map(math.exp, s)))
            if pair not in forget:
                retain.append(log_sum - s[pair])
                continue
            positive.append(s[pair])
            uniform.append(log_sum)
            negative += [s[other] for other in forget if other != pair]
    unlearn = -alpha * mean(negative) + beta * mean(positive) + alpha * mean(uniform)
    method = AlignmentCalibration(alpha=alpha, beta=beta)
    found = method.loss(model, batch, Task(SMALL, ToySamples(90, 10)))
    assert found.item() == pytest.approx(mean(retain) + 10 / 90 * unlearn, abs=1e-12)


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


@pytest.mark.parametrize("gamma", [None, 0.3])
def test_a_constant_on_every_similarity_is_weighed_by_beta_and_gamma_less_alpha(
    gamma: float | None,
) -> None:
    """InfoNCE alone does not see it: that is how far images and captions are from each other."""

    class Shifted(CLIP):
        def info_nce(self, model: nn.Module, batch: Batch) -> InfoNCE:
            found = super().info_nce(model, batch)
            names = ("positive", "log_sum_exp", "similarities")
            return replace(found, **{name: getattr(found, name) + 0.9 for name in names})

    method, losses = AlignmentCalibration(alpha=0.7, beta=0.4, gamma=gamma), []
    for kind in (CLIP, Shifted):
        family = kind(**field_values(SMALL))
        torch.manual_seed(0)
        model = family.build(TwoLayerBackbone(), 10).double()
        batch = random_batch(6, (0, 3), views=1, dtype=torch.float64)
        losses.append(method.loss(model, batch, Task(family, ToySamples(90, 10))).item())
    weight = 0.4 + (0.7 if gamma is None else gamma) - 0.7
    assert losses[1] - losses[0] == pytest.approx(10 / 90 * weight * 0.9)


def gap(model: nn.Module, kind: str) -> float:
    """How much less similar forget pairs are than retain pairs."""
    return similarity(model, split(kind).retain) - similarity(model, split(kind).forget)


@pytest.mark.parametrize(
    ("kind", "alpha", "beta", "rate"), [("class", 1.0, 0.05, 5e-4), ("samples", 0.5, 0.02, 2e-4)]
)
def test_alignment_calibration_moves_forget_pairs_towards_the_retrained_model(
    kind: str, alpha: float, beta: float, rate: float
) -> None:
    before, wanted, after = original(), retrained(kind), original()
    method = AlignmentCalibration(alpha=alpha, beta=beta, epochs=8, learning_rate=rate, **RECIPE)
    pairs.run(method, kind, after)
    forget, retain = split(kind).forget, split(kind).retain
    assert similarity(wanted, forget) < similarity(before, forget)
    assert similarity(after, forget) < similarity(before, forget)
    assert gap(before, kind) < min(gap(after, kind), gap(wanted, kind))
    assert similarity(after, retain) > 0.7 * similarity(before, retain)
    assert zero_shot(after, retain) > 0.75


# Two workers.

# Batches of 17 are not shared evenly.
SHARED: dict[str, Method] = {
    name: find(Method, name)(optimizer="adamw", batch_size=17, epochs=2, learning_rate=1e-3)
    for name, kind in CASES
    if kind == "class"
}
SHARED["queue"] = replace(SHARED["contrastive_unlearning"], variant="queue", queue_size=60)


def weights(method: Method, before: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a method leaves of a class, in float64."""
    model = pairs.new_model().double()
    model.load_state_dict(before)
    pairs.run(method, "class", model)
    return model.state_dict()


@pytest.mark.slow
def test_two_workers_find_what_one_finds(tmp_path: Path) -> None:
    before = original().state_dict()
    for after in found_by_two(SHARED, weights, before, tmp_path).values():
        moved = after["backbone.first.weight"] - before["backbone.first.weight"].double()
        assert moved.abs().max() > 1e-5
