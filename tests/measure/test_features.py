"""Blocks of few shapes, and how the views of a probe are rounded on a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.measure.test_inference import watch
from unlearn_ray.core.precision import rounds_to_tf32
from unlearn_ray.measure import features
from unlearn_ray.measure.features import BLOCK, in_blocks, whole_block
from unlearn_ray.measure.probe import Probe
from unlearn_ray.testing.toy import TwoLayerBackbone


@pytest.mark.parametrize(
    ("rows", "size"),
    [(1, 32), (32, 32), (33, 64), (BLOCK // 2 + 1, BLOCK), (BLOCK - 1, BLOCK), (BLOCK, BLOCK)],
)
def test_a_block_is_filled_up_without_changing_its_rows(rows: int, size: int) -> None:
    torch.manual_seed(rows)
    model, images = TwoLayerBackbone().eval(), torch.rand(rows, 3, 8, 8)
    whole = whole_block(images)
    assert whole.shape == (size, 3, 8, 8)
    assert torch.equal(whole[:rows], images)
    with torch.no_grad():
        torch.testing.assert_close(model(whole)[:rows], model(images))


def test_an_empty_block_stays_empty() -> None:
    assert whole_block(torch.rand(0, 3, 8, 8)).shape == (0, 3, 8, 8)


def test_every_block_on_a_gpu_has_one_of_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[int] = []

    def output(images: Tensor) -> Tensor:
        shapes.append(len(images))
        return images.flatten(1)[:, :2]

    images = torch.rand(BLOCK + 5, 3, 2, 2)
    plain = in_blocks(nn.Module(), torch.arange(BLOCK + 5), images.__getitem__, output, "images")
    assert shapes == [BLOCK, 5]
    shapes.clear()
    monkeypatch.setattr(features, "_SHAPED", ("cpu",))
    same = in_blocks(nn.Module(), torch.arange(BLOCK + 5), images.__getitem__, output, "images")
    assert shapes == [BLOCK, 32]
    assert torch.equal(plain, same)


def test_only_a_probes_views_are_rounded_to_tf32() -> None:
    rounded: dict[bool, list[bool]] = {True: [], False: []}

    def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
        rounded[len(inputs[0]) == 7].append(all(rounds_to_tf32()))

    watched = watch(probe=Probe(epochs=1, batch_size=7, features="augmented"))
    watched.model.backbone.register_forward_pre_hook(note)
    watched.inference.logits("test")
    watched.inference.view_features("forget", 2, 5)
    assert rounded[True]
    assert all(rounded[True])
    assert rounded[False]
    assert not any(rounded[False])
