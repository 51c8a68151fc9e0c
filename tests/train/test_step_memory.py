"""Memory of a step, as planned, against what tensors take during an update."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unlearn_ray.methods.adversarial import Adversarial
from unlearn_ray.models.base import Model
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.models.vit import ViT
from unlearn_ray.train.step_memory import sizes, step_memory

IMAGES = 32


class Peak(TorchDispatchMode):
    """Bytes of all tensors that were made within it and live, and their most."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[StorageWeakRef, int]] = []
        self.most = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        self.note(tree_leaves(made))
        return made

    def note(self, tensors: Iterable[Any]) -> None:
        self.made = [(each, size) for each, size in self.made if not each.expired()]
        known = {each.cdata for each, _ in self.made}
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                reference = StorageWeakRef(storage)
                if reference.cdata not in known:
                    known.add(reference.cdata)
                    self.made.append((reference, storage.nbytes()))
        self.most = max(self.most, sum(size for _, size in self.made))


@pytest.mark.parametrize(
    ("model", "size"),
    [(ResNet8(width=16), 32), (ViT(patch=8, layers=2, heads=2, width=64), 32)],
    ids=["conv", "vit"],
)
def test_an_update_needs_what_is_estimated(model: Model, size: int) -> None:
    backbone = model.build(size).train()
    images = torch.zeros(IMAGES, 3, size, size)
    with Peak() as peak:
        functional.normalize(backbone(images)).sum().backward()
    weights, _ = sizes(model, size)
    # An update also has the weights, and what its optimizer keeps of them.
    expected = step_memory(model, size, half=0, full=IMAGES) - 4 * weights
    assert 0.6 * expected < peak.most < 1.7 * expected


def test_half_precision_copies_and_data() -> None:
    model = ResNet8(width=8)
    weights, activations = sizes(model, 32)
    assert weights == 4 * sum(weight.numel() for weight in model.build(32).parameters())
    before = torch.get_rng_state()
    assert step_memory(model, 32, half=8) == 5 * weights + 4 * activations
    assert step_memory(model, 32, half=8, full=3, copies=2, data=7) == (
        7 * weights + 7 * activations + 7
    )
    assert torch.equal(torch.get_rng_state(), before)


def test_a_method_that_repeats_its_forward_passes_keeps_few_images() -> None:
    assert Adversarial(batch_size=256).images_kept() == (256, 768)
    assert Adversarial(batch_size=256, through_sensitivity=False).images_kept() == (256, 512)
    assert Adversarial(epochs=0).images_kept() == (0, 0)
