"""One, two or four workers on one model: the same losses, the same weights."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.workers import in_workers, noted
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.collective import (
    average,
    gather_objects,
    gather_rows,
    on_every,
    on_first,
    own_rows,
    rank,
    sharing,
    world_size,
)
from unlearn_ray.core.errors import DataError, NonFiniteLoss, StopRequested, StoreError
from unlearn_ray.core.recipe import Player, Recipe
from unlearn_ray.data.base import Split
from unlearn_ray.families.base import ContrastiveFamily, Family, InfoNCE
from unlearn_ray.families.byol import BYOL
from unlearn_ray.families.clip import CLIP
from unlearn_ray.families.moco import MoCo
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.families.simsiam import SimSiam
from unlearn_ray.families.split_batch_norm import SplitBatchNorm2d
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.methods.alignment_calibration import AlignmentCalibration
from unlearn_ray.methods.l1_sparsity import L1Sparsity
from unlearn_ray.methods.neggrad import NegGrad
from unlearn_ray.steps.runtime import StoredCheckpoints
from unlearn_ray.storage.store import open_store
from unlearn_ray.testing.toy import TwoLayerBackbone, random_tokens
from unlearn_ray.train import loop
from unlearn_ray.train.checkpoint_clock import CheckpointClock
from unlearn_ray.train.compute import Compute, Stopwatch
from unlearn_ray.train.loop import Progress, Training, optimise
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.shared_batch_norm import SharedBatchNorm, share_batch_norm
from unlearn_ray.train.training import train_from_scratch
from unlearn_ray.train.unlearning import unlearn

WORLD_SIZES = (2, 4)
COMPUTE = Compute.cpu()
COUNT = 56
# In float64. Rounding differs from the first update on; 20 updates make 1e-16 larger.
TOLERANCE = 1e-9
STOPPED_AFTER = 5


class Captioned(CLIP):
    """Gives every image its caption."""

    def info_nce(self, model: nn.Module, batch: Batch) -> InfoNCE:
        captions = random_tokens(COUNT, torch.Generator().manual_seed(4))
        return super().info_nce(model, replace(batch, texts=captions[batch.ids]))


FAMILIES: dict[str, Family] = {
    "simclr": SimCLR(projection_size=16),
    "moco": MoCo(projection_size=16, queue_size=40, batch_norm_groups=4),
    "byol": BYOL(hidden_size=16, projection_size=8, momentum=0.9),
    "simsiam": SimSiam(projection_size=16, bottleneck_size=8),
    "supervised": Supervised(embedding_size=16),
    "clip": Captioned(embedding_size=8, text_width=8, text_heads=2, text_layers=2),
}
# 16 is shared evenly, with whole groups of MoCo's batch norm on each worker, and leaves a batch
# of 8; 17 is not, and leaves one of 5.
BATCH_SIZES = (16, 17)
SPLIT = Split(
    validation=np.arange(0),
    forget=np.arange(0, COUNT, 4),
    retain=np.delete(np.arange(COUNT), np.s_[::4]),
)


class Precise(TwoLayerBackbone):
    """In float64; views are float32."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.double())


def images() -> ResidentData:
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (COUNT, 8, 8, 3), dtype=torch.uint8, generator=noise)
    labels = torch.randint(0, 10, (COUNT,), generator=noise)
    return ResidentData(pixels, labels, pixels, labels, 10)


def new_model(family: Family) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = family.build(Precise(), 10).double()
        for name, weight in model.named_parameters():
            # The keys' part has no gradient: the sign that l1_sparsity takes of a zero would be
            # that of a rounding.
            if name.endswith("in_proj_bias"):
                nn.init.normal_(weight)
    return model


def run(family: Family, batch_size: int) -> dict[str, Tensor]:
    """Pretraining, and two methods from there: all losses and final weights."""
    data = images()
    losses: list[float] = []

    def tell(progress: Progress) -> None:
        losses.append(progress.loss)

    original = new_model(family)
    recipe = Recipe(epochs=4, batch_size=batch_size, last_batch="keep")
    train_from_scratch(
        original, family, recipe, data, np.arange(COUNT), seed=1, compute=COMPUTE, on_progress=tell
    )
    found = {f"original/{name}": value for name, value in original.state_dict().items()}
    mixed = AlignmentCalibration if isinstance(family, ContrastiveFamily) else NegGrad
    for method in (
        mixed(epochs=2, batch_size=batch_size, last_batch="keep"),
        L1Sparsity(epochs=2, batch_size=batch_size, last_batch="keep", coefficient=1e-3),
    ):
        model = new_model(family)
        model.load_state_dict(original.state_dict())
        unlearn(
            model, family, method, data, SPLIT, seed=2, compute=COMPUTE,
            make_model=lambda _: new_model(family), on_progress=tell,
        )  # fmt: skip
        found |= {f"{method.name}/{name}": value for name, value in model.state_dict().items()}
    return {**found, "losses": torch.tensor(losses, dtype=torch.float64)}


