"""Equation 7 for CLIP's zero-shot classifier: against loops, its prompts, its end, whole runs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.families.naive import cosine
from tests.methods import pairs
from tests.methods.pairs import FAMILY, RECIPE, loss, original, retrained, split, task_of, zero_shot
from tests.methods.test_contrastive_unlearning import (
    CASES,
    MIXED,
    labelled,
    log_sum_exp,
    mean,
    pair,
    unlearning_loss,
)
from unlearn_ray.core.batch import Batch
from unlearn_ray.data.augmentation import normalise
from unlearn_ray.families.base import Prompts
from unlearn_ray.families.clip import CLIP, MEAN, STD, CLIPModel
from unlearn_ray.methods.base import Task
from unlearn_ray.methods.contrast import is_forgotten
from unlearn_ray.methods.contrastive_unlearning import ContrastiveUnlearning
from unlearn_ray.testing.toy import ToySamples, TwoLayerBackbone, random_tokens

SMALL = CLIP(embedding_size=7, text_width=8, text_heads=2, text_layers=1)
SCALE = 3.7
# Prompts of each of ten classes.
COUNTS = [1, 3, 2, 1, 4, 1, 1, 2, 1, 1]
QUEUE = ContrastiveUnlearning(variant="queue", queue_size=15, temperature=0.4)


def model_of() -> CLIPModel:
    torch.manual_seed(0)
    model = SMALL.build(TwoLayerBackbone(), 10).double()
    assert isinstance(model, CLIPModel)
    model.log_scale.data.fill_(math.log(SCALE))
    return model


def prompts() -> Prompts:
    words = random_tokens(sum(COUNTS), torch.Generator().manual_seed(3))
    return Prompts(words, torch.tensor(COUNTS))


def by_class() -> list[list[int]]:
    """Places of each class's prompts."""
    places = iter(range(sum(COUNTS)))
    return [[next(places) for _ in range(count)] for count in COUNTS]


def state_of(method: ContrastiveUnlearning, model: nn.Module) -> Task:
    samples = ToySamples(15, 9, dtype=torch.float64)
    samples.prompts = prompts()
    task = Task(SMALL, samples)
    return replace(task, state=method.prepare(model.eval(), task))


def embedded(model: CLIPModel, images: torch.Tensor) -> torch.Tensor:
    return model.image_projection(model.backbone(images)).detach()


def expected_loss(method: ContrastiveUnlearning, batch: Batch) -> float:
    """Equation 7, with one prompt of each class as its row of weights."""
    (companion,) = batch.companions
    rows = embedded(model_of(), torch.cat([batch.view(0), companion.view(0)]))
    others = labelled(rows[6:], companion.labels)
    if method.variant == "queue":
        model, samples = model_of().eval(), ToySamples(15, 9, dtype=torch.float64)
        shown, labels = next(samples.blocks("retain"))
        # Of 15 places, the first six are written over.
        others = labelled(embedded(model, companion.view(0)), companion.labels)
        others += labelled(embedded(model, shown), labels)[6:]
    again = torch.Generator()
    again.set_state(batch.generator.get_state())
    uniform = torch.rand(10, generator=again, dtype=torch.float64).tolist()
    captions = model_of().text(prompts().tokens).tolist()
    drawn = [
        captions[places[int(u * len(places))]]
        for u, places in zip(uniform, by_class(), strict=True)
    ]
    entropies = []
    for row, label in zip(rows[6:].tolist(), companion.labels.tolist(), strict=True):
        logits = [SCALE * cosine(row, caption) for caption in drawn]
        entropies.append(log_sum_exp(logits) - SCALE * cosine(row, drawn[label]))
    unlearning = unlearning_loss(labelled(rows[:6], batch.labels), others, method)
    return method.lambda_ul * unlearning + method.lambda_ce * mean(entropies)


@pytest.mark.parametrize("labels", [CASES["none has positives"], MIXED], ids=["class", "mixed"])
@pytest.mark.parametrize(
    "method",
    [ContrastiveUnlearning(), ContrastiveUnlearning(lambda_ul=0.5, temperature=0.07), QUEUE],
    ids=["defaults", "official", "queue"],
)
class TestLoss:
    def test_equals_loops(
        self, method: ContrastiveUnlearning, labels: tuple[list[int], list[int]]
    ) -> None:
        batch, model = pair(labels), model_of()
        expected = expected_loss(method, batch)
        task = state_of(method, model)
        found = method.loss(model.train(), batch, task)
        assert found.item() == pytest.approx(expected, abs=1e-12)

    def test_gradients_equal_differences(
        self, method: ContrastiveUnlearning, labels: tuple[list[int], list[int]]
    ) -> None:
        model = model_of()
        task = state_of(method, model)
        method.loss(model.train(), pair(labels), task).backward()
        assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())
        for name, index in [
            ("backbone.linear.weight", (1, 2)),
            ("image_projection.weight", (3, 4)),
            ("text.transformer.text_projection", (2, 5)),
            ("log_scale", ()),
        ]:
            values = []
            for step in (1e-6, -1e-6):
                # The queue does not move with the model, as it does not in the gradient.
                moved, still = model_of(), state_of(method, model_of())
                with torch.no_grad():
                    moved.get_parameter(name)[index] += step
                values.append(method.loss(moved.train(), pair(labels), still).item())
            difference = (values[0] - values[1]) / 2e-6
            gradient = model.get_parameter(name).grad
            assert gradient is not None
            assert gradient[index].item() == pytest.approx(difference, rel=1e-4, abs=1e-8)


