"""Nodes that come and go: killed, drained, told to end; nothing is lost and nothing runs twice."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from torch import Tensor

from tests.own_project import write_part
from tests.scheduling.conftest import Uninterrupted
from tests.scheduling.nodes import OPEN, Nodes, terminate, titled
from tests.scheduling.sweeps import (
    SWEEP,
    Driver,
    attempts,
    objects,
    rows,
    table,
    weights,
    write_sweep,
)
from tests.scheduling.test_kill import checkpoints, no_step_ran_twice
from tests.tiny import run, runtime
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.core.errors import Exit
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.storage.store import Record, Store, open_store, unpack_tensors
from unlearn_ray.storage.tensors import MODEL
from unlearn_ray.train.training import new_model

Found = TypeVar("Found")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """A head without CPUs, which runs no work, and three nodes."""
    with Nodes([0, 1, 1, 1]) as started:
        yield started


# What Ray calls the actor of a trial, idle and at work.
TRIAL = ("ray::Trial", "ray::ResourceTrainable")


def until_some(driver: Driver, look: Callable[[], Found | None], what: str) -> Found:
    """What `look` finds, as soon as it finds something."""
    found: list[Found] = []

    def looked() -> bool:
        seen = look()
        if seen is not None:
            found.append(seen)
        return seen is not None

    driver.until(looked, what)
    return found[0]


def started(nodes: Nodes, file: Path, store: str, *options: str) -> Driver:
    return Driver(file, store, "--address", nodes.address, *options, environment=OPEN)


def test_nodes_lost_in_pretraining_and_in_trials(
    tmp_path: Path, uninterrupted: Uninterrupted, nodes: Nodes
) -> None:
    store = uninterrupted.trained_references(tmp_path / "store", but_one=True)
    key = uninterrupted.one_pretraining
    with started(nodes, uninterrupted.file, store, "--set", "checkpoint_minutes=0.005") as driver:
        driver.until(lambda: len(checkpoints(store, key)) > 0, "a checkpoint of the pretraining")
        training = until_some(driver, lambda: nodes.where("RayTrainWorker"), "a training's node")
        training.kill()
        reached = max(checkpoints(store, key))
        then = objects(store, "records/")
        assert f"records/pretrain/{key}.json" not in then

        tuned = open_store(store).objects
        driver.until(lambda: any("tuning-" in n for n in tuned.names("rows/")), "the first trial")
        later = objects(store, "records/")
        trials = until_some(driver, lambda: nodes.where(*TRIAL), "a trial's actor")
        assert trials is not training
        trials.kill()
        driver.ends(0)
        assert rows(store) == uninterrupted.rows
        assert table(driver.out) == uninterrupted.table
        assert weights(store) == weights(uninterrupted.store)
    assert reached > 0
    assert open_store(store).objects.names("checkpoints/") == []
    no_step_ran_twice(store, then)
    no_step_ran_twice(store, later)
    assert attempts(store)[f"pretrain/{key}"] == 1


# Long enough to be met at work; checkpoints by the clock would come after an hour.
LONG = ("--set", "training.epochs=400", "--set", "checkpoint_minutes=60")


def pretraining(file: Path, store: str, *options: str) -> Pretrain:
    """The tuning seed's pretraining under these options."""
    overrides = [each for each in options if each != "--set"]
    sweep = load_sweep(file, overrides, store)
    return Pretrain(setting=sweep.setting, seed=sweep.seeds.tuning[0])


def at_work(driver: Driver) -> None:
    """Wait until the tuning seed's pretraining has told how far it is."""
    driver.until(lambda: "begun: pretrain (seed 0)" in driver.err, "a pretraining at work")


def test_a_drained_node_saves_first(tmp_path: Path, nodes: Nodes) -> None:
    file, store = write_sweep(tmp_path), str(tmp_path / "store")
    key = pretraining(file, store, *LONG).key
    with started(nodes, file, store, *LONG) as driver:
        at_work(driver)
        assert checkpoints(store, key) == []
        for node in nodes.workers:
            if node.processes("RayTrainWorker"):
                nodes.drain(node, seconds=600)
        driver.until(lambda: checkpoints(store, key) != [], "a checkpoint before the node is gone")
        first = max(checkpoints(store, key))
        driver.until(lambda: max(checkpoints(store, key), default=0) > first, "another, later")
        driver.process.send_signal(signal.SIGTERM)
        driver.ends(130)
    assert first > 0


def test_sigterm_to_a_training_worker_saves_first(tmp_path: Path) -> None:
    file, store = write_sweep(tmp_path), str(tmp_path / "store")
    key = pretraining(file, store, *LONG).key
    with Driver(file, store, *LONG) as driver:
        at_work(driver)
        assert checkpoints(store, key) == []
        workers = titled(driver.processes(), "RayTrainWorker")
        assert workers
        terminate(workers)
        driver.until(lambda: checkpoints(store, key) != [], "a checkpoint")
        reached = max(checkpoints(store, key))
        driver.until(lambda: not set(workers) & set(driver.processes()), "the workers' end")
        driver.until(
            lambda: titled(driver.processes(), "RayTrainWorker") != [], "the workers' successors"
        )
        driver.until(lambda: "begun again: pretrain (seed 0)" in driver.err, "work again")
        driver.process.send_signal(signal.SIGTERM)
        driver.ends(130)
        assert max(checkpoints(store, key)) >= reached > 0


