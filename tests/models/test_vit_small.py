"""The transformer's size, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from unlearn_ray.core.errors import ConfigError
from unlearn_ray.models.vit_small import ViTSmall


def test_is_as_large_as_deit_small() -> None:
    backbone = ViTSmall().build(32)
    assert backbone.feature_size == 384
    count = sum(weight.numel() for weight in backbone.parameters())
    # DeiT-S has 22.05 million with a classifier for 1,000 classes (385,000) and 16-pixel patches.
    patches = 384 * 3 * (16**2 - 4**2)
    positions = 384 * ((224 // 16) ** 2 - (32 // 4) ** 2)
    assert count + patches + positions + 385_000 == pytest.approx(22.05e6, rel=0.001)


def test_images_are_seen_in_patches() -> None:
    backbone = ViTSmall(layers=1, width=12, heads=3, patch=2).build(8).eval()
    assert backbone.transformer.seq_length == 16 + 1
    with torch.no_grad():
        assert backbone(torch.randn(2, 3, 8, 8)).shape == (2, 12)


@pytest.mark.parametrize(
    ("model", "size", "reason"),
    [
        (ViTSmall(), 30, "patches do not tile images of 30 pixels"),
        (ViTSmall(heads=5), 32, "does not divide the width 384"),
    ],
)
def test_what_does_not_fit_is_refused(model: ViTSmall, size: int, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        model.check(size)
