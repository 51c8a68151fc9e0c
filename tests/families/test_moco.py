"""MoCo against loops in float64: keys, queue, momentum, shuffle."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.families.moco import MoCo, MoCoModel
from unlearn_ray.families.split_batch_norm import SplitBatchNorm2d
from unlearn_ray.testing.toy import ToySamples, TwoLayerBackbone, random_batch


def model_of(family: MoCo, seed: int = 0) -> MoCoModel:
    torch.manual_seed(seed)
    model = family.build(TwoLayerBackbone(), 10).double()
    assert isinstance(model, MoCoModel)
    return model


def diverge(model: MoCoModel) -> None:
    """Let the key encoder differ from the query encoder, as in the middle of training."""
    with torch.no_grad():
        for weight in model.key_backbone.parameters():
            weight.add_(0.3 * torch.randn_like(weight))


def unit(row: Tensor) -> list[float]:
    length = math.sqrt(sum(float(x) ** 2 for x in row))
    return [float(x) / length for x in row]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def naive_keys(model: MoCoModel, batch: Batch) -> list[list[float]]:
    """Keys group by group, with plain batch norm in place of the split one."""
    generator = torch.Generator()
    generator.set_state(batch.generator.get_state())
    order = torch.randperm(batch.size, generator=generator).tolist()
    plain = TwoLayerBackbone().double()
    plain.load_state_dict(model.key_backbone.state_dict())
    keys: dict[int, list[float]] = {}
    for group in torch.tensor(order).tensor_split(model.backbone.bn.groups):
        with torch.no_grad():
            rows = model.key_projection(plain(batch.views[1][group]))
        keys |= {int(image): unit(row) for image, row in zip(group, rows, strict=True)}
    return [keys[image] for image in range(batch.size)]


def test_pieces_and_criterion_equal_loops() -> None:
    family = MoCo(temperature=0.3, projection_size=4, queue_size=9, batch_norm_groups=2)
    model = model_of(family)
    diverge(model)
    batch = random_batch(6, (0, 3), dtype=torch.float64)
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for key, query in zip(
            moved.key_backbone.parameters(), moved.backbone.parameters(), strict=True
        ):
            key.copy_(0.99 * key + 0.01 * query)
    keys = naive_keys(moved, batch)
    queries = [unit(row) for row in copy.deepcopy(model).queries(batch).detach()]
    queue = [[float(x) for x in row] for row in model.queue]
    pieces = family.info_nce(model, batch)
    for anchor in range(6):
        positive = dot(queries[anchor], keys[anchor]) / 0.3
        terms = [positive] + [dot(queries[anchor], old) / 0.3 for old in queue]
        assert pieces.positive[anchor].item() == pytest.approx(positive)
        expected = math.log(sum(math.exp(term) for term in terms))
        assert pieces.log_sum_exp[anchor].item() == pytest.approx(expected)
        for candidate in range(6):
            expected = dot(queries[anchor], keys[candidate]) / 0.3
            assert pieces.similarities[anchor, candidate].item() == pytest.approx(expected)
            assert pieces.same_image[anchor, candidate].item() == (anchor == candidate)
    loss = (pieces.log_sum_exp - pieces.positive).mean()
    assert torch.equal(pieces.losses.loss.mean(), loss)
    assert pieces.is_forget.tolist() == [True, False, False, True, False, False]
    torch.testing.assert_close(model.queue[:6], torch.tensor(keys, dtype=torch.float64))
    assert model.queue[6:].tolist() == queue[6:]


def test_figures_of_the_paper() -> None:
    family = MoCo()
    assert (family.temperature, family.queue_size, family.momentum) == (0.1, 4096, 0.99)
    model = family.build(TwoLayerBackbone(feature_size=512), 10)
    assert [tuple(w.shape) for w in model.projection.parameters()] == [(128, 512), (128,)]
    assert model.queue.shape == (4096, 128)
    torch.testing.assert_close(model.queue.norm(dim=1), torch.ones(4096))
    assert isinstance(model.backbone.bn, SplitBatchNorm2d)
    assert isinstance(model.key_backbone.bn, SplitBatchNorm2d)
    assert model.backbone.bn.groups == model.key_backbone.bn.groups == 8


def test_key_encoder_starts_equal_and_is_never_trained() -> None:
    model = MoCo().build(TwoLayerBackbone(), 10)
    for name, weight in model.key_backbone.named_parameters():
        assert torch.equal(weight, model.backbone.get_parameter(name))
        assert not weight.requires_grad
    family = MoCo()
    family.criterion(model, random_batch(16)).backward()
    assert all(weight.grad is None for weight in model.key_backbone.parameters())
    assert all(weight.grad is not None for weight in model.backbone.parameters())


def test_key_encoder_follows_before_keys_are_made() -> None:
    family = MoCo(momentum=0.0, batch_norm_groups=1)
    model = model_of(family)
    diverge(model)
    batch = random_batch(8, dtype=torch.float64)
    same = replace(batch, views=(batch.views[0], batch.views[0]))
    pieces = family.info_nce(model, same)
    # With momentum 0 the key encoder is the query encoder: the same image gives the same vector.
    torch.testing.assert_close(pieces.positive, torch.full((8,), 10.0, dtype=torch.float64))


@pytest.mark.parametrize("frozen", ["eval", "no_grad"])
def test_looking_advances_nothing(frozen: str) -> None:
    family = MoCo(queue_size=16)
    model = model_of(family)
    diverge(model)
    if frozen == "eval":
        model.eval()
    before = copy.deepcopy(model.state_dict())
    with torch.set_grad_enabled(frozen == "eval"):
        family.info_nce(model, random_batch(6, dtype=torch.float64))
    after = model.state_dict()
    kept = ["queue", "queue_pointer", *(name for name, _ in model.named_parameters())]
    assert all(torch.equal(before[name], after[name]) for name in kept)


def test_training_advances_once_per_call() -> None:
    family = MoCo(queue_size=16, momentum=0.9)
    model = model_of(family)
    diverge(model)
    for calls in (1, 2):
        before = [weight.clone() for weight in model.key_backbone.parameters()]
        family.info_nce(model, random_batch(6, dtype=torch.float64))
        assert int(model.queue_pointer) == 6 * calls
        for old, key, query in zip(
            before, model.key_backbone.parameters(), model.backbone.parameters(), strict=True
        ):
            torch.testing.assert_close(key, 0.9 * old + 0.1 * query)


class Recorder(nn.Module):
    """Notes the images that pass, and hands out their first pixel."""

    feature_size = 3

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return images[:, :, 0, 0]


def test_shuffle_changes_groups_but_not_the_rows_of_keys() -> None:
    model = MoCoModel(Recorder(), projection_size=3, queue_size=4, batch_norm_groups=2).double()
    batch = random_batch(16, dtype=torch.float64)
    images = batch.views[1]
    keys = model.keys(batch)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    assert torch.equal(model.key_backbone.seen[-1], images[order])
    assert set(order[:8].tolist()) != set(range(8))
    expected = nn.functional.normalize(model.key_projection(images[:, :, 0, 0]), dim=1)
    torch.testing.assert_close(keys, expected.detach())


def test_shuffled_images_keep_their_memory_layout() -> None:
    model = MoCoModel(Recorder(), projection_size=3, queue_size=4, batch_norm_groups=2)
    batch = random_batch(16)
    model.keys(batch)
    assert model.key_backbone.seen[-1].is_contiguous(memory_format=torch.channels_last)


def test_same_seeds_same_training() -> None:
    def run() -> dict[str, Tensor]:
        family = MoCo(queue_size=12)
        model = model_of(family, seed=2)
        optimiser = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.1)
        for iteration in range(3):
            family.criterion(model, random_batch(8, seed=iteration, dtype=torch.float64)).backward()
            optimiser.step()
            optimiser.zero_grad()
        return model.state_dict()

    first, again = run(), run()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_training_resumes_from_the_state_dict_alone() -> None:
    family = MoCo(queue_size=12)
    model = model_of(family)
    family.info_nce(model, random_batch(8, dtype=torch.float64))
    resumed = model_of(family, seed=9)
    resumed.load_state_dict(model.state_dict())
    expected = family.info_nce(model, random_batch(8, seed=3, dtype=torch.float64))
    result = family.info_nce(resumed, random_batch(8, seed=3, dtype=torch.float64))
    assert torch.equal(expected.losses.loss, result.losses.loss)
    assert torch.equal(model.queue, resumed.queue)


def test_pieces_are_float32_under_autocast() -> None:
    family = MoCo(queue_size=32)
    torch.manual_seed(0)
    model = family.build(TwoLayerBackbone(), 10)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pieces = family.info_nce(model, random_batch(8))
    assert pieces.similarities.dtype == pieces.log_sum_exp.dtype == torch.float32
    assert model.queue.dtype == torch.float32
    torch.testing.assert_close(model.queue.norm(dim=1), torch.ones(32), rtol=1e-6, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", ["alignment_calibration", "neggrad", "l1_sparsity"])
def test_an_iteration_never_waits_for_the_device(method: str) -> None:
    from unlearn_ray.core.registry import find
    from unlearn_ray.methods.base import Method, Task

    family = MoCo()
    model = family.build(TwoLayerBackbone(), 10).cuda()
    batch = random_batch(32, (1, 2, 3), device="cuda")
    task = Task(family, ToySamples(90, 10))
    part = find(Method, method)()
    part.loss(model, batch, task).backward()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        part.loss(model, batch, task).backward()
        torch.ones(1, device="cuda").item()
        torch.cuda.set_sync_debug_mode("default")
    # The only one is the `.item()` above, which shows that the check itself works.
    assert len([w for w in caught if "synchronizing" in str(w.message)]) == 1
