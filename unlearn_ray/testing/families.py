"""Checks of every family, with a two-layer backbone and random batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from unlearn_ray.families.base import ContrastiveFamily, Family
from unlearn_ray.testing.check import Check
from unlearn_ray.testing.toy import TwoLayerBackbone, random_batch, tiny


def family_checks(family: type[Family]) -> Iterator[Check]:
    """The checks of a family."""
    for check in (
        criterion_is_the_mean_over_anchors,
        state_dict_round_trips,
        keeps_the_backbone_and_its_weights,
    ):
        yield Check(check, family)
    if family.contrastive:
        yield Check(contrastive_pieces_fit_together, family)


def family_and_model(part: type[Family]) -> tuple[Family, nn.Module]:
    """A tiny family, and a deterministic model of ten classes."""
    torch.manual_seed(0)
    family = tiny(part)
    return family, family.build(TwoLayerBackbone(), 10)


def criterion_is_the_mean_over_anchors(part: type[Family]) -> None:
    """Each anchor has one loss, and a flag whether it belongs to a forget image."""
    family, model = family_and_model(part)
    batch = random_batch(8, (1, 2), views=family.views, image_size=8)
    model.eval()
    with torch.no_grad():
        anchors = family.anchor_losses(model, batch)
        criterion = family.criterion(model, batch)
    assert anchors.loss.shape == anchors.is_forget.shape
    assert anchors.is_forget.dtype == torch.bool
    assert anchors.is_forget.float().mean() == 0.25
    torch.testing.assert_close(anchors.loss.mean(), criterion)


def state_dict_round_trips(part: type[Family]) -> None:
    """Two models with the same state dict stay equal through a training iteration."""
    family, model = family_and_model(part)
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
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def keeps_the_backbone_and_its_weights(part: type[Family]) -> None:
    """A model is built around the backbone, whose weights do not change."""
    backbone = TwoLayerBackbone()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    model = tiny(part).build(backbone, 10)
    assert isinstance(model.backbone, nn.Module)
    after = model.backbone.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    images = torch.randn(4, 3, 8, 8)
    assert model.backbone(images).shape == (4, backbone.feature_size)


def contrastive_pieces_fit_together(part: type[Family]) -> None:
    """The pieces of InfoNCE have the shapes and bounds that methods rely on."""
    family, model = family_and_model(part)
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
