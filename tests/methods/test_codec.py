"""CODEC and FOCI against loops, and on outcomes whose causes are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.methods.exact import small_model, small_task
from unlearn_ray.methods.codec import Rows, dependences, distances, foci, observed
from unlearn_ray.methods.shared import flattened


def uniform(count: int, features: int, seed: int = 0) -> Tensor:
    noise = torch.Generator().manual_seed(seed)
    return torch.rand(count, features, generator=noise, dtype=torch.float64)


def nearest(points: list[list[float]], index: int) -> int:
    others = [other for other in range(len(points)) if other != index]
    return min(others, key=lambda other: math.dist(points[index], points[other]))


def naive(outcome: list[float], feature: list[float], given: list[list[float]]) -> float:
    count = len(outcome)
    rank = [sum(other <= value for other in outcome) for value in outcome]
    above = [sum(other >= value for other in outcome) for value in outcome]
    joint = [[*rest, value] for rest, value in zip(given, feature, strict=True)]
    top = bottom = 0
    for i in range(count):
        with_feature = min(rank[i], rank[nearest(joint, i)])
        if given[0]:
            without = min(rank[i], rank[nearest(given, i)])
            top += with_feature - without
            bottom += rank[i] - without
        else:
            top += count * with_feature - above[i] ** 2
            bottom += above[i] * (count - above[i])
    return top / bottom


@pytest.mark.parametrize("given", [0, 1, 3])
def test_dependences(given: int) -> None:
    points = uniform(30, 6)
    outcome = (3 * points[:, 0] + points[:, 1] ** 2 + 0.1 * points[:, 5]) % 1
    apart = sum(distances(points[:, index]) for index in range(given)) if given else None
    found = dependences(outcome, points[:, given:], apart)
    for index in range(given, 6):
        expected = naive(outcome.tolist(), points[:, index].tolist(), points[:, :given].tolist())
        assert float(found[index - given]) == pytest.approx(expected)


def test_independence_is_0_and_a_function_is_1() -> None:
    points = uniform(1000, 3)
    outcome = (points[:, 0] + points[:, 1]) % 1
    alone = dependences(outcome, points)
    assert alone.abs().max() < 0.1
    together = dependences(outcome, points, distances(points[:, 0]))
    assert together[1] > 0.8
    assert abs(together[2]) < 0.15
    assert dependences(points[:, 0].exp(), points)[0] > 0.95


def naive_foci(outcome: Tensor, features: Tensor, limit: int) -> list[int]:
    chosen: list[int] = []
    while len(chosen) < limit:
        scores = {
            index: naive(
                outcome.tolist(), features[:, index].tolist(), features[:, chosen].tolist()
            )
            for index in range(features.shape[1])
            if index not in chosen
        }
        best = max(scores, key=lambda index: scores[index])
        if chosen and scores[best] <= 0:
            break
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_foci(limit: int) -> None:
    points = uniform(40, 5, seed=3)
    outcome = points[:, 4] * 2 + points[:, 1]
    assert foci(outcome, points, limit) == naive_foci(outcome, points, limit)


def test_foci_finds_the_causes() -> None:
    points = uniform(500, 20)
    outcome = 2 * points[:, 13] + points[:, 4]
    chosen = foci(outcome, points, 10)
    assert chosen[:2] == [13, 4]
    assert len(foci(outcome, points[:, [13]], 10)) == 1


def test_observed() -> None:
    model, task = small_model(), small_task()
    images, labels = (each[:3] for each in task.samples.parts["forget"])
    copies = [images + step for step in (0.0, 0.1)]
    # A layer that is not called has no activations.
    model.add_module("spare", nn.Linear(2, 2))
    layers, activations, losses = observed(model, iter(copies), labels)
    assert layers == [model.backbone.conv, model.backbone.linear, model.classifier]
    assert activations.shape == (2, 3 + 4 + 4)
    for number, copied in enumerate(copies):
        hidden = model.backbone.conv(copied)
        for row in range(3):
            values = hidden[:, row].flatten().tolist()
            assert float(activations[number, row]) == pytest.approx(math.fsum(values) / len(values))
        features = model.backbone(copied)
        expected = torch.cat([features.mean(dim=0), model.classifier(features).mean(dim=0)])
        torch.testing.assert_close(activations[number, 3:], expected)
        loss = -math.fsum(
            logits.log_softmax(dim=0)[label].item()
            for logits, label in zip(model(copied), labels, strict=True)
        )
        assert float(losses[number]) == pytest.approx(loss / 3)
    assert not model.classifier._forward_hooks


def test_tokens_are_averaged() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(5, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.linear(images).mean(dim=(1, 2))

    model, images = Tokens(), torch.randn(3, 3, 4, 5)
    _, activations, _ = observed(model, [images], torch.tensor([0, 1, 1]))
    torch.testing.assert_close(activations[0], model.linear(images).reshape(-1, 2).mean(dim=0))


def test_rows() -> None:
    model = small_model()
    conv, linear = model.backbone.conv, model.classifier
    conv.to(memory_format=torch.channels_last)
    rows = Rows([conv, linear], [5, 1, 4])
    expected = [conv.weight[1].flatten(), linear.weight[[1, 2]].flatten(), linear.bias[[1, 2]]]
    by_name = {id(parameter): parameter for parameter in rows.parameters}
    assert set(by_name) == {id(conv.weight), id(linear.weight), id(linear.bias)}
    order = [conv.weight, linear.weight, linear.bias]
    pieces = {id(one): piece for one, piece in zip(order, expected, strict=True)}
    wanted = torch.cat([pieces[id(parameter)] for parameter in rows.parameters]).detach()
    assert torch.equal(rows.values(), wanted)
    assert torch.equal(rows.of(flattened(rows.parameters)), wanted)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    rows.put(wanted + 1)
    changed = {name: weight.detach() - before[name] for name, weight in model.named_parameters()}
    assert float(sum(change.abs().sum() for change in changed.values())) == pytest.approx(
        len(wanted)
    )
    torch.testing.assert_close(changed["backbone.conv.weight"][1], torch.ones(3, 3, 3).double())
    rows.put(wanted)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
