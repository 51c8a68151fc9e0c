"""`gpu: auto` settled: numbers in its place, from the GPUs that a machine or cluster has.

It is settled once, before anything is scheduled, so that no study has trials on a CPU and trials on
a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from unlearn_ray.config.sweep_schema import AUTO, Resources, Sweep
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.words import counted
from unlearn_ray.train.compute import CONTEXT_BYTES

# How many trials share a GPU: the most of these whose memory it holds.
_SHARED_BY = (8, 4, 3, 2)


@dataclass(frozen=True)
class Devices:
    """What a machine or a cluster computes on.

    Attributes:
        where: "on this machine" or "in the cluster".
        gpus: how many GPUs there are now; None if nodes with GPUs start once they are asked for.
        names: the models of the GPUs, as far as they are known.
        memory: bytes of the smallest; None if unknown.
        useless: why PyTorch cannot use them, if it cannot.
        nodes: CPUs and GPUs of each node.
    """

    where: str
    gpus: float | None = 0.0
    names: tuple[str, ...] = ()
    memory: int | None = None
    useless: str = ""
    nodes: tuple[tuple[float, float], ...] = ()

    @property
    def usable(self) -> bool:
        """Whether steps may request a GPU."""
        return self.gpus != 0 and not self.useless

    def __str__(self) -> str:
        if self.gpus is None:
            return "GPUs of nodes that the autoscaler adds"
        return f"{self.gpus:g} x {' or '.join(self.names) or 'GPU'}"


def asks_for_auto(sweep: Sweep) -> bool:
    """Whether any of a sweep's steps leaves to us what it computes on."""
    return AUTO in (sweep.resources.training.gpu, sweep.resources.trial.gpu)


def settled(sweep: Sweep, devices: Devices, trial_bytes: int | None) -> Sweep:
    """A sweep whose steps request numbers of GPUs.

    Args:
        sweep: as in its file.
        devices: of the machine or cluster that it will run on.
        trial_bytes: what PyTorch needs of a GPU's memory in a trial; None if unknown.

    Raises:
        ConfigError: steps would be captured as graphs, and there is no GPU.
    """
    training, trial = sweep.resources.training, sweep.resources.trial
    whole = 1.0 if devices.usable else 0.0
    share = whole
    if devices.usable and trial.most_workers == 1:
        share = share_of(trial_bytes, devices.memory)
    resources = replace(
        sweep.resources,
        training=_with_gpus("training", training, whole, devices),
        trial=_with_gpus("trial", trial, share, devices),
    )
    return replace(sweep, resources=resources)


def _with_gpus(kind: str, resources: Resources, gpus: float, devices: Devices) -> Resources:
    if resources.gpu != AUTO:
        return resources
    if resources.graphs and not gpus:
        raise ConfigError(
            f"resources.{kind}.graphs = true",
            f"graphs are captured on a GPU, and PyTorch finds none {devices.where}",
            "set it to false, or run the sweep where there is one",
        )
    return replace(resources, gpu=gpus)


def share_of(trial_bytes: int | None, memory: int | None) -> float:
    """The share of a GPU that a trial requests: all of it, 1/2, 1/3, 1/4 or 1/8.

    Args:
        trial_bytes: what PyTorch needs in a trial; None if unknown.
        memory: of the smallest GPU, in bytes; None if unknown.
    """
    if trial_bytes is None or memory is None:
        return 1.0
    needed = trial_bytes + CONTEXT_BYTES
    number = next((number for number in _SHARED_BY if number * needed <= memory), 1)
    # In Ray's units of 1/10000, rounded down: thirds must fit three times.
    return (10_000 // number) / 10_000


def computes_on(sweep: Sweep, devices: Devices) -> str:
    """What a settled sweep computes on, in words."""
    training, trial = sweep.resources.training, sweep.resources.trial
    if not training.gpus and not trial.gpus:
        if devices.useless:
            return f"the CPU ({devices} {devices.where}, but {devices.useless})"
        if devices.gpus == 0:
            return f"the CPU (no GPU {devices.where})"
        return f"the CPU (resources request no GPU; {devices.where} {_are(devices)})"
    requested = f"{_amount(training)} for training, {_amount(trial)} for each trial"
    if devices.gpus == 0:
        return f"{requested} (no GPU {devices.where})"
    return f"{devices} {devices.where}: {requested}"


def _are(devices: Devices) -> str:
    return f"{'are' if devices.gpus != 1 else 'is'} {devices}"


def _amount(resources: Resources) -> str:
    if not resources.gpus:
        return counted(resources.cpu, "CPU")
    parts = round(1 / resources.gpus)
    shared = resources.gpus < 1 and (10_000 // parts) / 10_000 == resources.gpus
    amount = f"1/{parts} GPU" if shared else counted(resources.gpus, "GPU")
    workers = resources.fewest_workers
    return amount if workers == 1 else f"{workers} x {amount}"
