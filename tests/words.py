"""A family that reads captions word by word, and images with captions in COCO's format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import gather_rows, own_rows
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.schema import schema
from unlearn_ray.families.base import AnchorLosses, Family

CONTEXT, VOCABULARY = 12, 1 << 15


@schema
class Words(Family):
    """Pulls an image's features to the mean of its caption's words.

    Attributes:
        weight: of the distance.
    """

    name: ClassVar[str] = "words"
    views: ClassVar[int] = 1
    reads_captions: ClassVar[bool] = True

    weight: float = 1.0

    def build(self, backbone: nn.Module, num_classes: int) -> nn.Module:
        model = nn.Module()
        model.backbone = backbone
        model.words = nn.Embedding(VOCABULARY, backbone.feature_size)  # type: ignore[arg-type]
        return model

    def embed_images(self, model: nn.Module, images: Tensor) -> Tensor:
        assert isinstance(model.backbone, nn.Module)
        return functional.normalize(model.backbone(images))

    def embed_texts(self, model: nn.Module, tokens: Tensor) -> Tensor:
        assert isinstance(model.words, nn.Embedding)
        return functional.normalize((model.words(tokens) * (tokens > 0)[..., None]).sum(1))

    def cosine_scale(self, model: nn.Module) -> float:
        return self.weight

    def tokenise(self, captions: Sequence[str]) -> Tensor:
        rows = torch.zeros(len(captions), CONTEXT, dtype=torch.int64)
        for row, caption in zip(rows, captions, strict=True):
            words = [1 + stable_seed(word) % (VOCABULARY - 1) for word in caption.split()]
            if not 0 < len(words) <= CONTEXT:
                raise DataError(
                    f"caption {caption!r}", f"has {len(words)} words", f"write 1 to {CONTEXT}"
                )
            row[: len(words)] = torch.tensor(words)
        return rows

    def anchor_losses(self, model: nn.Module, batch: Batch) -> AnchorLosses:
        assert batch.texts is not None
        assert batch.texts.shape == (batch.size, CONTEXT)
        own = batch.texts[own_rows(batch.size)]
        images, texts = (
            gather_rows(rows, batch.size)
            for rows in (
                self.embed_images(model, batch.view(0)),
                self.embed_texts(model, own),
            )
        )
        loss = self.weight * (1 - (images * texts).sum(1))
        return AnchorLosses(loss=loss, is_forget=batch.is_forget)


def coco(captions: dict[str, Sequence[str]], first_id: int = 7) -> dict[str, Any]:
    """COCO's format: captions by file name."""
    numbers = {name: first_id + place for place, name in enumerate(captions)}
    return {
        "images": [{"id": number, "file_name": name} for name, number in numbers.items()],
        "annotations": [
            {"id": 0, "image_id": numbers[name], "caption": caption}
            for name, of_image in captions.items()
            for caption in of_image
        ],
    }


def coco_files(folder: Path, counts: dict[str, int]) -> dict[str, Any]:
    """Noise as photographs with two captions each; returns the fields of `coco_captions`."""
    noise = np.random.RandomState(0)
    fields: dict[str, Any] = {}
    for part, count in counts.items():
        (folder / part).mkdir(parents=True)
        captions: dict[str, Sequence[str]] = {}
        # Not in the order of their names.
        for number in reversed(range(count)):
            name = f"{number:03}.jpg"
            pixels = noise.randint(0, 256, (9, 7, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / part / name)
            captions[name] = (f"picture {number} of {part}", f"noise  number\n{number} ")
        (folder / f"{part}.json").write_text(json.dumps(coco(captions)))
        fields |= {
            f"{part}_captions": str(folder / f"{part}.json"),
            f"{part}_images": str(folder / part),
        }
    return fields
