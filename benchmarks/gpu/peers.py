"""What a user would run instead, in the same run, on the same images and the same network.

- lightly's SimCLR and MoCo as in its tutorials: PIL transforms in as many worker processes as the
  machine has cores, lightly's losses, bf16 autocast, channels_last;
- the loop of MUC's public code: the same transforms and losses in float32 and NCHW, deterministic
  cuDNN, twelve worker processes, and the forget samples looked up on the CPU in every step;
- a supervised loop in the manner of today's CIFAR-10 speed records: images resident on the GPU,
  crop and flip of whole batches there, half precision, channels_last, a compiled network.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from benchmarks.gpu.bench import CLASSES, Bench, Figures

# Before lightly, which imports torchvision in its own way.
import unlearn_ray.core.torchvision_import  # noqa: F401  # isort: skip

MUC_WORKERS = 12


def peers(bench: Bench) -> Figures:
    """Images a second of each peer; the reason where one is not installed."""
    figures: Figures = {"supervised_resident": _rate(bench, _resident(bench), bench.batch)}
    try:
        import lightly  # noqa: F401
    except ImportError as error:
        return figures | {"lightly": f"not measured: {error}"}
    cores = os.cpu_count() or 1
    for method in ("simclr", "moco"):
        ours = _loop(bench, method, workers=cores, as_muc=False)
        figures[f"lightly_{method}"] = _rate(bench, ours, bench.batch)
        theirs = _loop(bench, method, workers=MUC_WORKERS, as_muc=True)
        figures[f"muc_{method}"] = _rate(bench, theirs, bench.batch)
    return figures


def _rate(bench: Bench, steps: Iterator[None], batch: int) -> Figures:
    count = 2 if bench.small else 20

    def run() -> None:
        for _ in islice(steps, count):
            pass

    run()
    return {"images_a_second": batch * count / bench.seconds(run)}


def _resident(bench: Bench) -> Iterator[None]:
    """Steps of supervised training on images that lie on the device."""
    data, device = bench.data(), bench.compute.device
    network = nn.Sequential(
        backbone := bench.backbone.build(bench.image_size),
        nn.Linear(backbone.feature_size, CLASSES),  # type: ignore[arg-type]
    ).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    forward: Callable[[Tensor], Tensor] = network if bench.small else torch.compile(network)
    fused = bench.compute.on_gpu
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=fused
    )
    pad = 2
    images = data.train_images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    padded = functional.pad(images.float().div_(255).sub_(0.5).mul_(4), (pad,) * 4, "reflect")
    padded = padded.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    size = bench.image_size
    while True:
        order = torch.randperm(len(padded), device=device)
        for rows in order.split(bench.batch):
            top, left = (int(shift) for shift in np.random.randint(2 * pad + 1, size=2))
            batch = padded[rows, :, top : top + size, left : left + size]
            batch = batch.flip(3) if np.random.rand() < 0.5 else batch
            with torch.autocast(device.type, torch.bfloat16):
                logits = forward(batch)
            loss = functional.cross_entropy(
                logits.float(), data.train_labels[rows], label_smoothing=0.1
            )
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            yield


class _Images(Dataset[tuple[Tensor, Tensor, int]]):
    """PIL images in memory, as two augmented views and the index."""

    def __init__(self, images: np.ndarray, transform: Any) -> None:
        self.images = images
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, int]:
        from PIL import Image

        first, second = self.transform(Image.fromarray(self.images[row]))
        return first, second, row


def _loop(bench: Bench, method: str, *, workers: int, as_muc: bool) -> Iterator[None]:
    """Steps of lightly's parts, put together as its tutorials do, or as MUC's code does."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules.heads import SimCLRProjectionHead
    from lightly.models.utils import update_momentum
    from lightly.transforms import SimCLRTransform

    device = bench.compute.device
    transform = SimCLRTransform(
        input_size=bench.image_size, cj_strength=0.5, min_scale=0.1, gaussian_blur=0.0
    )
    images = _Images(bench.data().train_images.cpu().numpy(), transform)
    loader = DataLoader(
        images,
        bench.batch,
        shuffle=True,
        drop_last=True,
        pin_memory=bench.compute.on_gpu,
        num_workers=0 if bench.small else workers,
    )
    layout = torch.contiguous_format if as_muc else torch.channels_last
    backbone = bench.backbone.build(bench.image_size)
    width: Any = backbone.feature_size
    network = nn.Sequential(backbone, SimCLRProjectionHead(width, width, 128))
    network = network.to(device, memory_format=layout)  # type: ignore[call-overload]
    keys = copy.deepcopy(network).requires_grad_(False) if method == "moco" else None
    bank = (4096, 128) if keys is not None else 0
    criterion = NTXentLoss(temperature=0.1 if keys is not None else 0.5, memory_bank_size=bank)
    criterion = criterion.to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
    torch.backends.cudnn.deterministic = as_muc
    torch.backends.cudnn.benchmark = not as_muc
    forgotten = bench.split.forget
    while True:
        for first, second, indices in loader:
            views = [view.to(device, memory_format=layout) for view in (first, second)]
            if as_muc:
                np.isin(indices.numpy(), forgotten)
            with torch.autocast(device.type, torch.bfloat16, enabled=not as_muc):
                if keys is None:
                    outputs = [network(view) for view in views]
                else:
                    update_momentum(network, keys, 0.99)
                    with torch.no_grad():
                        contrasted = keys(views[1])
                    outputs = [network(views[0]), contrasted]
            loss = criterion(*(output.float() for output in outputs))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            yield
