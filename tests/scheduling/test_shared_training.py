"""Ray Train workers that share one model: the same step, and the same weights but for rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from torch import Tensor, nn

from tests.tiny import ensure
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.core.errors import NonFiniteLoss, StopRequested
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.families.moco import MoCo
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.scheduling.board import Board
from unlearn_ray.scheduling.cluster import cluster
from unlearn_ray.scheduling.training import run_under_ray_train
from unlearn_ray.scheduling.worker import WorkerConfig
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.once import Account, Done
from unlearn_ray.storage.store import open_store, unpack_tensors
from unlearn_ray.storage.tensors import MODEL
from unlearn_ray.train.training import new_model

pytestmark = pytest.mark.slow

# Rounding grows with the learning rate: at 0.06, initial weights that differ by 1e-7 of
# themselves end 0.03 apart.
SWEEP = """\
dataset: digits
forget_set: {random: {fraction: 0.1}}
model: {resnet8: {width: 8}}
family: moco
training: {epochs: 2, batch_size: 128, learning_rate: RATE}
methods: {finetune: }
resources: {training: {workers: WORKERS, cpu: 0.5}}
"""

Train = Callable[..., Done]


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("RAY_ADDRESS", raising=False)
        with cluster(None):
            yield


@pytest.fixture
def train(tmp_path: Path) -> Train:
    def train(workers: int, store: str, rate: float = 0.001, board: Any = None) -> Done:
        path = tmp_path / "sweep.yaml"
        path.write_text(SWEEP.replace("WORKERS", str(workers)).replace("RATE", str(rate)))
        sweep = load_sweep(path)
        opened = open_store(str(tmp_path / store))
        worker_config = WorkerConfig(
            opened.url, checkpoint_seconds=1e9, threads=1, gpu=0, identity=opened.identify()
        )
        told = Board.remote() if board is None else board
        return ensure(
            Pretrain(setting=sweep.setting, seed=0),
            opened,
            lambda step: run_under_ray_train(step, worker_config, sweep.resources.training, told),
            Account(sweep.name, accelerators=1.0),
        )

    return train


def assert_same_way(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The distance between two runs' weights is a hundredth of the way that they went."""
    model = new_model(ResNet8(width=8), MoCo(), Digits().info(), 0)
    assert found.keys() == expected.keys() == model.state_dict().keys()
    start, one, two = (
        nn.utils.parameters_to_vector(state[name] for name, _ in model.named_parameters())
        for state in (model.state_dict(), expected, found)
    )
    assert torch.dist(two, one) < 0.01 * torch.dist(one, start)
    for name in expected:
        if "running" in name or "queue" in name:
            torch.testing.assert_close(found[name], expected[name], rtol=0.01, atol=0.01)


def weights(done: Done, store: Path) -> dict[str, Tensor]:
    return unpack_tensors(open_store(str(store)).read_artifact(done.record, MODEL))[0]


def test_two_workers_train_what_one_trains(train: Train, tmp_path: Path) -> None:
    one, two = train(1, "one"), train(2, "two")
    assert one.ran
    assert two.ran
    assert one.record.key == two.record.key
    assert one.record.config == two.record.config
    assert one.record.result["iterations"] == two.record.result["iterations"] == 20
    assert two.record.result["loss"] == pytest.approx(one.record.result["loss"], rel=1e-3)
    assert_same_way(weights(two, tmp_path / "two"), weights(one, tmp_path / "one"))


def test_what_two_workers_leave_one_goes_on_with(train: Train, tmp_path: Path) -> None:
    board = Board.remote()
    ray.get(board.stop.remote())
    with pytest.raises(StopRequested):
        train(2, "stopped", board=board)
    resumed, whole = train(1, "stopped"), train(1, "one")
    assert resumed.record.result["iterations"] == 20
    assert_same_way(weights(resumed, tmp_path / "stopped"), weights(whole, tmp_path / "one"))


def test_divergence_is_the_outcome_of_all_workers(train: Train) -> None:
    with pytest.raises(NonFiniteLoss, match="lower the learning rate"):
        train(2, "diverged", rate=1e30)
