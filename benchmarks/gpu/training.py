"""Training at full size: seconds of an epoch, share of the bf16 peak, memory, resumption."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.bench import Bench, Figures
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.data.augmentation import Augmentation, contrastive_views
from unlearn_ray.families.base import Family
from unlearn_ray.families.byol import BYOL
from unlearn_ray.families.clip import CLIP
from unlearn_ray.families.moco import MoCo
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.families.simsiam import SimSiam
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.train import compute
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.step_graph import CAPTURE_FROM_ITERATIONS
from unlearn_ray.train.training import new_model, train_from_scratch

if TYPE_CHECKING:
    from unlearn_ray.train.beside import Checkpoints

MODES = ("eager", "compiled", "graph", "compiled_graph")
_TINY_TEXTS = {"text_width": 8, "text_heads": 2, "text_layers": 2, "embedding_size": 8}


@dataclass(frozen=True)
class Case:
    """A family with the recipe of its paper or public default."""

    family: Family
    recipe: Recipe

    def trained(
        self,
        bench: Bench,
        data: ResidentData,
        iterations: int,
        checkpoints: Checkpoints | None = None,
        model: nn.Module | None = None,
    ) -> nn.Module:
        """A model after so many updates; a new one if none is given."""
        batch = min(self.recipe.batch_size, bench.batch)
        recipe = replace(self.recipe, batch_size=batch, epochs=1, warmup_epochs=0)
        ids = np.arange(iterations * batch) % len(data.train_labels)
        if model is None:
            model = new_model(bench.backbone, self.family, bench.info, seed=0)
        train_from_scratch(
            model, self.family, recipe, data, ids,
            seed=0, compute=bench.compute, checkpoints=checkpoints,
        )  # fmt: skip
        return model


def cases(bench: Bench) -> dict[str, Case]:
    """Every family that trains from images."""
    contrastive = Recipe()
    byol = Recipe(optimizer="lars", batch_size=256, learning_rate=1.0, trust=0.02, clip_trust=True)
    plain = Augmentation(padding=4 if bench.image_size > 8 else 1, flip=0.5)
    clip = CLIP(**_TINY_TEXTS) if bench.small else CLIP()  # type: ignore[arg-type]
    return {
        "simclr": Case(SimCLR(), contrastive),
        "moco": Case(MoCo(), contrastive),
        "byol": Case(BYOL(), byol),
        "simsiam": Case(SimSiam(), contrastive),
        "supervised": Case(Supervised(augmentation=plain), replace(contrastive, batch_size=256)),
        "clip": Case(clip, Recipe(optimizer="adamw", batch_size=256, learning_rate=5e-4)),
    }


def training(bench: Bench) -> Figures:
    """Images a second and epochs' seconds of each family in every mode; peak memory.

    Its operations launched one by one ("eager") or compiled, and either replayed as a CUDA graph.
    """
    data, peak = bench.data(), matrix_peak(bench)
    figures: Figures = {"bf16_peak_tflops_measured": peak / 1e12, "families": {}}
    for name, case in cases(bench).items():
        of_data = with_captions(bench, case, data)
        found: Figures = {"flops_an_image": flops_an_image(bench, case, of_data)}
        modes = [mode for mode in MODES if bench.compute.on_gpu or "graph" not in mode]
        for mode in modes:
            graphs = replace(bench.compute, graphs="graph" in mode)
            with _compiling("compiled" in mode):
                found[mode] = _speed(
                    replace(bench, compute=graphs), case, of_data, found["flops_an_image"], peak
                )
        found["seconds_an_epoch_of_45000"] = min(
            found[mode]["seconds_an_epoch_of_45000"] for mode in modes
        )
        figures["families"][name] = found
    return figures


def _speed(
    bench: Bench, case: Case, data: ResidentData, flops_an_image: float, peak: float
) -> Figures:
    batch = min(case.recipe.batch_size, bench.batch)
    few = CAPTURE_FROM_ITERATIONS if bench.compute.graphs else 2
    memory = bench.peak_bytes(lambda: case.trained(bench, data, few))
    # The same model throughout: a new one would be compiled anew.
    model = case.trained(bench, data, 1)
    seconds = bench.an_iteration(lambda count: case.trained(bench, data, count, model=model))
    rate = batch / seconds
    return {
        "seconds_an_iteration": seconds,
        "images_a_second": rate,
        "seconds_an_epoch_of_45000": 45_000 / rate,
        "share_of_bf16_peak": flops_an_image * rate / peak,
        "peak_gib": memory / 2**30,
    }


def with_captions(bench: Bench, case: Case, data: ResidentData) -> ResidentData:
    """The data with one caption for each image, for a family that reads them."""
    if not case.family.reads_captions:
        return data
    from unlearn_ray.train.texts import Texts

    words = tuple((f"a picture of a {int(label)}",) for label in data.train_labels.cpu())
    return replace(data, train_texts=Texts.load(words, case.family, bench.compute.device))


def flops_an_image(bench: Bench, case: Case, data: ResidentData) -> float:
    """Floating-point operations of training on one image: forward and backward, all views."""
    with FlopCounterMode(display=False) as counter:
        case.trained(bench, data, 1)
    return counter.get_total_flops() / min(case.recipe.batch_size, bench.batch)


def matrix_peak(bench: Bench) -> float:
    """Operations a second of a bf16 matrix product, measured here."""
    size = 64 if bench.small else 8192
    left = torch.randn(size, size, device=bench.compute.device, dtype=torch.bfloat16)
    products = 2 if bench.small else 20

    def multiply() -> None:
        for _ in range(products):
            left @ left

    multiply()
    return 2 * size**3 * products / bench.seconds(multiply)


@contextmanager
def _compiling(wanted: bool) -> Iterator[None]:
    """Compile encoders from the first iteration on, or never."""
    before = compute.COMPILE_FROM_ITERATIONS
    compute.COMPILE_FROM_ITERATIONS = 0 if wanted else 10**9
    try:
        yield
    finally:
        compute.COMPILE_FROM_ITERATIONS = before


def views(bench: Bench) -> Figures:
    """Augmented views a second, and the probe's and the test's."""
    data, batch = bench.data(count=max(bench.batch, 16)), bench.batch
    images = data.train_images[:batch]
    figures: Figures = {}
    augmentations = {"contrastive": contrastive_views(), "crop_and_flip": Augmentation(flip=0.5)}
    for name, augmentation in augmentations.items():
        run = partial(_render, augmentation, images)
        figures[name] = batch / bench.an_iteration(run)
    return figures


def _render(augmentation: Augmentation, images: Tensor, count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        augmentation(images, generator)


@dataclass
class Kept:
    """The checkpoints of one run, in memory."""

    seconds_between: float = 0.0
    at_end: bool = False
    saved: list[tuple[int, dict[str, Tensor], dict[str, str]]] = field(default_factory=list)

    def load(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """The newest one."""
        return self.saved[-1][1:] if self.saved else None

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        """Keep one."""
        copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        self.saved.append((iteration, copies, metadata))


def resumption(bench: Bench) -> Figures:
    """How far weights of a resumed run, and of a second run, are from those of the first."""
    data, figures = bench.data(count=16 * bench.batch), {}
    for name, case in cases(bench).items():
        of_data = with_captions(bench, case, data)

        run = partial(_weights, bench, case, of_data)
        first, every = run(None), Kept()
        run(every)
        middle = Kept(saved=[kept for kept in every.saved if kept[0] == 3])
        figures[name] = {
            "checkpoints": len(every.saved),
            "second_run": apart(run(None), first),
            "resumed": apart(run(middle), first),
        }
    return figures


def deterministic(bench: Bench) -> Figures:
    """The same where the device was told to repeat every digit; names what does not."""
    if bench.compute.on_gpu:
        bench = replace(bench, compute=Compute.gpu(deterministic=True))
    figures = resumption(bench)
    apart = [name for name, found in figures.items() if found["second_run"] or found["resumed"]]
    return figures | {"beyond": apart}


def _weights(bench: Bench, case: Case, data: ResidentData, checkpoints: Kept | None) -> Tensor:
    model = case.trained(bench, data, 6, checkpoints)
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def apart(one: Tensor, other: Tensor) -> float:
    """The distance of two vectors, relative to the norm of the second."""
    return float((one - other).norm() / other.norm())
