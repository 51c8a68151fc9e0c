"""Captions as tokens: which are drawn, when, and that nothing else changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.restarts import stop_at_iteration
from tests.words import CONTEXT, Words
from tests.workers import in_workers, noted
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import rank
from unlearn_ray.core.errors import DataError, StopRequested
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.schema import schema
from unlearn_ray.data.augmentation import contrastive_views
from unlearn_ray.data.base import Captions, ImageData, Split
from unlearn_ray.families.base import AnchorLosses
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.methods.neggrad import NegGrad
from unlearn_ray.steps.runtime import StoredCheckpoints
from unlearn_ray.storage.store import open_store
from unlearn_ray.testing.toy import TwoLayerBackbone
from unlearn_ray.train.batches import Batches, CompanionBatches
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Iteration, seeded
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.texts import Texts
from unlearn_ray.train.training import train_from_scratch
from unlearn_ray.train.unlearning import unlearn

CPU, COMPUTE = torch.device("cpu"), Compute.cpu()
COUNT, BATCH = 44, 8
# One to five captions of each image, some of them shared.
CAPTIONS: Captions = tuple(
    tuple(f"picture {image} seen {look}" for look in range(image % 4 + 1))
    + (("one of many",) if image % 3 == 0 else ())
    for image in range(COUNT)
)
SPLIT = Split(validation=np.arange(0), forget=np.arange(12), retain=np.arange(12, COUNT))


def resident(family: Words | SimCLR) -> ResidentData:
    noise = np.random.RandomState(0)
    pixels = noise.randint(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
    labels = np.zeros(COUNT, dtype=np.int64)
    data = ImageData(pixels, labels, pixels[:3], labels[:3], CAPTIONS, CAPTIONS[:3])
    return ResidentData.load(data, 0, family, COMPUTE.device)


def read(family: Words) -> dict[tuple[int, ...], str]:
    """Captions by their tokens."""
    distinct = sorted(set(chain(*CAPTIONS)))
    rows = family.tokenise(distinct).tolist()
    found = {tuple(row): caption for row, caption in zip(rows, distinct, strict=True)}
    assert len(found) == len(distinct)
    return found


def test_every_caption_is_tokenised_once() -> None:
    asked: list[str] = []

    @schema
    class Counting(Words):
        def tokenise(self, captions: Sequence[str]) -> Tensor:
            asked.extend(captions)
            return super().tokenise(captions)

    texts = Texts.load(CAPTIONS, Counting(), CPU)
    assert Counter(asked) == Counter(set(chain(*CAPTIONS)))
    assert texts.tokens.dtype == torch.int32
    words = read(Words())
    for image, captions in enumerate(CAPTIONS):
        rows = texts.rows[texts.begins[image] : texts.begins[image + 1]]
        assert tuple(words[tuple(texts.tokens[row].tolist())] for row in rows) == captions


def test_one_of_an_images_captions_is_drawn_all_alike() -> None:
    texts, words = Texts.load(CAPTIONS, Words(), CPU), read(Words())
    ids = torch.tensor([3, 0, 7, 43, 3])
    uniform = torch.rand(2000, 5, generator=seeded("draw"), dtype=torch.float64)
    drawn = [texts.drawn(ids, each) for each in uniform]
    assert drawn[0].shape == (5, CONTEXT)
    assert drawn[0].dtype == torch.int64
    for place, image in enumerate(ids.tolist()):
        counts = Counter(words[tuple(rows[place].tolist())] for rows in drawn)
        assert set(counts) == set(CAPTIONS[image])
        expected = 2000 / len(CAPTIONS[image])
        assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_a_caption_that_the_family_refuses() -> None:
    with pytest.raises(DataError, match="caption '': has 0 words"):
        Texts.load((("fine",), ("",)), Words(), CPU)
    with pytest.raises(DataError, match="has 13 words; write 1 to 12"):
        Texts.load((("word " * 13,),), Words(), CPU)


def test_views_are_the_same_whether_captions_are_read_or_not() -> None:
    reading = Words(augmentation=contrastive_views())
    rows = torch.randperm(COUNT, generator=seeded("rows"))[:BATCH]
    found = []
    for data in (resident(reading), replace(resident(reading), train_texts=None)):
        batches = Batches(reading, data, np.arange(COUNT), np.zeros(COUNT, dtype=bool))
        found.append(batches.at(Iteration(0, 0, rows, seeded("views"))))
    assert torch.equal(found[0].view(0), found[1].view(0))
    assert found[0].texts is not None
    assert found[1].texts is None


def test_a_family_that_reads_none_has_none() -> None:
    data = resident(SimCLR())
    assert (data.train_texts, data.test_texts) == (None, None)
    batches = Batches(SimCLR(), data, np.arange(COUNT), np.zeros(COUNT, dtype=bool))
    generator = seeded("views")
    assert batches.at(Iteration(0, 0, torch.arange(BATCH), generator)).texts is None
    # Nothing was drawn but both views.
    again = seeded("views")
    for _ in range(2):
        SimCLR().augmentation.sample(BATCH, 8, again)
    assert torch.equal(generator.get_state(), again.get_state())


def test_companion_batches_and_joined_ones_have_their_own() -> None:
    family, words = Words(), read(Words())
    data = resident(family)
    forget, retain = (
        Batches(family, data, ids, np.zeros(len(ids), dtype=bool))
        for ids in (SPLIT.forget, SPLIT.retain)
    )
    iteration = Iteration(0, 0, torch.tensor([5, 1, 0]), seeded("joined"))
    batch = forget.at(iteration)
    batch = replace(batch, companions=(CompanionBatches(retain, 4, 1, 0).of(iteration),))
    joined = batch.joined
    assert joined.texts is not None
    assert joined.texts.shape == (7, CONTEXT)
    for image, row in zip(joined.ids.tolist(), joined.texts.tolist(), strict=True):
        assert words[tuple(row)] in CAPTIONS[image]


# What training sees.


@schema
class Recording(Words):
    """Notes what every batch had."""

    seen: ClassVar[list[tuple[list[int], list[list[int]]]]] = []

    def anchor_losses(self, model: nn.Module, batch: Batch) -> AnchorLosses:
        assert batch.texts is not None
        self.seen.append((batch.ids.tolist(), batch.texts.tolist()))
        return super().anchor_losses(model, batch)


class Precise(TwoLayerBackbone):
    """In float64; views are float32."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.double())


