"""What is compiled, and how often; by a backend that counts instead of generating code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.testing.toy import TwoLayerBackbone
from unlearn_ray.train.compiled import compile_children


class Counter:
    """The inputs of every graph that is compiled."""

    def __init__(self) -> None:
        self.inputs: list[list[Any]] = []

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        self.inputs.append(inputs)
        return graph.forward


@pytest.fixture
def counter() -> Iterator[Counter]:
    torch.compiler.reset()
    yield Counter()
    torch.compiler.reset()


class Wide(nn.Module):
    """An encoder whose shapes depend on its width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, rows: Tensor) -> Tensor:
        return torch.relu(self.layer(rows))


def called(counter: Counter, width: int, rows: int = 4) -> int:
    """Graphs compiled by one call of a new network."""
    before = len(counter.inputs)
    model = nn.Module()
    model.encoder = Wide(width)
    compile_children(model, counter)
    inputs = torch.randn(rows, 3)
    assert torch.equal(model.encoder(inputs), torch.relu(model.encoder.layer(inputs)))
    return len(counter.inputs) - before


def test_equal_networks_are_compiled_once(counter: Counter) -> None:
    assert [called(counter, width=2) for _ in range(3)] == [1, 0, 0]


def test_many_kinds_of_networks_are_all_compiled(counter: Counter) -> None:
    """PyTorch's own limit of 8 would leave the others to run eagerly."""
    assert [called(counter, width) for width in range(1, 13)] == [1] * 12
    assert called(counter, width=5) == 0


def test_every_batch_size_is_compiled_for_itself(counter: Counter) -> None:
    assert [called(counter, 2, rows) for rows in (4, 5, 6, 5)] == [1, 1, 1, 0]
    assert all(isinstance(each, Tensor) for inputs in counter.inputs for each in inputs)


def test_backbone_and_head_are_compiled(counter: Counter) -> None:
    torch.manual_seed(0)
    model = SimCLR().build(TwoLayerBackbone(), 10)
    compile_children(model, counter)
    model(torch.randn(4, 3, 6, 6))
    assert len(counter.inputs) == 2
