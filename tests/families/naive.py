"""Heads of families without negatives, computed number by number."""

from __future__ import annotations

import math

from torch import Tensor, nn

Rows = list[list[float]]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(row: list[float]) -> list[float]:
    return [x / math.sqrt(dot(row, row)) for x in row]


def cosine(a: list[float], b: list[float]) -> float:
    return dot(unit(a), unit(b))


def linear(layer: nn.Linear, rows: Rows) -> Rows:
    bias = [0.0] * layer.out_features if layer.bias is None else layer.bias.tolist()
    return [
        [dot(weights, row) + b for weights, b in zip(layer.weight.tolist(), bias, strict=True)]
        for row in rows
    ]


def standardised(rows: Rows, layer: nn.BatchNorm1d) -> Rows:
    """By the statistics of the batch, with the layer's scale and shift."""
    columns = []
    for column, w, b in zip(
        zip(*rows, strict=True), layer.weight.tolist(), layer.bias.tolist(), strict=True
    ):
        mean = sum(column) / len(column)
        variance = sum((x - mean) ** 2 for x in column) / len(column)
        columns.append([w * (x - mean) / math.sqrt(variance + layer.eps) + b for x in column])
    return [list(row) for row in zip(*columns, strict=True)]


def head(layers: nn.Sequential, features: Tensor) -> Rows:
    rows = features.tolist()
    for layer in layers:
        if isinstance(layer, nn.Linear):
            rows = linear(layer, rows)
        elif isinstance(layer, nn.BatchNorm1d):
            rows = standardised(rows, layer)
        else:
            assert isinstance(layer, nn.ReLU)
            rows = [[max(0.0, x) for x in row] for row in rows]
    return rows
