"""Pairs and classes as a model that reads captions embeds them: against one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.metrics.evidence import metrics_of, observed
from unlearn_ray.core.errors import DataError, NonFiniteLoss
from unlearn_ray.core.registry import parts
from unlearn_ray.data.augmentation import normalise
from unlearn_ray.data.base import Captions, DatasetInfo, ImageData, Split
from unlearn_ray.families.clip import CLIP, CLIPModel
from unlearn_ray.measure import embeddings, features
from unlearn_ray.measure.inference import Inference
from unlearn_ray.measure.probe import Probe
from unlearn_ray.metrics.base import Metric, Observed, SetName
from unlearn_ray.metrics.pair_alignment_matrices import PairAlignmentMatrices
from unlearn_ray.testing.toy import TwoLayerBackbone
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData

FAMILY = CLIP(embedding_size=6, context_length=9, text_width=8, text_heads=2, text_layers=2)
CPU = Compute(torch.device("cpu"))
TRAIN, TEST = 44, 15
PROMPTS: Captions = (("a cat", "one cat"), ("a dog",), ("a red fox", "fox", "two foxes"))
ORDER = np.random.RandomState(0).permutation(TRAIN)
SPLIT = Split(validation=ORDER[:3], forget=ORDER[3:15], retain=ORDER[15:])
IDS = {"retain": SPLIT.retain, "forget": SPLIT.forget, "test": np.arange(TEST)}


def captions(part: str, count: int) -> Captions:
    """One to four of each image, one of which many share."""
    return tuple(
        tuple(f"{part} {image} {look}" for look in range(image % 4 + 1))
        + (("one of many",) if image % 3 == 0 else ())
        for image in range(count)
    )


def image_data() -> ImageData:
    noise = np.random.RandomState(0)
    train, test = (
        noise.randint(0, 256, (count, 8, 8, 3), dtype=np.uint8) for count in (TRAIN, TEST)
    )
    labels = [noise.randint(0, 3, count) for count in (TRAIN, TEST)]
    of_train, of_test = captions("train", TRAIN), captions("test", TEST)
    return ImageData(train, labels[0], test, labels[1], of_train, of_test)


IMAGES = image_data()


def captions_in(part: SetName) -> Captions:
    """Of the samples of a set, in its order."""
    all_of = IMAGES.test_captions if part == "test" else IMAGES.train_captions
    return tuple(all_of[number] for number in IDS[part])


def model_of(seed: int) -> CLIPModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = FAMILY.build(TwoLayerBackbone(), 3)
        assert isinstance(model, CLIPModel)
        nn.init.normal_(model.backbone.bn.running_mean)
    return model


@dataclass
class Watched:
    """A model, with the size of every batch that reached one of its towers."""

    inference: Inference
    model: CLIPModel
    data: ResidentData
    original: Watched | None = None
    seen: dict[str, list[int]] = field(default_factory=lambda: {"images": [], "texts": []})

    @property
    def observed(self) -> Observed:
        before = None if self.original is None else self.original.inference
        return observed(self.inference, self.data, before)


def watch(
    seed: int = 1,
    *,
    original: Watched | None = None,
    prompts: Captions = PROMPTS,
    change: Callable[[CLIPModel], object] = lambda model: None,
) -> Watched:
    model = model_of(seed)
    change(model)
    data = ResidentData.load(IMAGES, 3, FAMILY, CPU.device, prompts)
    inference = Inference(
        model, data, SPLIT, family=FAMILY, probe=Probe(), seed=0, compute=CPU, make_model=model_of
    )
    watched = Watched(inference, model, data, original)
    for name, tower in (("images", model.backbone), ("texts", model.text)):
        tower.register_forward_pre_hook(
            lambda _, args, seen=watched.seen[name]: seen.append(len(args[0]))
        )
    return watched


@pytest.fixture(params=[4, 512])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size: int = request.param
    for module in (embeddings, features):
        monkeypatch.setattr(module, "BLOCK", size)
    return size


@pytest.mark.parametrize("limit", [1, 5, 1000])
@pytest.mark.parametrize("part", IDS)
def test_pairs_are_those_of_single_images_and_captions(
    part: SetName, limit: int, block: int
) -> None:
    watched = watch()
    pairs = watched.inference.pairs(part, limit)
    model = watched.model.eval()
    ids = IDS[part][:limit]
    assert pairs.images.shape == (len(ids), 6)
    assert pairs.images.dtype == pairs.texts.dtype == torch.float32
    assert max(watched.seen["images"]) <= block
    assert max(watched.seen["texts"]) <= block
    assert pairs.begins.tolist() == [0, *np.cumsum([len(c) for c in captions_in(part)[:limit]])]
    images = IMAGES.test_images if part == "test" else IMAGES.train_images
    mean, std = FAMILY.augmentation.mean, FAMILY.augmentation.std
    with torch.no_grad():
        for place, number in enumerate(ids.tolist()):
            pixels = normalise(torch.tensor(images[number : number + 1]), mean, std)
            alone = FAMILY.embed_images(model, pixels)[0]
            torch.testing.assert_close(pairs.images[place], alone, rtol=1e-5, atol=1e-6)
            own = pairs.captions[pairs.begins[place] : pairs.begins[place + 1]]
            for row, caption in zip(own.tolist(), captions_in(part)[place], strict=True):
                alone = FAMILY.embed_texts(model, FAMILY.tokenise([caption]))[0]
                torch.testing.assert_close(pairs.texts[row], alone, rtol=1e-5, atol=1e-6)


def test_chosen_pairs_are_found_by_their_ids() -> None:
    watched = watch(original=watch(2))
    for part, ids in IDS.items():
        assert watched.inference.ids(part).tolist() == ids.tolist()
    chosen = (int(SPLIT.forget[5]), int(SPLIT.retain[3]), int(SPLIT.forget[1]))
    metric = PairAlignmentMatrices(ids=chosen)
    metric.check(DatasetInfo(len(IMAGES.train_images), 1, (), 8))
    arrays = metric.measure(watched.observed).arrays
    assert arrays["retain_am_after"].shape == (1, 1)
    model = watched.model.eval()
    mean, std = FAMILY.augmentation.mean, FAMILY.augmentation.std
    forgotten = [chosen[0], chosen[2]]
    first = [IMAGES.train_captions[number][0] for number in forgotten]
    with torch.no_grad():
        images = normalise(torch.tensor(IMAGES.train_images[forgotten]), mean, std)
        texts = FAMILY.embed_texts(model, FAMILY.tokenise(first))
        expected = FAMILY.embed_images(model, images) @ texts.T
    torch.testing.assert_close(arrays["forget_am_after"], expected.double(), rtol=1e-5, atol=1e-6)


def test_nothing_is_embedded_before_it_is_asked_for_nor_twice() -> None:
    watched = watch()
    assert watched.seen == {"images": [], "texts": []}
    distinct = len({caption for of_one in IMAGES.train_captions for caption in of_one})
    for part in ("forget", "retain"):
        for limit in (1, 1000):
            watched.inference.pairs(part, limit)
        watched.inference.logits(part)
        watched.inference.logits(part)
    # A caption that several images have is embedded once, in whichever set; prompts once, too.
    assert sorted(watched.seen["texts"]) == [6, distinct]
    assert watched.seen["images"] == [len(SPLIT.forget), len(SPLIT.retain)]


def test_no_answer_depends_on_what_was_asked_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (embeddings, features):
        monkeypatch.setattr(module, "BLOCK", 4)
    first, second = watch().inference, watch().inference
    for part in ("test", "forget"):
        first.pairs(part, 3)
    for part in ("retain", "forget", "test"):
        ours, theirs = (one.pairs(part, 9) for one in (first, second))
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.texts[ours.captions], theirs.texts[theirs.captions])


def test_zero_shot_probabilities_equal_loops() -> None:
    watched = watch()
    found = watched.observed.probabilities("test")
    model = watched.model.eval()
    images = watched.inference.pairs("test", TEST).images.double().tolist()
    with torch.no_grad():
        read = [FAMILY.embed_texts(model, FAMILY.tokenise(own)).double() for own in PROMPTS]
    classes = []
    for rows in read:
        mean = [math.fsum(column) / len(rows) for column in rows.T.tolist()]
        length = math.sqrt(math.fsum(x * x for x in mean))
        classes.append([x / length for x in mean])
    scale = math.exp(model.log_scale.item())
    for row, image in zip(found.double().tolist(), images, strict=True):
        logits = [
            scale * math.fsum(x * y for x, y in zip(image, text, strict=True)) for text in classes
        ]
        exps = [math.exp(logit) for logit in logits]
        assert row == pytest.approx([value / math.fsum(exps) for value in exps], abs=1e-5)
    assert found.dtype == torch.float32


def test_every_metric_of_samples_measures_such_a_model() -> None:
    original = watch(1)
    unlearned = watch(2, original=original)
    for metric in metrics_of("samples").values():
        measured = metric().measure(unlearned.observed)
        assert all(math.isfinite(value) for value in measured.values.values())


def test_the_original_is_asked_for_a_few_pairs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (embeddings, features):
        monkeypatch.setattr(module, "BLOCK", 4)
    original = watch(1)
    unlearned = watch(2, original=original)
    for name, metric in parts(Metric).items():
        if metric.needs_captions:
            metric().measure(unlearned.observed)
            # Six pairs of both sets, in blocks of four.
            expected = [4] * 4 if name == "pair_alignment_matrices" else []
            assert original.seen["images"] == expected
            original.seen["images"].clear()


def test_the_model_is_left_as_it_was() -> None:
    def partly_training(model: CLIPModel) -> None:
        model.train()
        model.backbone.get_submodule("bn").eval()

    watched = watch(change=partly_training)
    before = {name: value.clone() for name, value in watched.model.state_dict().items()}
    flags = [module.training for module in watched.model.modules()]
    watched.inference.pairs("forget", 5)
    watched.inference.logits("test")
    assert all(torch.equal(v, before[n]) for n, v in watched.model.state_dict().items())
    assert [module.training for module in watched.model.modules()] == flags
    assert all(p.grad is None for p in watched.model.parameters())


@pytest.mark.parametrize("tower", ["image_projection", "text.transformer.ln_final"])
def test_embeddings_that_are_not_numbers_end_the_trial(tower: str) -> None:
    def break_it(model: CLIPModel) -> None:
        nn.init.constant_(model.get_submodule(tower).weight, float("nan"))

    what = "captions" if tower.startswith("text") else "images"
    with pytest.raises(NonFiniteLoss, match=f"outputs for .* {what}: hold NaN or infinite"):
        watch(change=break_it).inference.pairs("forget", 1000)


def test_a_prompt_that_the_family_refuses() -> None:
    long = ("an unusually long name of a class that nobody chose",)
    with pytest.raises(DataError, match="longer than the context of 9 tokens"):
        watch(prompts=(*PROMPTS[:2], long))


def test_one_class_has_probability_one() -> None:
    observed = watch(prompts=PROMPTS[:1]).observed
    assert torch.equal(observed.probabilities("test"), torch.ones(TEST, 1))


def captions_of_chosen(texts: Tensor, begins: Tensor) -> list[list[int]]:
    return [part.tolist() for part in texts.tensor_split(begins[1:-1])]


def test_captions_of_chosen_images() -> None:
    data = ResidentData.load(IMAGES, 3, FAMILY, CPU.device)
    texts = data.train_texts
    assert texts is not None
    chosen = torch.tensor([5, 0, 5, 43])
    rows, begins = texts.of(chosen)
    expected = [
        texts.rows[texts.begins[number] : texts.begins[number + 1]].tolist()
        for number in chosen.tolist()
    ]
    assert captions_of_chosen(rows, begins) == expected
    assert begins.tolist() == [0, 2, 4, 6, 10]
    rows, begins = texts.of(chosen[:0])
    assert (rows.tolist(), begins.tolist()) == ([], [0])