def new_model(seed: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Words().build(Precise(), 0).double()


Seen = list[tuple[list[int], list[list[int]]]]


def pretrained(seed: int, **options: object) -> tuple[Seen, nn.Module]:
    Recording.seen.clear()
    model = new_model()
    train_from_scratch(
        model, Recording(), Recipe(epochs=3, batch_size=BATCH), resident(Recording()),
        np.arange(40), seed=seed, compute=COMPUTE, **options,
    )  # fmt: skip
    return list(Recording.seen), model


def test_one_caption_an_image_and_epoch_by_the_seed() -> None:
    seen, _ = pretrained(seed=1)
    words = read(Words())
    epochs: list[dict[int, str]] = [{}, {}, {}]
    for number, (ids, texts) in enumerate(seen):
        captions = [words[tuple(row)] for row in texts]
        epochs[number // 5] |= dict(zip(ids, captions, strict=True))
    for epoch in epochs:
        assert sorted(epoch) == list(range(40))
        assert all(caption in CAPTIONS[image] for image, caption in epoch.items())
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert pretrained(seed=1)[0] == seen
    assert pretrained(seed=2)[0] != seen


def test_the_same_captions_after_a_restart(tmp_path: Path) -> None:
    whole, expected = pretrained(seed=1)
    checkpoints = StoredCheckpoints(open_store(str(tmp_path)), "key", 600.0, at_end=False)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("unlearn_ray.train.loop.PROGRESS_SECONDS", 0.0)
        with pytest.raises(StopRequested):
            pretrained(seed=1, checkpoints=checkpoints, on_progress=stop_at_iteration(7))
        before = list(Recording.seen)
        after, model = pretrained(seed=1, checkpoints=checkpoints)
    assert 0 < len(after) < len(whole)
    assert before + after == whole
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def run() -> dict[str, Tensor]:
    """The weights after pretraining, and after unlearning."""
    _, model = pretrained(seed=1)
    found = {f"original/{name}": value.clone() for name, value in model.state_dict().items()}
    unlearn(
        model, Words(), NegGrad(epochs=2, batch_size=BATCH), resident(Words()), SPLIT, seed=2,
        compute=COMPUTE, make_model=new_model,
    )  # fmt: skip
    return found | {f"unlearned/{name}": value for name, value in model.state_dict().items()}


def check(expected: dict[str, Tensor], captions: Seen) -> None:
    found = run()
    assert Recording.seen == captions
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9, msg=name)


def work(folder: Path) -> None:
    expected, captions = torch.load(folder / "expected.pt")
    noted({"two workers": partial(check, expected, captions)}, folder / f"rank {rank()}")


def test_two_workers_see_the_captions_of_one(tmp_path: Path) -> None:
    expected = run()
    torch.save((expected, list(Recording.seen)), tmp_path / "expected.pt")
    in_workers(2, partial(work, tmp_path))
    for worker in range(2):
        assert (tmp_path / f"rank {worker}" / "two workers").read_text() == ""
