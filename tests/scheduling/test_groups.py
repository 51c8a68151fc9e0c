"""Worker groups of Ray Train that train one step after another."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.scheduling.nodes import small_ray, titled
from tests.scheduling.sweeps import environment_of, marked
from tests.scheduling.test_kill import checkpoints
from tests.tiny import ensure, run, runtime
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.core.errors import NonFiniteLoss, WorkersLost
from unlearn_ray.scheduling.board import Board
from unlearn_ray.scheduling.training import end_groups, run_under_ray_train
from unlearn_ray.scheduling.worker import WorkerConfig
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.once import Account, Done
from unlearn_ray.storage.store import open_store
from unlearn_ray.storage.tensors import MODEL

pytestmark = pytest.mark.slow

SWEEP = """\
dataset: {{digits: {{image_size: 8}}}}
forget_set: {{random: {{fraction: 0.1}}}}
model: {{resnet8: {{width: 4}}}}
family: supervised
training: {{epochs: {epochs}, batch_size: 512, learning_rate: {rate}}}
methods: {{finetune: }}
resources: {{training: {{retries: 1}}}}
"""
# Epochs of a training that can be met at work.
LONG = 100


@pytest.fixture(scope="module")
def mark() -> Iterator[str]:
    """A Ray of two CPUs, and the mark of its processes."""
    mark = uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as environment:
        for name, value in environment_of(mark).items():
            environment.setenv(name, value)
        with small_ray(2):
            yield mark


class Trainings:
    """Trainings on Ray Train workers, in one store.

    Args:
        folder: of the store.
        mark: of Ray's processes.
    """

    def __init__(self, folder: Path, mark: str) -> None:
        self.folder = folder
        self.mark = mark
        self.store = open_store(str(folder / "store"))
        self.board: Any = Board.remote()

    def step(self, seed: int, epochs: int = 1, rate: float = 0.01) -> Pretrain:
        path = self.folder / "sweep.yaml"
        path.write_text(SWEEP.format(epochs=epochs, rate=rate))
        self.sweep = load_sweep(path)
        return Pretrain(setting=self.sweep.setting, seed=seed)

    def train(self, step: Pretrain) -> Done:
        identity = self.store.identify()
        config = WorkerConfig(self.store.url, 0.3, threads=1, gpu=0, identity=identity)
        execute = partial(
            run_under_ray_train,
            worker_config=config,
            resources=self.sweep.resources.training,
            board=self.board,
        )
        return ensure(step, self.store, execute, Account("groups", accelerators=1.0))

    def workers(self) -> set[int]:
        return set(titled(marked(self.mark), "RayTrainWorker"))

    def lose_worker(self, step: Pretrain) -> None:
        """Kill the worker after its next checkpoint, and wait until it is gone."""
        saved = max(checkpoints(self.store.url, step.key), default=0)
        wait_until(lambda: max(checkpoints(self.store.url, step.key), default=0) > saved)
        lost = self.workers()
        for pid in lost:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not lost & self.workers())


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def trainings(tmp_path: Path, mark: str) -> Iterator[Trainings]:
    made = Trainings(tmp_path, mark)
    yield made
    end_groups(made.board)
    # Ray would end this process, some time after it is shut down under a group.
    assert not [each.name for each in threading.enumerate() if each.name.startswith("group-")]


def test_steps_share_workers_and_train_as_in_a_new_process(
    trainings: Trainings, tmp_path: Path
) -> None:
    trainings.train(trainings.step(seed=0))
    first = trainings.workers()
    with pytest.raises(NonFiniteLoss):
        trainings.train(trainings.step(seed=1, rate=1e30))
    step = trainings.step(seed=2)
    done = trainings.train(step)
    assert trainings.workers() == first
    assert len(first) == 1
    assert len(titled(marked(trainings.mark), "TrainController")) == 1
    alone = run(step, runtime(tmp_path / "alone"))
    found, expected = (one.record.files[MODEL].sha256 for one in (done, alone))
    assert found == expected


def test_losses_count_for_the_step_that_suffers_them(trainings: Trainings) -> None:
    for seed in (0, 1):
        step = trainings.step(seed, epochs=LONG)
        killer = threading.Thread(target=trainings.lose_worker, args=(step,))
        killer.start()
        assert trainings.train(step).ran
        killer.join()


def test_a_step_that_loses_too_many_workers_is_lost(trainings: Trainings) -> None:
    trainings.train(trainings.step(seed=0))
    step = trainings.step(seed=1, epochs=LONG)

    def lose_two() -> None:
        for _ in range(2):
            trainings.lose_worker(step)

    killer = threading.Thread(target=lose_two)
    killer.start()
    with pytest.raises(WorkersLost, match="its workers failed"):
        trainings.train(step)
    killer.join()
