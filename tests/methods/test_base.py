"""A method's recipe, and what of it is one epoch's."""

from __future__ import annotations

from dataclasses import fields

import pytest

from unlearn_ray.core.recipe import Recipe
from unlearn_ray.methods.random_label import RandomLabel

# None of them is a default.
UNUSUAL = {
    "optimizer": "lars", "epochs": 7, "batch_size": 3, "learning_rate": 0.5, "momentum": 0.25,
    "weight_decay": 0.125, "schedule": "cosine", "warmup_epochs": 2, "trust": 0.02,
    "clip_trust": True, "last_batch": "drop",
}  # fmt: skip
OF_ALL_EPOCHS = {"epochs", "learning_rate", "schedule", "warmup_epochs"}


@pytest.mark.parametrize("epoch", range(7))
def test_an_epoch_by_itself_is_run_as_within_the_whole(epoch: int) -> None:
    assert UNUSUAL.keys() == {field.name for field in fields(Recipe)}
    method = RandomLabel(**UNUSUAL)
    alone = method.recipe.alone(epoch)
    for name in UNUSUAL.keys() - OF_ALL_EPOCHS:
        assert getattr(alone, name) == UNUSUAL[name]
    assert alone.epochs == 1
    assert alone.learning_rate_at(0) == method.recipe.learning_rate_at(epoch)