def run_until_stopped(folder: Path, family: Family, stop_after: int | None) -> dict[str, Tensor]:
    """Pretraining with checkpoints in `folder`, resumed if there are some."""

    def tell(progress: Progress) -> None:
        assert rank() == 0
        if progress.iteration == stop_after:
            raise StopRequested("run", "stopped", "go on")

    model = new_model(family)
    checkpoints = StoredCheckpoints(open_store(str(folder)), "0" * 16, 1e9, at_end=False)
    recipe = Recipe(epochs=4, batch_size=16, last_batch="keep")
    train_from_scratch(
        model, family, recipe, images(), np.arange(COUNT), seed=1, compute=COMPUTE,
        checkpoints=checkpoints, on_progress=tell,
    )  # fmt: skip
    return dict(model.state_dict())


def everything(folder: Path) -> None:
    """What each world size computes; files of worker r are in folder/r."""
    loop.PROGRESS_SECONDS = 0.0
    own = folder / str(world_size()) / str(rank())
    own.mkdir(parents=True)
    for name, family in FAMILIES.items():
        for batch_size in BATCH_SIZES:
            torch.save(run(family, batch_size), own / f"{name}-{batch_size}.pt")
        with pytest.raises(StopRequested, match="stopped"):
            run_until_stopped(folder / f"{name}-stopped-by-{world_size()}", family, STOPPED_AFTER)


def worker(folder: Path) -> None:
    everything(folder)
    for name, family in FAMILIES.items():
        copied = folder / f"{name}-stopped-by-1-for-{world_size()}"
        resumed = run_until_stopped(copied, family, None)
        torch.save(resumed, folder / str(world_size()) / str(rank()) / f"{name}-resumed.pt")
    noted(CHECKS, folder / str(world_size()) / str(rank()) / "checks")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "PROGRESS_SECONDS", 0.0)
        everything(folder)
    for count in WORLD_SIZES:
        for name in FAMILIES:
            stopped = folder / f"{name}-stopped-by-1"
            shutil.copytree(stopped, folder / f"{name}-stopped-by-1-for-{count}")
        in_workers(count, partial(worker, folder))
    return folder


def saved(results: Path, workers: int, worker: int, name: str) -> dict[str, Tensor]:
    return torch.load(results / str(workers) / str(worker) / f"{name}.pt", weights_only=True)


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=TOLERANCE, atol=TOLERANCE, msg=f"{name}: {{}}".format
        )


@pytest.mark.parametrize("workers", WORLD_SIZES)
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_weights_do_not_depend_on_the_workers(
    results: Path, family: str, batch_size: int, workers: int
) -> None:
    name = f"{family}-{batch_size}"
    expected = saved(results, 1, 0, name)
    found = saved(results, workers, 0, name)
    # The last report of each of the three runs is told twice.
    assert len(expected["losses"]) == 16 + 8 + 6 + 3
    assert_near(found, expected)
    for other in range(1, workers):
        theirs = saved(results, workers, other, name)
        assert len(theirs["losses"]) == 0, "only worker 0 tells"
        assert all(torch.equal(theirs[key], found[key]) for key in found if key != "losses")


