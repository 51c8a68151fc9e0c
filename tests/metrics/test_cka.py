"""Linear CKA against HSIC of whole kernel matrices, and what leaves it unchanged."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.metrics.evidence import SIZES, GivenEvidence, random_evidence
from unlearn_ray.core.errors import DataError
from unlearn_ray.metrics.cka import CKA, linear_cka

DRAWN = torch.Generator()


def rows(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=DRAWN.manual_seed(seed), dtype=torch.float64) + 3.0


def hsic(k: list[list[float]], other: list[list[float]]) -> float:
    """tr(K H L H) with H = I - 1/n, one entry after the other."""
    n = len(k)

    def centred(matrix: list[list[float]]) -> list[list[float]]:
        means = [sum(row) / n for row in matrix]
        mean = sum(means) / n
        return [[matrix[i][j] - means[i] - means[j] + mean for j in range(n)] for i in range(n)]

    first, second = centred(k), centred(other)
    return sum(first[i][j] * second[j][i] for i in range(n) for j in range(n))


def naive(x: Tensor, y: Tensor) -> float:
    def kernel(features: list[list[float]]) -> list[list[float]]:
        return [[sum(a * b for a, b in zip(r, s, strict=True)) for s in features] for r in features]

    k, other = kernel(x.tolist()), kernel(y.tolist())
    return float(hsic(k, other) / (hsic(k, k) * hsic(other, other)) ** 0.5)


@pytest.mark.parametrize(("n", "d", "e"), [(9, 3, 5), (5, 7, 8), (20, 4, 4)])
def test_it_is_normalised_hsic(n: int, d: int, e: int) -> None:
    x = rows(n, d, 1)
    y = torch.cat([x[:, :2], rows(n, e - 2, 2)], dim=1)
    assert float(linear_cka(x, y)) == pytest.approx(naive(x, y), rel=1e-9)


def test_rotation_scale_and_shift_change_nothing() -> None:
    x, y = rows(30, 4, 1), rows(30, 6, 2)
    rotation, _ = torch.linalg.qr(rows(4, 4, 3))
    expected = float(linear_cka(x, y))
    assert 0 < expected < 1
    for changed in (x @ rotation, 1e-9 * x, 1e6 * x, x + rows(1, 4, 4)):
        assert float(linear_cka(changed, y)) == pytest.approx(expected, rel=1e-6)
        assert float(linear_cka(y, changed)) == pytest.approx(expected, rel=1e-6)
    assert float(linear_cka(x, x @ rotation)) == pytest.approx(1.0)
    # Any other linear map does change it.
    assert float(linear_cka(x, x * torch.tensor([9.0, 1, 1, 1]))) < 0.9


def test_constant_features_are_like_no_others() -> None:
    x, constant = rows(30, 4, 1), torch.full((30, 3), 0.1, dtype=torch.float64)
    assert float(linear_cka(x, constant)) == float(linear_cka(constant, x)) == 0.0
    assert float(linear_cka(constant, constant)) == 0.0
    assert float(linear_cka(x[:1], x[:1])) == 0.0


def models() -> tuple[GivenEvidence, GivenEvidence, GivenEvidence]:
    original, retrained = random_evidence(seed=2), random_evidence(seed=3)
    return (
        replace(random_evidence(seed=1), before=original, reference=retrained),
        original,
        retrained,
    )


def test_columns_are_means_over_blocks_of_differences() -> None:
    unlearned, original, retrained = models()
    measured = CKA(samples=17).measure(unlearned)
    for part in SIZES:
        expected, to_original = [], []
        for block in ("first", "second"):
            u, o, r = (
                each.block_features(part, 17)[block] for each in (unlearned, original, retrained)
            )
            expected.append(naive(u.double(), r.double()) - naive(o.double(), r.double()))
            to_original.append(naive(u.double(), o.double()))
        assert measured.values[f"cka_{part}"] == pytest.approx(sum(expected) / 2, abs=1e-9)
        assert measured.arrays[f"{part}_original"].tolist() == pytest.approx(to_original)
        apart = measured.arrays[f"{part}_retrained"] - measured.arrays[f"{part}_reference"]
        assert apart.tolist() == pytest.approx(expected)


def test_the_original_is_at_0_and_the_retrained_model_above() -> None:
    _, original, retrained = models()
    untouched = replace(original, before=original, reference=retrained)
    assert set(CKA().measure(untouched).values.values()) == {0.0}
    reference = CKA().measure(replace(retrained, before=original))
    assert all(value > 0.3 for value in reference.values.values())
    for part in SIZES:
        assert reference.arrays[f"{part}_retrained"].tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("part", SIZES)
def test_an_empty_set_is_refused(part: str) -> None:
    with pytest.raises(DataError, match=f"{part} set of 0 samples"):
        CKA().measure(random_evidence({**SIZES, part: 0}))