def test_an_elastic_group_goes_on_with_fewer(tmp_path: Path, nodes: Nodes) -> None:
    file, store = write_sweep(tmp_path), str(tmp_path / "store")
    # Rounding grows with the learning rate: this one tells it from other images.
    slow = ("--set", "training.learning_rate=0.0001")
    elastic = ("--set", "resources.training.workers={min: 1, max: 2}")
    often = ("--set", "checkpoint_minutes=0.005")
    step = pretraining(file, store, *slow)
    with started(nodes, file, store, *slow, *elastic, *often) as driver:
        driver.until(lambda: len(checkpoints(store, step.key)) > 0, "a checkpoint")
        reached = max(checkpoints(store, step.key))
        shared = [node for node in nodes.workers if node.processes("RayTrainWorker")]
        assert len(shared) > 1
        shared[0].kill()
        opened = open_store(store)
        driver.until(lambda: opened.record("pretrain", step.key) is not None, "its end")
        driver.process.send_signal(signal.SIGTERM)
        driver.ends(130)
    assert reached > 0
    alone = run(step, runtime(tmp_path / "alone"))
    expected = weights_of(open_store(str(tmp_path / "alone")), alone.record)
    record = opened.record("pretrain", step.key)
    assert record is not None
    setting = step.setting
    begun = new_model(setting.model, setting.family, setting.dataset.info(), step.seed).state_dict()
    found = weights_of(opened, record)
    # Rounding differs with the number of workers, and grows over 400 epochs in float32: to 1 and
    # 3 % of the way in two runs.
    assert distance(found, expected) < 0.1 * distance(expected, begun)


def weights_of(store: Store, record: Record) -> dict[str, Tensor]:
    return unpack_tensors(store.read_artifact(record, MODEL))[0]


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Between the weights of two models."""
    return math.sqrt(
        sum(
            float((one[name] - other[name]).double().square().sum())
            for name in one
            if name.endswith((".weight", ".bias"))
        )
    )


def test_a_quarter_of_a_gpu_packs_four_trials(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    """On a node that only claims to have one: its workers compute on the CPU."""
    store = uninterrupted.trained_references(tmp_path / "store")
    pretends = write_part("metric", "pretends", tmp_path)
    with pretends.open("a") as plug_in:
        plug_in.write("from unlearn_ray.train.compute import Compute\n")
        plug_in.write("Compute.gpu = lambda threads, **_: Compute.cpu(threads)\n")
    # Workers import the plug-in for its part.
    metrics = ", ".join([*SWEEP["metrics"], "pretends"])
    trials = "resources.trial={cpu: 0.5, gpu: 0.25}"
    changes = (trials, "search.concurrent=null", f"metrics=[{metrics}]")
    packed = ("--plugin", str(pretends), *(f"--set={change}" for change in changes))
    with Nodes([0]) as nodes:
        node = nodes.add(8, "--num-gpus=1")
        with started(nodes, uninterrupted.file, store, *packed) as driver:
            driver.until(lambda: len(node.processes(*TRIAL)) == 4, "four actors of trials at once")
            driver.ends(0)
    assert {row["study"] for row in rows(store)} >= {"finetune", "neggrad"}


def test_auto_takes_the_gpus_of_a_mixed_cluster(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    """No trial runs on a node without a GPU, though its CPUs are free."""
    store = uninterrupted.trained_references(tmp_path / "store")
    pretends = write_part("metric", "pretends", tmp_path)
    with pretends.open("a") as plug_in:
        plug_in.write("from unlearn_ray.train.compute import Compute\n")
        plug_in.write("Compute.gpu = lambda threads, **_: Compute.cpu(threads)\n")
        plug_in.write("import torch\ntorch.version.cuda = 'of a test'\n")
    metrics = ", ".join([*SWEEP["metrics"], "pretends"])
    auto = ("--plugin", str(pretends), f"--set=metrics=[{metrics}]")
    with Nodes([0]) as nodes:
        plain, equipped = nodes.add(4), nodes.add(4, "--num-gpus=2")
        with started(nodes, uninterrupted.file, store, *auto) as driver:
            driver.until(lambda: len(equipped.processes(*TRIAL)) == 2, "a trial on each GPU")
            assert plain.processes(*TRIAL) == []
            driver.ends(0)
            said = "2 x GPU in the cluster: 1 GPU for training, 1 GPU for each trial"
            assert f"computes on {said}" in driver.err
    assert {row["study"] for row in rows(store)} >= {"finetune", "neggrad"}


def test_a_gpu_that_pytorch_does_not_find(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    store = uninterrupted.trained_references(tmp_path / "store")
    with Nodes([0]) as nodes:
        nodes.add(2, "--num-gpus=1")
        options = ("--set", "resources.trial.gpu=0.5")
        with started(nodes, uninterrupted.file, store, *options) as driver:
            driver.ends(Exit.MACHINE)
            assert "it finds no GPU, and one was requested" in driver.err
            assert "or request no GPU" in driver.err
    assert rows(store) == [] or {row["purpose"] for row in rows(store)} == {"reference"}


def test_what_can_never_be_placed_is_refused(tmp_path: Path) -> None:
    file, store = write_sweep(tmp_path), str(tmp_path / "store")
    with Nodes([2]) as nodes:
        greedy = ("--set", "resources.trial.gpu=1")
        with started(nodes, file, store, *greedy) as driver:
            driver.ends(2)
            assert (
                "resources.trial: 1 worker of 1 CPU and 1 GPU each can never be placed"
                in driver.err
            )
            assert "its 1 node has at most 2 CPUs and 0 GPUs" in driver.err
