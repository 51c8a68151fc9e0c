"""A model's embeddings of images and captions, computed in blocks, each at most once."""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from unlearn_ray.families.base import Family
from unlearn_ray.measure.features import BLOCK, Views, extract, finite, frozen, in_blocks
from unlearn_ray.quantities.base import Pairs, SetName
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.texts import Texts


class Embeddings:
    """Embeddings of pairs and zero-shot logits, for a family that reads captions; on the CPU.

    Args:
        model: on the device; not changed.
        family: of the model.
        data: the dataset on the device.
        ids: of the samples of every set, on the device.
        views: of test-time images.
    """

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        data: ResidentData,
        ids: dict[SetName, Tensor],
        views: Views,
    ) -> None:
        self._model = model
        self._family = family
        self._data = data
        self._ids = ids
        self._views = views
        self._images: dict[tuple[SetName, int], Tensor] = {}
        self._captions: dict[bool, _EmbeddedTexts] = {}

    def pairs(self, part: SetName, limit: int) -> Pairs:
        """Embeddings of the first `limit` images of a set and all of their captions.

        Raises:
            NonFiniteLoss: an embedding is NaN or infinite.
        """
        of_test = part == "test"
        texts = self._data.test_texts if of_test else self._data.train_texts
        assert texts is not None
        if of_test not in self._captions:
            self._captions[of_test] = _EmbeddedTexts(texts, self._model, self._family)
        rows, begins = texts.of(self._ids[part][:limit])
        return Pairs(
            images=self.images(part, limit),
            texts=self._captions[of_test].with_rows(rows),
            captions=rows.cpu(),
            begins=begins.cpu(),
        )

    def images(self, part: SetName, limit: int) -> Float[Tensor, "m d"]:
        """Embeddings of the first `limit` images of a set.

        Raises:
            NonFiniteLoss: an embedding is NaN or infinite.
        """
        count = min(limit, self._ids[part].shape[0])
        blocks = range(max(1, -(-count // BLOCK)))
        return torch.cat([self._image_block(part, block) for block in blocks])[:count]

    def logits(self, part: SetName) -> Float[Tensor, "n classes"]:
        """The scaled cosines with each class's prompt embedding.

        Raises:
            NonFiniteLoss: an embedding is NaN or infinite.
        """
        images = self.images(part, self._ids[part].shape[0])
        scale = self._family.cosine_scale(self._model)
        return scale * images @ self._classes.T

    @cached_property
    def _classes(self) -> Float[Tensor, "classes d"]:
        prompts = self._data.prompts
        assert prompts is not None
        with frozen(self._model):
            classes = prompts.embedded(self._family, self._model).float().cpu()
        return finite(classes, f"{len(prompts.tokens)} prompts")

    def _image_block(self, part: SetName, block: int) -> Tensor:
        if (part, block) not in self._images:
            data, model = self._data, self._model
            self._images[part, block] = extract(
                model,
                data.test_images if part == "test" else data.train_images,
                self._ids[part][block * BLOCK : (block + 1) * BLOCK],
                self._views,
                lambda images: self._family.embed_images(model, images),
            )
        return self._images[part, block]


class _EmbeddedTexts:
    """The distinct captions of a set of images, embedded on demand."""

    def __init__(self, texts: Texts, model: nn.Module, family: Family) -> None:
        self._texts = texts
        self._model = model
        self._family = family
        self._blocks: set[int] = set()
        self._table = torch.empty(0, 0)

    def with_rows(self, rows: Int[Tensor, " n"]) -> Float[Tensor, "distinct d"]:
        """Embeddings of all distinct captions; only those of `rows` are sure to be computed."""
        count = self._texts.tokens.shape[0]
        # Whole blocks, so that rounding does not depend on earlier calls.
        for block in sorted({*(rows // BLOCK).tolist()} - self._blocks):
            wanted = torch.arange(
                block * BLOCK, min((block + 1) * BLOCK, count), device=rows.device
            )
            embedded = in_blocks(self._model, wanted, self._tokens, self._embed, "captions").cpu()
            if not self._blocks:
                self._table = embedded.new_empty(count, embedded.shape[1])
            self._table[wanted.cpu()] = embedded
            self._blocks.add(block)
        return self._table

    def _tokens(self, rows: Tensor) -> Tensor:
        return self._texts.tokens[rows].long()

    def _embed(self, tokens: Tensor) -> Tensor:
        return self._family.embed_texts(self._model, tokens)
