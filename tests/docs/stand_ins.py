"""What stands for a reader's own files and values where a page names them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from pyarrow import parquet
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import TensorDataset

from unlearn_ray.core.ranges import Grid, Ranges, grid, integer, log_uniform
from unlearn_ray.data.datasets.digits import Digits

CLASSES = 10
# Images of each class, in a set.
IMAGES = {"train": 4, "test": 2}
# A sweep whose winners a page starts from.
WINNERS = """\
dataset: {digits: {image_size: 8}}
forget_set: {classes: {classes: ["7"]}}
model: resnet8
family: supervised
methods:
  salun: {epochs: 1, learning_rate: 0.01}
"""

# A sampler of one's own.
SAMPLER = """\
from optuna.samplers import RandomSampler


class MySampler(RandomSampler):
    pass
"""

# What a page calls by a name that cannot be there.
_ELSEWHERE = {"s3://bucket/unlearning": "./store", "/data/food": "food"}


def write_files(text: str, folder: Path) -> str:
    """Write the files and folders that a sweep names into the folder that it is read in.

    Returns:
        The sweep, naming them.
    """
    for there, here in _ELSEWHERE.items():
        text = text.replace(there, here)
    for name, (file, write) in _FILES.items():
        if name in text:
            write(folder / file)
    return text


def names_of(page: str) -> dict[str, Any]:
    """The names that a page's snippets use without defining them."""
    return _NAMES.get(page, dict)()


def _digits(part: str) -> list[tuple[int, np.ndarray]]:
    """A few images of each class, with their labels."""
    data = Digits(image_size=8).load(Path("cache"))
    images = data.train_images if part == "train" else data.test_images
    labels = data.train_labels if part == "train" else data.test_labels
    return [
        (label, image)
        for label in range(CLASSES)
        for image in images[labels == label][: IMAGES[part]]
    ]


def _write_photos(folder: Path) -> None:
    """A folder of images for each class."""
    for part in IMAGES:
        for number, (label, image) in enumerate(_digits(part)):
            file = folder / part / f"{label}" / f"{number:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)


def _write_rows(folder: Path, image: str, label: str) -> None:
    """A repository of the hub: images, labels and captions as Parquet."""
    folder.mkdir()
    for part in IMAGES:
        rows = _digits(part)
        files = [io.BytesIO() for _ in rows]
        for file, (_, pixels) in zip(files, rows, strict=True):
            Image.fromarray(pixels).save(file, "PNG")
        table = {
            image: [{"bytes": file.getvalue(), "path": None} for file in files],
            label: [number for number, _ in rows],
            "captions": [[f"a {number}"] for number, _ in rows],
        }
        parquet.write_table(pa.table(table), folder / f"{part}.parquet")


def _write_checkpoints(folder: Path) -> None:
    """Of a ResNet-18 of torchvision: the original, and a model for each seed."""
    import unlearn_ray.core.torchvision_import  # noqa: F401

    # isort: split
    from torchvision.models import resnet18

    folder.mkdir()
    state = resnet18(num_classes=CLASSES).state_dict()
    torch.save(state, folder / "best.pt")
    save_file(state, folder / "theirs-0.safetensors", {"seconds": "12"})
    for seed in range(1, 8):
        (folder / f"theirs-{seed}.safetensors").symlink_to("theirs-0.safetensors")


def _write_idx(prefixes: tuple[str, str]) -> Callable[[Path], None]:
    """Files in the format of MNIST, of the training and the test set."""

    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        for part, prefix in zip(IMAGES, prefixes, strict=True):
            labels, images = (np.stack(each) for each in zip(*_digits(part), strict=True))
            for what, array in (("images-idx3", images[..., 0]), ("labels-idx1", labels)):
                sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
                head = bytes([0, 0, 8, array.ndim]) + sizes
                file = folder / f"{prefix}-{what}-ubyte"
                file.write_bytes(head + array.astype(np.uint8).tobytes())

    return write


def _write_listed(folder: Path, suffix: str) -> dict[str, list[str]]:
    """Images in `folder`, in a folder for each class; their names, by set."""
    names: dict[str, list[str]] = {}
    for part in IMAGES:
        for number, (label, pixels) in enumerate(_digits(part)):
            name = f"class{label}/{part}{number}"
            file = folder / f"{name}{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
            names.setdefault(part, []).append(name)
    return names


def _write_food(folder: Path) -> None:
    """Food101."""
    named = _write_listed(folder / "food-101/images", ".jpg")
    (folder / "food-101/meta").mkdir()
    for part, names in named.items():
        of_class: dict[str, list[str]] = {}
        for name in names:
            of_class.setdefault(name.split("/")[0], []).append(name)
        (folder / f"food-101/meta/{part}.json").write_text(json.dumps(of_class))


def _write_textures(folder: Path) -> None:
    """DTD, whose test set is its validation set."""
    named = _write_listed(folder / "dtd/dtd/images", ".jpg")
    (folder / "dtd/dtd/labels").mkdir()
    for part, file in (("train", "train1"), ("test", "val1")):
        lines = "".join(f"{name}.jpg\n" for name in named[part])
        (folder / f"dtd/dtd/labels/{file}.txt").write_text(lines)


# By the name in a sweep: where it is, and what writes it.
_FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "photos": ("photos", _write_photos),
    "beans": ("beans", lambda folder: _write_rows(folder, "image", "label")),
    "./cifar100": ("cifar100", lambda folder: _write_rows(folder, "img", "fine_label")),
    "flickr8k": ("flickr8k", lambda folder: _write_rows(folder, "image", "label")),
    "runs": ("runs", _write_checkpoints),
    "winners.yaml": (
        "winners.yaml",
        lambda file: file.write_text(WINNERS, encoding="utf-8"),
    ),
    "my_package": (
        "my_package.py",
        lambda file: file.write_text(SAMPLER, encoding="utf-8"),
    ),
    "FashionMNIST": (
        "cache/downloads/FashionMNIST/FashionMNIST/raw",
        _write_idx(("train", "t10k")),
    ),
    "EMNIST": (
        "cache/downloads/EMNIST/EMNIST/raw",
        _write_idx(("emnist-letters-train", "emnist-letters-test")),
    ),
    "Food101": ("food", _write_food),
    "DTD": ("cache/downloads/DTD", _write_textures),
}


def _own_model() -> dict[str, Any]:
    """A classifier, what it keeps and what it forgets."""
    torch.manual_seed(0)
    images, labels = torch.rand(60, 3, 8, 8), torch.arange(60) % CLASSES
    forgotten = labels == 7
    return {
        "model": nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, CLASSES)),
        "kept": TensorDataset(images[~forgotten], labels[~forgotten]),
        "removed": TensorDataset(images[forgotten], labels[forgotten]),
    }


def _images() -> dict[str, Any]:
    return {"images": torch.zeros(2, 8, 8, 3, dtype=torch.uint8)}


def _in_a_class() -> dict[str, Any]:
    """What a module with a method of one's own has imported."""
    return {
        "ClassVar": ClassVar, "Grid": Grid, "Mapping": Mapping, "Ranges": Ranges,
        "grid": grid, "integer": integer, "log_uniform": log_uniform,
    }  # fmt: skip


_NAMES: dict[str, Callable[[], dict[str, Any]]] = {
    "README.md": _own_model,
    "docs/search.md": _in_a_class,
    "docs/take_away.md": _images,
}
