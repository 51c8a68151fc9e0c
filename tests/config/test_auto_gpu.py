"""`gpu: auto`: numbers that follow from the GPUs at hand, and what a plan says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.config.auto_gpu import (
    Devices,
    asks_for_auto,
    computes_on,
    settled,
    share_of,
)
from unlearn_ray.config.sweep_schema import Resources, Sweep
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.train.compute import CONTEXT_BYTES

GB = 10**9
NONE = Devices("on this machine")
ONE = Devices("on this machine", 1.0, ("NVIDIA H200",), 141 * GB)
LATER = Devices("in the cluster", None)
CPU_BUILD = replace(ONE, useless="PyTorch 2.9 is built for CPUs alone")


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return tiny_sweep(tmp_path)


def asks(sweep: Sweep, **resources: str) -> Sweep:
    return replace(
        sweep,
        resources=replace(
            sweep.resources,
            **{what: Resources(gpu=0.0 if gpu == "0" else 1.0) for what, gpu in resources.items()},
        ),
    )


@pytest.mark.parametrize(
    ("needed", "memory", "trials"),
    [
        (1 * GB, 16 * GB, 8),
        (1 * GB, 16 * GB - 1, 4),
        (3 * GB, 16 * GB, 4),
        (4 * GB, 16 * GB, 3),
        (7 * GB, 16 * GB, 2),
        (8 * GB, 16 * GB, 1),
        (40 * GB, 16 * GB, 1),
        (0, 10**15, 8),
        (None, 16 * GB, 1),
        (1 * GB, None, 1),
    ],
)
def test_the_share_of_a_trial_holds_its_memory(
    needed: int | None, memory: int | None, trials: int
) -> None:
    share = share_of(needed, memory)
    assert Resources(gpu=share).workers_on(1000, 1) == trials
    if needed is not None and memory is not None and share < 1:
        assert needed + CONTEXT_BYTES <= memory / trials


def test_auto_is_the_default_and_takes_what_there_is(sweep: Sweep) -> None:
    assert asks_for_auto(sweep)
    assert not asks_for_auto(settled(sweep, NONE, None))
    for devices, needed, training, trial in (
        (NONE, None, 0, 0),
        (NONE, GB, 0, 0),
        (CPU_BUILD, GB, 0, 0),
        (ONE, None, 1, 1),
        (ONE, 17 * GB, 1, 0.25),
        (LATER, GB, 1, 1),
    ):
        found = settled(sweep, devices, needed).resources
        assert (found.training.gpus, found.trial.gpus) == (training, trial)


def test_graphs_need_a_gpu(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path, SWEEP + "resources: {trial: {graphs: true}}\n")
    assert settled(sweep, ONE, GB).resources.trial.graphs
    for devices in (NONE, CPU_BUILD):
        with pytest.raises(
            ConfigError, match=r"resources\.trial\.graphs = true: .* finds none on this"
        ):
            settled(sweep, devices, GB)


def test_numbers_of_the_file_stay(sweep: Sweep) -> None:
    asked = asks(sweep, training="0", trial="1")
    assert settled(asked, ONE, GB) == asked
    assert settled(asked, NONE, None) == asked
    half = settled(asks(sweep, training="0"), ONE, GB).resources
    assert (half.training.gpus, half.trial.gpus) == (0, 0.125)


def test_workers_that_share_a_trial_have_a_gpu_each(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path, SWEEP + "resources: {trial: {workers: 2}}\n")
    assert settled(sweep, ONE, GB).resources.trial.gpu == 1


def test_no_key_depends_on_it(sweep: Sweep) -> None:
    one, other = (
        Pretrain(setting=settled(sweep, devices, GB).setting, seed=0) for devices in (NONE, ONE)
    )
    assert one.key == other.key == Pretrain(setting=sweep.setting, seed=0).key


@pytest.mark.parametrize(
    ("devices", "asked", "text"),
    [
        (NONE, {}, "the CPU (no GPU on this machine)"),
        (
            CPU_BUILD,
            {},
            "the CPU (1 x NVIDIA H200 on this machine, but PyTorch 2.9 is built for CPUs alone)",
        ),
        (
            ONE,
            {"training": "0", "trial": "0"},
            "the CPU (resources request no GPU; on this machine is 1 x NVIDIA H200)",
        ),
        (ONE, {}, "1 x NVIDIA H200 on this machine: 1 GPU for training, 1/8 GPU for each trial"),
        (
            ONE,
            {"trial": "0"},
            "1 x NVIDIA H200 on this machine: 1 GPU for training, 1 CPU for each trial",
        ),
        (
            LATER,
            {},
            "GPUs of nodes that the autoscaler adds in the cluster: 1 GPU for training, "
            "1 GPU for each trial",
        ),
        (
            NONE,
            {"trial": "1"},
            "1 CPU for training, 1 GPU for each trial (no GPU on this machine)",
        ),
    ],
)
def test_in_words(sweep: Sweep, devices: Devices, asked: dict[str, str], text: str) -> None:
    assert computes_on(settled(asks(sweep, **asked), devices, GB), devices) == text
