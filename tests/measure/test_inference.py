from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.metrics.evidence import metrics_of, observed
from unlearn_ray.core.errors import NonFiniteLoss
from unlearn_ray.core.registry import parts
from unlearn_ray.data.augmentation import normalise
from unlearn_ray.data.base import Split
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.measure.features import BLOCK, extract, frozen
from unlearn_ray.measure.inference import Inference
from unlearn_ray.measure.probe import Probe
from unlearn_ray.metrics.base import Metric, Observed
from unlearn_ray.quantities.outputs import Outputs
from unlearn_ray.quantities.view_features import ViewFeatures
from unlearn_ray.quantities.view_similarity import ViewSimilarity
from unlearn_ray.testing.toy import TwoLayerBackbone
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData

CPU = Compute(torch.device("cpu"))
CLASSES = 3


def resident(train: int, test: int, seed: int = 0) -> ResidentData:
    generator = torch.Generator().manual_seed(seed)

    def images(count: int) -> Tensor:
        return torch.randint(256, (count, 8, 8, 3), generator=generator, dtype=torch.uint8)

    return ResidentData(
        images(train),
        torch.randint(CLASSES, (train,), generator=generator),
        images(test),
        torch.randint(CLASSES, (test,), generator=generator),
        CLASSES,
    )


def split_of(train: int, forget: int, validation: int = 3, seed: int = 0) -> Split:
    order = np.random.RandomState(seed).permutation(train)
    return Split(
        validation=order[:validation],
        forget=order[validation : validation + forget],
        retain=order[validation + forget :],
    )


