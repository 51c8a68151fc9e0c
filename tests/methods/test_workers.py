"""Two workers unlearn what one does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.methods.problem import CLASS, COMPUTE, FAMILY, RANDOM, SEED, data, new_model, original
from tests.workers import found_by_two
from unlearn_ray.methods.adversarial import Adversarial
from unlearn_ray.methods.bad_teacher import BadTeacher
from unlearn_ray.methods.base import Method
from unlearn_ray.methods.boundary_expanding import BoundaryExpanding
from unlearn_ray.methods.boundary_shrink import BoundaryShrink
from unlearn_ray.methods.contrastive_unlearning import ContrastiveUnlearning
from unlearn_ray.methods.fisher import Fisher
from unlearn_ray.methods.gradient_penalty import GradientPenalty
from unlearn_ray.methods.influence import Influence
from unlearn_ray.methods.lcodec import LCODEC
from unlearn_ray.methods.random_label import RandomLabel
from unlearn_ray.methods.salun import SalUn
from unlearn_ray.methods.scrub import SCRUB
from unlearn_ray.methods.ssd import SSD
from unlearn_ray.methods.unsir import Unsir
from unlearn_ray.train.unlearning import unlearn

# Batches of 17 are not shared evenly.
METHODS: dict[str, Method] = {
    "adversarial": Adversarial(epochs=1, batch_size=17, draws=2, pretraining_epochs=1),
    "batch": ContrastiveUnlearning(epochs=3, batch_size=17, learning_rate=0.01),
    "queue": ContrastiveUnlearning(epochs=3, batch_size=17, variant="queue", queue_size=60),
    "scrub": SCRUB(batch_size=17, forget_batch_size=5, learning_rate=0.01, rewind=True),
    "random_label": RandomLabel(epochs=2, batch_size=17, passes="mixed"),
    "salun": SalUn(epochs=2, batch_size=17, redrawn=True),
    "bad_teacher": BadTeacher(epochs=2, batch_size=17, learning_rate=1e-3),
    "boundary_shrink": BoundaryShrink(epochs=2, batch_size=17, learning_rate=0.01),
    "boundary_expanding": BoundaryExpanding(epochs=2, batch_size=17, learning_rate=0.01),
    "gradient_penalty": GradientPenalty(epochs=3, batch_size=17, learning_rate=0.01, gamma=0.1),
    "unsir": Unsir(batch_size=17, noise_size=17, noise_batches=2, noise_steps=3),
    "fisher": Fisher(samples=20),
    "ssd": SSD(alpha=1),
    "influence": Influence(samples=20),
    "lcodec": LCODEC(removals=2, perturbations=20, samples=20),
}


def weights(method: Method, before: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a method leaves, in float64."""
    model = new_model(SEED).double()
    model.load_state_dict(before)
    split = CLASS if isinstance(method, Unsir) else RANDOM
    unlearn(
        model, FAMILY, method, data(), split, seed=SEED, compute=COMPUTE,
        make_model=lambda seed: new_model(seed).double(),
    )  # fmt: skip
    return model.state_dict()


@pytest.mark.slow
def test_two_workers_find_what_one_finds(tmp_path: Path) -> None:
    before = original().state_dict()
    for after in found_by_two(METHODS, weights, before, tmp_path).values():
        # Which weights a method selects may depend on roundings.
        assert any(not torch.equal(after[name], before[name].double()) for name in after)
