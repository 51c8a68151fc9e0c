"""CLIP's criterion against loops in float64, its temperature, its tokens, and its tower."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.families.naive import cosine
from unlearn_ray.core.errors import ConfigError, DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data.base import Split
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.families.clip import CLIP, LOG_SCALES, CLIPModel
from unlearn_ray.methods.alignment_calibration import AlignmentCalibration
from unlearn_ray.methods.base import Method
from unlearn_ray.methods.finetune import Finetune
from unlearn_ray.methods.gradient_ascent import GradientAscent
from unlearn_ray.methods.l1_sparsity import L1Sparsity
from unlearn_ray.methods.neggrad import NegGrad
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.testing.toy import END, TwoLayerBackbone, random_batch
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.unlearning import unlearn

FAMILY = CLIP(
    embedding_size=7, context_length=9, text_width=8, text_heads=2, text_layers=2, temperature=0.3
)
CAPTIONS = ("a photo of a dog.", "Two dogs & a cat, isn't it?", "naïve  \n 3 x 17", "hello")


def model_of(family: CLIP = FAMILY, dtype: torch.dtype = torch.float64) -> CLIPModel:
    torch.manual_seed(0)
    model = family.build(TwoLayerBackbone(), 10).to(dtype)
    assert isinstance(model, CLIPModel)
    return model


def test_pieces_and_criterion_equal_loops_in_both_directions() -> None:
    model = model_of()
    batch = random_batch(5, (1, 4), views=1, dtype=torch.float64)
    features = model.backbone(batch.views[0]).tolist()
    weight = model.image_projection.weight.tolist()
    images = [[sum(map(math.prod, zip(w, row, strict=True))) for w in weight] for row in features]
    texts = torch.cat([model.text(row[None]) for row in batch.texts]).tolist()
    pieces = FAMILY.info_nce(model, batch)
    losses = []
    for anchor in range(10):
        pair = anchor % 5
        others = texts if anchor < 5 else images
        own = images[pair] if anchor < 5 else texts[pair]
        scaled = [cosine(own, other) / 0.3 for other in others]
        log_sum_exp = math.log(sum(map(math.exp, scaled)))
        # Cosines may be near 0.
        assert pieces.similarities[anchor].tolist() == pytest.approx(scaled, abs=1e-7)
        assert pieces.positive[anchor].item() == pytest.approx(scaled[pair], abs=1e-7)
        assert pieces.log_sum_exp[anchor].item() == pytest.approx(log_sum_exp)
        assert pieces.same_image[anchor].tolist() == [other == pair for other in range(5)]
        losses.append(log_sum_exp - scaled[pair])
    assert FAMILY.criterion(model, batch).item() == pytest.approx(sum(losses) / 10)
    assert pieces.is_forget.tolist() == 2 * [False, True, False, False, True]
    assert pieces.candidate_is_forget.tolist() == [False, True, False, False, True]
    assert float(pieces.temperature.detach()) == pytest.approx(0.3)


def test_equals_open_clips_loss() -> None:
    from unlearn_ray.core.open_clip_import import open_clip

    model, batch = model_of(), random_batch(6, views=1, dtype=torch.float64)
    images = FAMILY.embed_images(model, batch.views[0])
    texts = FAMILY.embed_texts(model, batch.texts)
    expected = open_clip.ClipLoss()(images, texts, model.log_scale.exp())
    torch.testing.assert_close(FAMILY.criterion(model, batch), expected)


@pytest.mark.parametrize("size", [1, 4])
def test_gradients_equal_finite_differences(size: int) -> None:
    model = model_of().eval()
    batch = random_batch(size, views=1, dtype=torch.float64)
    FAMILY.criterion(model, batch).backward()
    layers = model.text.transformer
    for weight, index in [
        (model.log_scale, ()),
        (model.image_projection.weight, (2, 1)),
        (model.backbone.conv.weight, (1, 2, 0, 1)),
        (layers.text_projection, (3, 2)),
        (layers.positional_embedding, (4, 1)),
        (layers.token_embedding.weight, (END, 5)),
        (layers.transformer.resblocks[0].mlp.c_fc.weight, (7, 3)),
    ]:
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[index] += step
                values.append(FAMILY.criterion(model, batch).item())
                weight[index] -= step
        difference = (values[0] - values[1]) / 2e-6
        assert weight.grad[index].item() == pytest.approx(difference, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("below", "bound"), [(True, LOG_SCALES[0]), (False, LOG_SCALES[1])])
class TestScale:
    def beyond(self, bound: float, below: bool, dtype: torch.dtype) -> CLIPModel:
        model = model_of(dtype=dtype)
        model.log_scale.data.fill_(bound - 0.5 if below else bound + 0.5)
        return model

    def test_is_put_back_and_can_leave_the_bound(
        self, below: bool, bound: float, dtype: torch.dtype
    ) -> None:
        model, at_bound = self.beyond(bound, below, dtype), model_of(dtype=dtype)
        at_bound.log_scale.data.fill_(bound)
        batch = random_batch(4, views=1, dtype=dtype)
        losses = [FAMILY.criterion(one, batch) for one in (model, at_bound)]
        assert torch.equal(losses[0], losses[1])
        assert torch.equal(model.log_scale, at_bound.log_scale)
        losses[0].backward()
        assert model.log_scale.grad.abs() > 0

    def test_of_what_is_not_trained_is_read_within_bounds(
        self, below: bool, bound: float, dtype: torch.dtype
    ) -> None:
        batch = random_batch(4, views=1, dtype=dtype)
        for training, gradients in [(True, False), (False, True)]:
            model = self.beyond(bound, below, dtype).train(training)
            before = model.log_scale.item()
            with torch.set_grad_enabled(gradients):
                pieces = FAMILY.info_nce(model, batch)
            assert model.log_scale.item() == before
            assert 1 / float(pieces.temperature.detach()) == pytest.approx(math.exp(bound))

    def test_one_iteration_may_ask_twice(
        self, below: bool, bound: float, dtype: torch.dtype
    ) -> None:
        model = self.beyond(bound, below, dtype)
        batch = random_batch(4, views=1, dtype=dtype)
        sum(FAMILY.criterion(model, batch) for _ in range(2)).backward()
        assert model.log_scale.grad.isfinite()


def test_embeddings_are_unit_rows_also_under_autocast() -> None:
    model = model_of(dtype=torch.float32)
    batch = random_batch(8, views=1)
    exact = FAMILY.criterion(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images = FAMILY.embed_images(model, batch.views[0])
        texts = FAMILY.embed_texts(model, batch.texts)
        pieces = FAMILY.info_nce(model, batch)
    for rows in (images, texts):
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(8))
    assert pieces.similarities.dtype == pieces.log_sum_exp.dtype == torch.float32
    assert pieces.losses.loss.mean().item() == pytest.approx(exact.item(), rel=0.02)


def test_seed_determines_the_model() -> None:
    first, again = model_of(), model_of()
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


class TestTokens:
    def test_are_open_clips(self) -> None:
        from unlearn_ray.core.open_clip_import import open_clip

        assert torch.equal(CLIP().tokenise(CAPTIONS).long(), open_clip.tokenize(list(CAPTIONS)))
        assert CLIP().tokenise([]).shape == (0, 77)

    def test_of_the_longest_caption_fill_the_context(self) -> None:
        rows = FAMILY.tokenise(["one two three four five six seven", "one"])
        assert rows[0, -1] == END
        assert rows[1].tolist() == [49406, 637, END, 0, 0, 0, 0, 0, 0]

    @pytest.mark.parametrize(
        ("caption", "reason"),
        [
            ("", "captions: 1 empty, or without any token: ''; write them, or remove them"),
            (" \n\t", "1 empty"),
            (
                "one two three four five six seven eight",
                "1 longer than the context of 9 tokens, start and end token included, the longest "
                "has 10: "
                "'one two three four five six seven eight'; shorten them, raise the family's "
                "context_length, or set its truncate to true",
            ),
            ("word " * 500, r"the longest has 502: 'word word [word ]*\.\.\.'"),
            ("a <end_of_text> b", "1 with a special token of the tokenizer"),
        ],
    )
    def test_of_what_cannot_be_read_are_refused(self, caption: str, reason: str) -> None:
        with pytest.raises(DataError, match=reason) as caught:
            FAMILY.tokenise(["fine", caption])
        assert len(str(caught.value)) < 400

    def test_all_that_cannot_be_read_is_told_at_once(self) -> None:
        long = [f"one two three four five six seven eight {number}" for number in range(500)]
        with pytest.raises(DataError) as caught:
            FAMILY.tokenise([*long, "", "fine", "a <start_of_text>"])
        told = str(caught.value)
        for count in ("1 empty", "1 with a special token", "500 longer"):
            assert count in told
        assert told.count("one two") == 2
        assert "and 498 more" in told
        assert len(told) < 600
        with pytest.raises(DataError) as caught:
            FAMILY.tokenise(long)
        told = str(caught.value)
        assert told.count("one two") == 5
        assert "and 495 more" in told
        assert "set its truncate to true" in told

    @pytest.mark.parametrize("context", [1, 2, 3, 9, 77])
    def test_are_cut_as_open_clip_cuts_them(self, context: int) -> None:
        from unlearn_ray.core.open_clip_import import open_clip

        captions = [
            *CAPTIONS,
            *("word " * count for count in (1, 7, 8, 75, 76, 77, 500)),
            "ein Bild von einer Katze, 猫 🐈, " * 20,
        ]
        cut = replace(FAMILY, context_length=context, truncate=True)
        rows = cut.tokenise(captions)
        assert torch.equal(rows.long(), open_clip.tokenize(captions, context_length=context))
        if context == 77:
            kept = CLIP().tokenise(["word " * 75])
            assert torch.equal(rows[len(CAPTIONS) + 3], kept[0])
        with pytest.raises(DataError, match="1 empty"):
            cut.tokenise([""])

    def test_that_are_cut_are_another_family(self) -> None:
        assert content_key(replace(FAMILY, truncate=True)) != content_key(FAMILY)

    def test_need_no_network(self) -> None:
        code = (
            "from unlearn_ray.families.clip import CLIP\n"
            "from unlearn_ray.testing.toy import TwoLayerBackbone\n"
            "family = CLIP(text_layers=1, text_width=8)\n"
            "model = family.build(TwoLayerBackbone(), 10)\n"
            "print(family.embed_texts(model, family.tokenise(['a dog'])).shape)"
        )
        alone = ["unshare", "--map-root-user", "--net"]
        if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
            pytest.skip("this machine cannot take the network away")
        done = subprocess.run(
            [*alone, sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.stdout == "torch.Size([1, 512])\n", done.stderr


def test_text_tower_is_open_clips_whatever_is_padded() -> None:
    model, tokens = model_of(), FAMILY.tokenise(("a dog", "two cats, one bird"))
    expected = model.text.transformer(tokens)
    torch.testing.assert_close(model.text(tokens), expected)
    # Seven words and marks are the longest.
    assert int((tokens > 0).sum(dim=1).max()) == 7
    torch.testing.assert_close(model.text(tokens[:, :7]), expected)
    other = torch.where(tokens > 0, tokens, 5)
    torch.testing.assert_close(model.text(other), expected)


def test_planning_imports_no_towers() -> None:
    code = (
        "import sys; from unlearn_ray.core.registry import parts\n"
        "from unlearn_ray.families.base import Family; from unlearn_ray.models.base import Model\n"
        "[part() for kind in (Family, Model) for part in parts(kind).values()]\n"
        "print({'open_clip', 'timm', 'torchvision'} & {name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_heads_divide_the_width() -> None:
    family = replace(FAMILY, text_heads=3)
    with pytest.raises(ConfigError, match=r"clip\.text_heads = 3: does not divide the width 8"):
        family.check(ResNet8(), Digits().info())
    FAMILY.check(ResNet8(), Digits().info())


@pytest.mark.parametrize(
    "method", [AlignmentCalibration, Finetune, GradientAscent, L1Sparsity, NegGrad]
)
def test_zero_epochs_leave_the_original(method: type[Method]) -> None:
    model, noise = model_of(), torch.Generator().manual_seed(0)
    model.log_scale.data.fill_(5.0)
    before = copy.deepcopy(model.state_dict())
    images = torch.randint(0, 256, (20, 8, 8, 3), dtype=torch.uint8, generator=noise)
    labels = torch.zeros(20, dtype=torch.int64)
    unlearn(
        model, FAMILY, method(epochs=0), ResidentData(images, labels, images, labels, 10),
        Split(validation=np.arange(0), forget=np.arange(5), retain=np.arange(5, 20)),
        seed=0, compute=Compute.cpu(), make_model=lambda _: model_of(),
    )  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_learns_pairs() -> None:
    """Of distinct images and captions, each finds its own."""
    model, batch = model_of(), random_batch(8, views=1, dtype=torch.float64)
    colours = torch.randn(8, 3, 1, 1, generator=batch.generator, dtype=torch.float64)
    batch = replace(batch, views=(batch.views[0] + 2 * colours,))
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.02)
    losses: list[Tensor] = []
    for _ in range(200):
        losses.append(FAMILY.criterion(model, batch))
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[0].item() == pytest.approx(math.log(8), abs=0.5)
    assert losses[-1].item() < 0.3
    similarities = FAMILY.info_nce(model.eval(), batch).similarities
    assert similarities.argmax(dim=1).tolist() == 2 * list(range(8))