class Model(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.backbone = TwoLayerBackbone()
            nn.init.normal_(self.backbone.bn.running_mean)


@dataclass
class Watched:
    """A model with a record of every batch that reached its backbone."""

    inference: Inference
    model: Model
    data: ResidentData
    original: Watched | None = None
    batches: list[Tensor] = field(default_factory=list)

    @property
    def observed(self) -> Observed:
        before = None if self.original is None else self.original.inference
        return observed(self.inference, self.data, before)

    @property
    def images(self) -> int:
        return sum(len(batch) for batch in self.batches)


DATA, SPLIT = resident(60, 20), split_of(60, 12)


def watch(
    seed: int = 1,
    *,
    data: ResidentData = DATA,
    split: Split = SPLIT,
    original: Watched | None = None,
    probe: Probe = Probe(epochs=3),  # noqa: B008
    evidence_seed: int = 0,
    change: Callable[[Model], object] = lambda model: None,
) -> Watched:
    model = Model(seed)
    change(model)
    inference = Inference(
        model,
        data,
        split,
        family=SimCLR(),
        probe=probe,
        seed=evidence_seed,
        compute=CPU,
        make_model=Model,
    )
    watched = Watched(inference, model, data, original)
    model.backbone.register_forward_pre_hook(lambda _, args: watched.batches.append(args[0]))
    return watched


def test_sets_stand_in_the_order_of_the_split() -> None:
    inference = watch().inference
    for part, ids in {
        "retain": SPLIT.retain,
        "forget": SPLIT.forget,
        "validation": SPLIT.validation,
    }.items():
        assert inference.size(part) == len(ids)
        assert inference.ids(part).tolist() == ids.tolist()
    assert inference.size("test") == 20
    assert torch.equal(inference.ids("test"), torch.arange(20))


def test_features_are_those_of_single_normalised_images() -> None:
    watched = watch()
    backbone = watched.model.backbone.eval()
    features = watched.inference.features("retain")
    assert features.dtype == torch.float32
    with torch.no_grad():
        for row, index in enumerate(SPLIT.retain[:5].tolist()):
            alone = backbone(normalise(DATA.train_images[index : index + 1]))[0]
            torch.testing.assert_close(features[row], alone, rtol=1e-5, atol=1e-6)


def test_nothing_is_computed_before_it_is_asked_for_nor_twice() -> None:
    watched = watch()
    inference = watched.inference
    assert watched.images == 0
    inference.features("test")
    inference.features("test")
    assert watched.images == 20
    inference.logits("test")
    inference.logits("retain")
    assert watched.images == 20 + len(SPLIT.retain)
    inference.view_features("forget", 2, 12)
    inference.view_features("forget", 3, 12)
    inference.view_features("forget", 1, 4)
    assert watched.images == 20 + len(SPLIT.retain) + 3 * 12


def test_metrics_of_outputs_and_views_ask_the_original_for_two_forget_views_alone() -> None:
    original = watch(1)
    unlearned = watch(2, original=original)
    for metric in metrics_of("samples", captions=False).values():
        needs = metric().needs()
        if not set(map(type, (*needs.model, *needs.original))) <= {
            Outputs, ViewFeatures, ViewSimilarity,
        }:  # fmt: skip
            continue
        for value in metric().measure(unlearned.observed).values.values():
            assert np.isfinite(value)
    assert original.images == 2 * 12
    # Views are drawn block by block, so the 20 members come with the rest of their block.
    assert unlearned.images == (45 + 12 + 3 + 20) + 10 * (45 + 12 + 20)


def test_models_are_shown_the_same_views_whatever_was_asked_before() -> None:
    first, second = watch(1), watch(2)
    first.inference.view_features("forget", 2, 12)
    second.inference.features("retain")
    second.inference.view_features("retain", 2, 12)
    second.batches.clear()
    second.inference.view_features("forget", 2, 12)
    assert len(first.batches) == len(second.batches) == 2
    for ours, theirs in zip(first.batches, second.batches, strict=True):
        assert torch.equal(ours, theirs)


def test_views_differ_between_views_sets_and_seeds() -> None:
    same = Split(validation=SPLIT.validation, forget=SPLIT.retain, retain=SPLIT.retain)
    watched, other = watch(split=same), watch(split=same, evidence_seed=1)
    for inference in (watched.inference, other.inference):
        inference.view_features("retain", 2, 45)
        inference.view_features("forget", 1, 45)
    batches = [*watched.batches, *other.batches]
    for i, batch in enumerate(batches):
        assert not any(torch.equal(batch, earlier) for earlier in batches[:i])


def test_fewer_views_and_samples_are_the_first_of_more() -> None:
    data, split = resident(2 * BLOCK + 60, 5), split_of(2 * BLOCK + 60, 7)
    full = watch(data=data, split=split).inference.view_features("retain", 3, 10**6)
    assert full.shape == (2 * BLOCK + 50, 3, 5)
    for limit in (1, BLOCK, BLOCK + 1):
        fresh = watch(data=data, split=split).inference
        assert torch.equal(fresh.view_features("retain", 2, limit), full[:limit, :2])
    grown = watch(data=data, split=split)
    grown.inference.view_features("retain", 1, BLOCK + 1)
    assert torch.equal(grown.inference.view_features("retain", 3, 10**6), full)
    assert grown.images == 3 * (2 * BLOCK + 50)


def test_the_model_is_left_as_it_was() -> None:
    def partly_training(model: Model) -> None:
        model.train()
        model.backbone.bn.eval()

    watched = watch(change=partly_training, probe=Probe(epochs=2, features="augmented"))
    before = {name: value.clone() for name, value in watched.model.state_dict().items()}
    watched.inference.logits("forget")
    watched.inference.view_features("test", 2, 9)
    assert all(torch.equal(v, before[n]) for n, v in watched.model.state_dict().items())
    assert [m.training for m in watched.model.backbone.modules()] == [True, True, False, True]
    assert all(p.grad is None for p in watched.model.parameters())


def test_training_flags_come_back_after_an_error() -> None:
    backbone = TwoLayerBackbone().train()
    with pytest.raises(RuntimeError), frozen(backbone):
        backbone(torch.zeros(1, 99, 2, 2))
    assert all(module.training for module in backbone.modules())


@pytest.mark.parametrize("features", ["cached", "augmented", "cached_views"])
def test_probabilities(features: str) -> None:
    probe = Probe(epochs=4, batch_size=16, features=features)
    watched, again = watch(probe=probe), watch(probe=probe)
    for part in ("forget", "test"):
        probabilities = watched.observed.probabilities(part)
        assert probabilities.shape == (watched.inference.size(part), CLASSES)
        torch.testing.assert_close(probabilities.sum(1), torch.ones(len(probabilities)))
        assert torch.equal(probabilities, again.observed.probabilities(part))
    # 45 retain samples are two whole batches of 16 an epoch.
    in_training = {"cached": 0, "augmented": 4 * 32, "cached_views": 4 * 45}[features]
    assert watched.images == 45 + 12 + 3 + 20 + in_training


def test_an_augmented_probe_sees_shifted_and_flipped_images() -> None:
    watched = watch(probe=Probe(epochs=1, batch_size=45, features="augmented"))
    watched.inference.logits("retain")
    plain, augmented = watched.batches
    mean = normalise(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    unchanged = sum(any(torch.equal(view, image) for image in plain) for view in augmented)
    padded = sum(bool((view == mean[0]).all(0).any()) for view in augmented)
    assert unchanged < 10
    assert padded > 30


def test_copies_of_views_are_extracted_once_and_differ() -> None:
    """They are as many different views as an augmented probe sees, and those of the seed alone."""
    probe = Probe(epochs=6, batch_size=16, features="cached_views", copies=2)
    watched, longer, other = (
        watch(probe=probe),
        watch(probe=replace(probe, copies=3), seed=2),
        watch(probe=probe, evidence_seed=1),
    )
    for each in (watched, longer, other):
        each.inference.logits("retain")
        each.inference.logits("forget")
    plain, first, second, _ = watched.batches
    assert len(plain) == len(first) == len(second) == len(SPLIT.retain)
    assert not torch.equal(first, second)
    # Fewer copies are the first of more, whatever the model; another seed has others.
    assert torch.equal(first, longer.batches[1])
    assert torch.equal(second, longer.batches[2])
    assert not torch.equal(first, other.batches[1])


def test_whole_class_unlearning() -> None:
    """The forget set is a class that the probe never sees."""
    is_forget = (DATA.train_labels == 1).numpy()
    ids = np.arange(60)
    split = Split(validation=ids[:0], forget=ids[is_forget], retain=ids[~is_forget])
    original = watch(1, split=split)
    inference = watch(2, split=split, original=original, probe=Probe()).observed
    measured = metrics_of("classes", captions=False).items()
    values = {name: metric().measure(inference).values for name, metric in measured}
    assert values["forget_accuracy"]["forget_accuracy"] < 10
    assert values["test_accuracy_forgotten"]["test_accuracy_forgotten"] < 10
    assert all(np.isfinite(v) for columns in values.values() for v in columns.values())


def test_constant_features_are_measured() -> None:
    def collapse(model: Model) -> None:
        nn.init.zeros_(model.backbone.linear.weight)

    original = watch(1)
    inference = watch(2, original=original, change=collapse).observed
    for metric in metrics_of("samples", captions=False).values():
        measured = metric().measure(inference)
        assert all(np.isfinite(value) for value in measured.values.values())


@pytest.mark.parametrize("metric", ["retain_accuracy", "emia_efficacy", "forgetting_score"])
def test_features_that_are_not_numbers_end_the_trial(metric: str) -> None:
    def break_it(model: Model) -> None:
        nn.init.constant_(model.backbone.linear.bias, float("nan"))

    inference = watch(2, original=watch(1), change=break_it).observed
    with pytest.raises(NonFiniteLoss, match="hold NaN or infinite"):
        parts(Metric)[metric]().measure(inference)


def test_the_original_is_its_own_original() -> None:
    original = watch(1).observed
    assert original.original is original
    before = watch(2, original=watch(1)).observed.original
    assert torch.equal(before.probabilities("test"), original.probabilities("test"))


def test_no_images_give_no_features() -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    features = extract(TwoLayerBackbone(), DATA.train_images, nothing, normalise)
    assert features.shape == (0, 5)
