"""The GPUs of this machine and of a cluster's nodes; no process of ours opens one for that."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from unlearn_ray.config.auto_gpu import Devices

_SECONDS = 20
_MEBIBYTE = 2**20
_HERE = "on this machine"


@dataclass(frozen=True)
class Seen:
    """What a node says of its GPUs.

    Attributes:
        models: name and bytes of memory of each; empty if no driver of NVIDIA's answers.
        built_for: "" or why PyTorch there can use none.
    """

    models: tuple[tuple[str, int], ...]
    built_for: str = ""


def seen_here() -> Seen:
    """What this machine's driver and PyTorch say, without opening a device."""
    useless = "" if _built_for_gpus() else f"PyTorch {torch.__version__} is built for CPUs alone"
    return Seen(_models(), useless)


def _built_for_gpus() -> bool:
    return torch.version.cuda is not None or torch.version.hip is not None


def _models() -> tuple[tuple[str, int], ...]:
    """From NVIDIA's own tool; PyTorch would open the device and keep memory on it."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(  # noqa: S603  nothing of it is anybody's input
            command, capture_output=True, text=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = (line.rpartition(",") for line in told.stdout.splitlines())
    return tuple(
        (name.strip(), int(mebibytes) * _MEBIBYTE)
        for name, _, mebibytes in rows
        if mebibytes.strip().isdecimal()  # else [N/A]
    )


def on_this_machine() -> Devices:
    """The GPUs that processes of this machine may use."""
    seen = seen_here()
    # Respects CUDA_VISIBLE_DEVICES, which the driver's tool does not; opens no device.
    usable = torch.cuda.device_count()
    found = together(_HERE, float(len(seen.models) if seen.built_for else usable), [seen])
    return replace(found, nodes=((float(os.cpu_count() or 1), float(usable)),))


def together(where: str, gpus: float | None, nodes: Iterable[Seen]) -> Devices:
    """The devices of nodes that have GPUs.

    Args:
        where: in words.
        gpus: how many there are.
        nodes: what each says.
    """
    nodes = list(nodes)
    models = [model for node in nodes for model in node.models]
    unknown = not models or any(not node.models for node in nodes)
    useless = nodes[0].built_for if nodes and all(node.built_for for node in nodes) else ""
    return Devices(
        where,
        gpus,
        tuple(dict.fromkeys(sorted(name for name, _ in models))),
        None if unknown else min(memory for _, memory in models),
        useless if gpus else "",
    )
