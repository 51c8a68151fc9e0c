"""What every registered part owes, whoever wrote it: new parts are tested unasked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import count
from typing import Any

import pytest
import torch
from torch import nn

from tests.conformance.digests import CONTRACTS
from tests.toy import ToySamples, TwoLayerBackbone, random_batch, small_family
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.registry import Part, find, parts, summary
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.families.base import ContrastiveFamily, Family
from unlearn_ray.methods.base import Method, Phase, Task
from unlearn_ray.models.base import Model

PARTS = [(contract, name) for contract in CONTRACTS for name in parts(contract)]
FORGET_SET = Random()
METHODS, FAMILIES, MODELS = (list(parts(contract)) for contract in (Method, Family, Model))

each_part = pytest.mark.parametrize(
    ("contract", "name"), PARTS, ids=[f"{contract.kind}-{name}" for contract, name in PARTS]
)


def words_of(part: type[Any]) -> set[str]:
    docs = " ".join(cls.__doc__ or "" for cls in part.__mro__)
    return set(re.findall(r"\w+", docs))


@each_part
def test_name_is_snake_case(contract: type[Part], name: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name)
    assert find(contract, name).name == name


@each_part
def test_docstring_opens_with_a_sentence(contract: type[Part], name: str) -> None:
    part = find(contract, name)
    # A dataclass without a docstring is given its signature as one.
    assert not (part.__doc__ or "").startswith(f"{part.__name__}(")
    assert summary(part).rstrip().endswith((".", ":", ")"))
    assert len(summary(part)) <= 100


@each_part
def test_fields_are_documented(contract: type[Part], name: str) -> None:
    part = find(contract, name)
    own = {field.name for field in fields(part)} - {field.name for field in fields(contract)}
    assert own <= words_of(part), f"say in the docstring what they are: {own - words_of(part)}"


@each_part
def test_defaults_are_valid_and_unknown_fields_are_not(contract: type[Part], name: str) -> None:
    part = find(contract, name)
    with pytest.raises(ValueError, match="no_such_field"):
        part(no_such_field=1)
    try:
        default = part()
    except ValueError:
        # Which data, and what to forget, has no default; how to learn, forget and measure has.
        assert contract in (Dataset, ForgetSet)
        return
    part(**{field.name: getattr(default, field.name) for field in fields(part)})


def family_and_model(name: str) -> tuple[Family, nn.Module]:
    torch.manual_seed(0)
    family = small_family(name)
    return family, family.build(TwoLayerBackbone(), 10)


def test_there_are_parts_to_test() -> None:
    assert FAMILIES
    assert METHODS
    assert MODELS


def phases_on(method: str, family: str) -> Iterator[tuple[Phase, Family, nn.Module]]:
    """The phases of a method with its defaults, on a two-layer model; none if it cannot."""
    part = find(Method, method)
    criterion, model = family_and_model(family)
    reason = part.unsupported(criterion, FORGET_SET)
    if reason is not None:
        assert re.search(r"\w+ \w+", reason), "say in words why not"
        assert method in reason or family in reason
        return
    samples = ToySamples(90, 30, image_size=8, make_model=lambda: family_and_model(family)[1])
    unlearning, task = part(), Task(criterion, samples)
    task = replace(task, state=unlearning.prepare(model.eval(), task))
    for number in count():
        phase = unlearning.phase(number, model, task)
        if phase is None:
            break
        model.train(phase.training).zero_grad()
        yield phase, criterion, model
        if phase.after is not None:
            phase.after()
    unlearning.finish(model.eval(), task)


def batch_for(phase: Phase, family: Family, forget: tuple[int, ...]) -> Batch:
    beside = tuple(
        random_batch(
            12,
            tuple(range(12)) if source == "forget" else (),
            seed=5 + number,
            views=family.views,
            image_size=8,
        )
        for number, source in enumerate(phase.beside)
    )
    return replace(random_batch(12, forget, views=family.views, image_size=8), beside=beside)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_method_on_family(method: str, family: str) -> None:
    for phase, criterion, model in phases_on(method, family):
        forget = {"retain": (), "forget": tuple(range(12)), "all": (1, 5, 6)}[phase.trains_on]
        loss = phase.loss(batch_for(phase, criterion, forget))
        assert loss.shape == ()
        assert torch.isfinite(loss)
        loss.backward()
        optimised = model if phase.module is None else phase.module
        gradients = [weight.grad for weight in optimised.parameters() if weight.grad is not None]
        assert gradients
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0
        if phase.after_update is not None:
            phase.after_update()


@pytest.mark.parametrize("forget", [(), (0,), tuple(range(12))], ids=["none", "one", "all"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_mixed_batches_may_lack_either_set(
    method: str, family: str, forget: tuple[int, ...]
) -> None:
    for phase, criterion, model in phases_on(method, family):
        if phase.trains_on != "all":
            continue
        loss = phase.loss(batch_for(phase, criterion, forget))
        loss.backward()
        optimised = model if phase.module is None else phase.module
        trained = [weight for weight in optimised.parameters() if weight.grad is not None]
        assert torch.isfinite(loss)
        assert trained
        assert all(torch.isfinite(weight.grad).all() for weight in trained)


@pytest.mark.parametrize("name", FAMILIES)
def test_family_criterion_is_the_mean_over_anchors(name: str) -> None:
    family, model = family_and_model(name)
    batch = random_batch(8, (1, 2), views=family.views, image_size=8)
    model.eval()
    with torch.no_grad():
        anchors = family.anchor_losses(model, batch)
        criterion = family.criterion(model, batch)
    assert anchors.loss.shape == anchors.is_forget.shape
    assert anchors.is_forget.dtype == torch.bool
    assert anchors.is_forget.float().mean() == 0.25
    torch.testing.assert_close(anchors.loss.mean(), criterion)


@pytest.mark.parametrize("name", FAMILIES)
def test_family_state_dict_round_trips(name: str) -> None:
    """Two models with one state dict stay one through a training iteration."""
    family, model = family_and_model(name)
    family.criterion(model, random_batch(8, views=family.views, image_size=8))
    torch.manual_seed(1)
    other = family.build(TwoLayerBackbone(), 10)
    other.load_state_dict(model.state_dict())
    losses = [
        family.criterion(m, random_batch(8, seed=4, views=family.views, image_size=8))
        for m in (model, other)
    ]
    assert torch.equal(losses[0], losses[1])
    assert list(model.state_dict()) == list(other.state_dict())
    for name_, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name_]), name_


@pytest.mark.parametrize("name", FAMILIES)
def test_family_keeps_the_backbone_and_its_weights(name: str) -> None:
    family = find(Family, name)()
    backbone = TwoLayerBackbone()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    model = family.build(backbone, 10)
    after = model.backbone.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    images = torch.randn(4, 3, 8, 8)
    assert model.backbone(images).shape == (4, backbone.feature_size)


@pytest.mark.parametrize("name", [f for f in FAMILIES if find(Family, f).contrastive])
def test_contrastive_pieces_fit_together(name: str) -> None:
    family, model = family_and_model(name)
    assert isinstance(family, ContrastiveFamily)
    batch = random_batch(8, (1, 2), views=family.views, image_size=8)
    pieces = family.info_nce(model, batch)
    anchors, candidates = pieces.similarities.shape
    assert pieces.same_image.shape == (anchors, candidates)
    assert pieces.is_forget.shape == pieces.positive.shape == (anchors,)
    assert pieces.log_sum_exp.shape == (anchors,)
    assert pieces.candidate_is_forget.shape == (candidates,)
    assert pieces.same_image.any(dim=1).all()
    # The positive is part of the sum, so no anchor's loss is negative.
    assert (pieces.losses.loss > 0).all()
    assert pieces.similarities.abs().max() <= 1.0001 / pieces.temperature


@pytest.mark.parametrize("name", MODELS)
def test_model_gives_features(name: str) -> None:
    part = find(Model, name)
    torch.manual_seed(0)
    backbone = part().build(32)
    with torch.no_grad():
        features = backbone(torch.randn(2, 3, 32, 32))
    assert features.shape == (2, backbone.feature_size)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("name", MODELS)
def test_model_is_determined_by_the_global_generator(name: str) -> None:
    def build() -> dict[str, torch.Tensor]:
        torch.manual_seed(7)
        return find(Model, name)().build(32).state_dict()

    first, again = build(), build()
    assert all(torch.equal(first[key], again[key]) for key in first)