@pytest.mark.parametrize("workers", WORLD_SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_is_resumed_by_another_number_of_workers(
    results: Path, family: str, workers: int
) -> None:
    whole = {
        name.removeprefix("original/"): value
        for name, value in saved(results, 1, 0, f"{family}-16").items()
        if name.startswith("original/")
    }
    assert_near(saved(results, workers, 0, f"{family}-resumed"), whole)
    stopped = results / f"{family}-stopped-by-{workers}"
    found = open_store(str(stopped)).latest_checkpoint("0" * 16)
    assert found is not None
    assert found[0] == STOPPED_AFTER
    assert_near(run_until_stopped(stopped, FAMILIES[family], None), whole)


def shares(count: int) -> int:
    """How many workers share so many rows; fewer rows than workers are computed by all."""
    return world_size() if count >= world_size() else 1


def check_gathered_rows_and_their_gradient(count: int) -> None:
    noise = torch.Generator().manual_seed(count)
    whole = torch.randn(count, 3, dtype=torch.float64, generator=noise, requires_grad=True)
    weight = torch.randn(3, 4, dtype=torch.float64, generator=noise, requires_grad=True)

    def loss(rows: Tensor, weight: Tensor) -> Tensor:
        # The norm stands for what every worker computes by itself.
        return (rows @ rows.T).tanh().sum() + weight.abs().sum()

    expected = torch.autograd.grad(loss(whole @ weight, weight), (whole, weight))
    own = whole.detach()[own_rows(count)].requires_grad_()
    gathered = gather_rows(own @ weight, count)
    assert torch.equal(gathered, whole.detach() @ weight.detach())
    by_rows, by_weight = torch.autograd.grad(loss(gathered, weight), (own, weight))
    torch.testing.assert_close(by_rows / shares(count), expected[0][own_rows(count)])
    average([by_weight])
    torch.testing.assert_close(by_weight, expected[1])


def check_batch_norm(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    noise = torch.Generator().manual_seed(1)
    plain = make().double()
    with torch.no_grad():
        for value in (plain.weight, plain.bias, plain.running_mean, plain.running_var):
            value.copy_(torch.rand(value.shape, generator=noise) + 0.5)
    holder = nn.Sequential(copy.deepcopy(plain))
    share_batch_norm(holder)
    shared = holder[0]
    assert isinstance(shared, SharedBatchNorm)
    own = own_rows(shape[0])
    for _ in range(2):
        whole = 3 + 2 * torch.randn(shape, dtype=torch.float64, generator=noise)
        if len(shape) == 4:
            whole = whole.contiguous(memory_format=torch.channels_last)
        target = torch.randn(shape, dtype=torch.float64, generator=noise)
        mine = whole[own].clone().requires_grad_()
        whole.requires_grad_()
        expected = plain(whole)
        ((expected - target) ** 3).sum().backward()
        with sharing(shape[0]):
            found = shared(mine)
        torch.testing.assert_close(found, expected[own])
        if len(shape) == 4:
            assert found.is_contiguous(memory_format=torch.channels_last)
        ((gather_rows(found, shape[0]) - target) ** 3).sum().backward()
        torch.testing.assert_close(mine.grad / shares(shape[0]), whole.grad[own])
    average([shared.weight.grad, shared.bias.grad])
    torch.testing.assert_close(shared.weight.grad, plain.weight.grad)
    torch.testing.assert_close(shared.bias.grad, plain.bias.grad)
    assert_near(shared.state_dict(), plain.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(shared.eval()(mine), plain.eval()(mine))


def check_float32_batch_norm_far_from_zero() -> None:
    """Where a difference of sums of squares would have no digit left."""
    noise = torch.Generator().manual_seed(1)
    whole = 3000 + torch.randn(64, 5, generator=noise)
    holder = nn.Sequential(nn.BatchNorm1d(5))
    share_batch_norm(holder)
    expected = nn.BatchNorm1d(5).double()(whole.double())
    with sharing(64):
        found = holder(whole[own_rows(64)])
    torch.testing.assert_close(found.double(), expected[own_rows(64)], rtol=1e-3, atol=1e-3)


def check_an_error_of_the_first_is_everybodys() -> None:
    ran = []

    def fails() -> None:
        ran.append(rank())
        raise StoreError("store", "is full", "make room")

    with pytest.raises(StoreError, match="make room"):
        on_first(fails)
    assert ran == ([0] if rank() == 0 else [])
    assert on_first(lambda: rank() + 7) == 7


def check_an_error_of_one_is_everybodys() -> None:
    def fails_on_the_last() -> int:
        if rank() == world_size() - 1:
            raise DataError("images", "are not on this machine", "copy them")
        return rank()

    with pytest.raises(DataError, match="copy them"):
        on_every(fails_on_the_last)
    assert on_every(rank) == rank()


def check_clocks_that_differ_lead_to_one_decision() -> None:
    moments = CheckpointClock(0, save_seconds=0.02, tell_seconds=0.05)
    decisions = []
    for done in range(1, 201):
        time.sleep(0.001 * (1 + rank()))
        save, tell = moments.after(done)
        if save:
            moments.saved()
        decisions.append((save, tell))
    assert any(save for save, _ in decisions)
    assert any(tell for _, tell in decisions)
    assert on_first(lambda: decisions) == decisions
    # Looks are about as far apart as reports, not after every update.
    assert not all(tell for _, tell in decisions)


def check_divergence_ends_all() -> None:
    family = FAMILIES["simclr"]
    recipe = Recipe(epochs=50, batch_size=16, learning_rate=1e200, schedule="constant")
    with pytest.raises(NonFiniteLoss, match="lower the learning rate"):
        train_from_scratch(
            new_model(family), family, recipe, images(), np.arange(COUNT), seed=1, compute=COMPUTE
        )


def check_a_few_labels_are_gathered() -> None:
    labels = torch.tensor([7, 3, 9])[: world_size() - 1]
    assert torch.equal(gather_rows(labels, len(labels)), labels)


@dataclass
class Memory:
    """The newest checkpoint; only worker 0 saves."""

    seconds_between: float = 0.0
    at_end: bool = True
    newest: tuple[dict[str, Tensor], dict[str, str]] | None = None

    def load(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        return self.newest

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        self.newest = tensors, metadata


def check_a_checkpoint_tells_the_seconds_of_all() -> None:
    """Whatever number of workers goes on, what was computed before is counted once."""
    memory, watch = Memory(), Stopwatch(COMPUTE, seconds=100.0 * (rank() + 1))
    before = 100.0 * sum(range(1, world_size() + 1))

    def run(watch: Stopwatch) -> float:
        model = nn.Linear(2, 1)
        player = Player(
            model,
            Recipe(epochs=1, batch_size=4),
            lambda iteration: model(torch.ones(4, 2)).square().mean(),
        )
        training = Training((player,), count=4, seed=0)
        return optimise(training, COMPUTE, checkpoints=memory, stopwatch=watch).seconds

    run(watch)
    if rank() == 0:
        assert memory.newest is not None
        assert float(memory.newest[1]["seconds"]) == pytest.approx(before, abs=10)
    resumed = sum(gather_objects(run(Stopwatch(COMPUTE, seconds=7000.0))))
    assert resumed == pytest.approx(before, abs=10)


def split(groups: int) -> nn.Module:
    return SplitBatchNorm2d(5, groups, eps=1e-5, momentum=0.3)


def activating() -> nn.Module:
    """A layer with an activation of its own, as in timm's networks."""
    import unlearn_ray.core.torchvision_import  # noqa: F401

    # isort: split
    from timm.layers import BatchNormAct2d

    layer: nn.Module = BatchNormAct2d(5, momentum=0.3, act_layer=nn.SiLU)
    return layer


CHECKS: dict[str, Callable[[], None]] = {
    **{
        f"gathered rows of {count}": partial(check_gathered_rows_and_their_gradient, count)
        for count in (1, 2, 3, 4, 7, 16)
    },
    **{
        f"batch norm of {count} vectors": partial(
            check_batch_norm, partial(nn.BatchNorm1d, 5), (count, 5)
        )
        for count in (2, 3, 4, 7, 16)
    },
    **{
        f"batch norm of {count} images": partial(
            check_batch_norm, partial(nn.BatchNorm2d, 5, momentum=0.3), (count, 5, 3, 3)
        )
        for count in (1, 2, 3, 4, 7, 16)
    },
    **{
        f"{groups} groups of {count} images": partial(
            check_batch_norm, partial(split, groups), (count, 5, 3, 3)
        )
        for groups in (2, 3, 4, 8)
        for count in (1, 3, 7, 16, 18)
    },
    "batch norm with an activation": partial(check_batch_norm, activating, (7, 5, 3, 3)),
    "float32 far from zero": check_float32_batch_norm_far_from_zero,
    "error of the first": check_an_error_of_the_first_is_everybodys,
    "error of one": check_an_error_of_one_is_everybodys,
    "clocks that differ": check_clocks_that_differ_lead_to_one_decision,
    "divergence": check_divergence_ends_all,
    "a few labels": check_a_few_labels_are_gathered,
    "seconds of all": check_a_checkpoint_tells_the_seconds_of_all,
}


@pytest.mark.parametrize("workers", WORLD_SIZES)
@pytest.mark.parametrize("check", CHECKS)
def test_workers_agree_with_one(results: Path, check: str, workers: int) -> None:
    for worker in range(workers):
        raised = (results / str(workers) / str(worker) / "checks" / check).read_text()
        assert not raised, f"worker {worker}: {raised}"
