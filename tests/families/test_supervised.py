"""Cross-entropy against loops, and the two forms of the model."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unlearn_ray.families.supervised import Supervised, SupervisedModel
from unlearn_ray.testing.toy import TwoLayerBackbone, random_batch


def model_of(family: Supervised) -> SupervisedModel:
    torch.manual_seed(0)
    model = family.build(TwoLayerBackbone(), 10).double()
    assert isinstance(model, SupervisedModel)
    return model


def logits_of(model: SupervisedModel, features: Tensor) -> list[float]:
    """Head, unit length, ReLU and classifier of one image, in loops."""
    values = features.tolist()
    if model.embedding is not None:
        for layer in model.embedding:
            if isinstance(layer, torch.nn.Linear):
                values = linear(layer, values)
            else:
                values = [max(0.0, value) for value in values]
        length = math.sqrt(math.fsum(value**2 for value in values))
        values = [max(0.0, value / length) for value in values]
    return linear(model.classifier, values)


def linear(layer: torch.nn.Linear, values: list[float]) -> list[float]:
    rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [bias + math.fsum(w * v for w, v in zip(row, values, strict=True)) for row, bias in rows]


@pytest.mark.parametrize("embedding_size", [None, 7])
def test_cross_entropy(embedding_size: int | None) -> None:
    family = Supervised(embedding_size=embedding_size)
    batch = random_batch(6, (1, 4), views=1, dtype=torch.float64)
    losses = family.anchor_losses(model_of(family), batch)
    model = model_of(family)
    expected = []
    for features, label in zip(model.backbone(batch.view(0)), batch.labels.tolist(), strict=True):
        logits = logits_of(model, features)
        log_sum = math.log(math.fsum(math.exp(logit) for logit in logits))
        expected.append(log_sum - logits[label])
    assert losses.loss.tolist() == pytest.approx(expected)
    assert losses.is_forget.tolist() == batch.is_forget.tolist()


def test_a_head_gives_unit_rows_to_the_classifier() -> None:
    family = Supervised(embedding_size=7)
    model = model_of(family)
    images = torch.randn(5, 3, 6, 6, dtype=torch.float64)
    represented = family.represent(model, images)
    assert represented.shape == (5, 7)
    torch.testing.assert_close(represented.norm(dim=1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(family.classify(model, represented), model(images))
    assert family.classifier(model).in_features == 7


def test_without_a_head_the_classifier_sees_the_features() -> None:
    family = Supervised()
    model = model_of(family)
    images = torch.randn(5, 3, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(family.represent(model, images), model.backbone(images))
    assert family.classifier(model).in_features == model.backbone.feature_size