class TestPrompts:
    def test_are_those_that_the_metrics_read(self) -> None:
        found, words = task_of("class").samples.prompts, pairs.DIGITS.prompts()
        assert found is not None
        assert found is pairs.data().prompts
        assert found.counts.tolist() == [len(of_class) for of_class in words]
        tokens = FAMILY.tokenise([prompt for of_class in words for prompt in of_class])
        assert torch.equal(found.tokens, tokens.int())

    def test_one_of_each_class_is_drawn_all_alike(self) -> None:
        counts, rows = np.zeros(sum(COUNTS)), prompts().tokens.tolist()
        for seed in range(1000):
            drawn = prompts().drawn(torch.Generator().manual_seed(seed)).tolist()
            for row in drawn:
                counts[rows.index(row)] += 1
        for places in by_class():
            expected = 1000 / len(places)
            assert sum(counts[places]) == 1000
            assert all(abs(counts[places] - expected) < 5 * expected**0.5)

    def test_scores_are_cosines_with_the_mean_of_a_classs_prompts(self) -> None:
        model, images = model_of().eval(), pair().view(0)
        rows, captions = embedded(model, images).tolist(), model.text(prompts().tokens).tolist()
        found = SMALL.class_scores(model, prompts())(images)
        for image, row in enumerate(rows):
            for label, places in enumerate(by_class()):
                units = [
                    [value / math.hypot(*captions[place]) for value in captions[place]]
                    for place in places
                ]
                middle = [math.fsum(column) for column in zip(*units, strict=True)]
                assert found[image, label].item() == pytest.approx(cosine(row, middle))


class TestStopping:
    """Equation 8, by zero-shot accuracy of unseen samples."""

    def test_the_original_knows_the_class_and_the_retrained_does_not(self) -> None:
        assert not is_forgotten(original(), task_of("class"))
        assert zero_shot(retrained("class"), split("class").forget) < 0.5

    @pytest.mark.parametrize("unseen", [True, False])
    @pytest.mark.parametrize("told", [0, 1, 2])
    def test_at_a_tenth(self, told: int, unseen: bool) -> None:
        """`told` of 10 samples of a class are told, and the others look like other classes."""
        model, prompts = original(), task_of("class").samples.prompts
        pictures = normalise(pairs.data().train_images[: pairs.TRAINED_ON], MEAN, STD)
        answers = FAMILY.class_scores(model, prompts)(pictures).argmax(dim=1).numpy()
        threes, others = (np.flatnonzero(mask)[:10] for mask in (answers == 3, answers != 3))
        samples = ToySamples(5, 5, forgotten=(3,))
        assert prompts is not None
        samples.prompts = prompts
        samples.parts["validation"] = (pictures[others], torch.tensor(answers[others]))
        shown = np.concatenate([threes[:told], others[told:]])
        part = "validation" if unseen else "forget"
        samples.parts[part] = (pictures[shown], torch.full((10,), 3))
        assert is_forgotten(model.train(), Task(FAMILY, samples)) is (told <= 1)
        assert model.training


@pytest.mark.parametrize(("variant", "rate"), [("batch", 2e-4), ("queue", 5e-4)])
def test_a_class_is_forgotten_and_the_others_are_not(variant: str, rate: float) -> None:
    model, parts = original(), split("class")
    labels = pairs.images().train_labels
    unseen = parts.validation[labels[parts.validation] == pairs.FORGOTTEN]
    assert loss(model, parts.forget) < 1.03 * loss(model, parts.retain)
    assert zero_shot(model, unseen) > 0.1
    method = ContrastiveUnlearning(
        **{**RECIPE, "batch_size": 16}, learning_rate=rate, epochs=40, variant=variant
    )
    report = pairs.run(method, "class", model)
    # It ends when a class is guessed.
    assert report.iterations < 40 * 4 * (len(parts.forget) // 16)
    assert zero_shot(model, unseen) <= 0.1
    assert loss(model, parts.forget) > 1.03 * loss(model, parts.retain)
    assert zero_shot(model, parts.retain) > 0.9
