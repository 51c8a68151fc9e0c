"""Which images a batch holds."""

from __future__ import annotations

import pytest
import torch

from tests.methods.problem import FAMILY, RANDOM, data, task_of
from unlearn_ray.data import augmentation
from unlearn_ray.data.augmentation import normalise
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.train import batches as batches_module
from unlearn_ray.train.batches import Batches
from unlearn_ray.train.loop import Iteration, seeded


def test_ids_name_the_images_of_the_dataset() -> None:
    retain = RANDOM.retain
    batches = Batches(FAMILY, data(), retain, retain < 0)
    rows = torch.tensor([7, 0, 119, 30])
    batch = batches.at(Iteration(0, 0, rows, seeded("any"), progress=0.75))
    assert batch.progress == 0.75
    assert batch.ids.tolist() == retain[rows.numpy()].tolist()
    shown = normalise(
        data().train_images[batch.ids], FAMILY.augmentation.mean, FAMILY.augmentation.std
    )
    torch.testing.assert_close(batch.view(0), shown)
    assert torch.equal(batch.labels, data().train_labels[batch.ids])


def test_one_kernel_renders_the_same_views(monkeypatch: pytest.MonkeyPatch) -> None:
    # Triton's interpreter stands in for the GPU's compiler.
    batches = Batches(SimCLR(), data(), RANDOM.retain, RANDOM.retain < 0, added=2)
    rows = torch.tensor([7, 0, 120, 119, 30, 121])
    batch = batches.at(Iteration(0, 0, rows, seeded("any")))
    for module in (augmentation, batches_module):
        monkeypatch.setattr(module, "can_fuse", lambda images: True)
    fused = batches.at(Iteration(0, 0, rows, seeded("any")))
    assert fused.added is not None
    assert fused.added.tolist() == [0, 1]
    for chosen in (slice(None), slice(1, 3), torch.tensor([3, 1])):
        for view, other in zip(fused.views, batch.views, strict=True):
            torch.testing.assert_close(view[chosen], other[chosen], rtol=0, atol=1e-5)
    assert torch.equal(fused.generator.get_state(), batch.generator.get_state())


def test_samples_have_the_ids_of_their_part() -> None:
    samples = task_of(RANDOM).samples
    for part in ("retain", "forget", "validation"):
        assert samples.ids(part).tolist() == getattr(RANDOM, part).tolist()
        assert torch.equal(samples.labels(part), data().train_labels[samples.ids(part)])
