"""What the suite asks of sparse models would be noticed: without masking, pruned weights move."""

from __future__ import annotations

import pytest

from unlearn_ray.core.registry import find
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.base import Method
from unlearn_ray.testing.sparsity import keeps_zeros
from unlearn_ray.testing.toy import tiny
from unlearn_ray.train import unlearning


@pytest.mark.parametrize(
    ("name", "part"), [("finetune", "keeper"), ("salun", "keeper"), ("fisher", "apply_masks")]
)
def test_without_masking_they_would_not(
    name: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlearning, part, lambda _: None)
    assert not keeps_zeros(tiny(find(Method, name)), Supervised(), "class")
