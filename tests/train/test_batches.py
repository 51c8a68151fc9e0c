"""Which images a batch holds."""

from __future__ import annotations

import torch

from tests.methods.problem import FAMILY, RANDOM, data, task_of
from unlearn_ray.data.augmentation import normalise
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


def test_samples_have_the_ids_of_their_part() -> None:
    samples = task_of(RANDOM).samples
    for part in ("retain", "forget", "validation"):
        assert samples.ids(part).tolist() == getattr(RANDOM, part).tolist()
        assert torch.equal(samples.labels(part), data().train_labels[samples.ids(part)])
