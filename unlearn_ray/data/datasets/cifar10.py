"""CIFAR-10, downloaded on first use."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import DatasetInfo, ImageData
from unlearn_ray.data.downloads import Downloaded, RemoteFile, read_cifar

_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@register("cifar10")
@schema
class Cifar10(Downloaded):
    """60,000 colour images of 32 x 32 in 10 classes (Krizhevsky, 2009)."""

    contents: ClassVar[DatasetInfo] = DatasetInfo(50_000, 10_000, _CLASSES, 32)

    def remote_files(self) -> tuple[RemoteFile, ...]:
        """One archive."""
        import unlearn_ray.core.torchvision_import  # noqa: F401

        # isort: split
        from torchvision.datasets import CIFAR10

        return (RemoteFile(CIFAR10.filename, CIFAR10.url, CIFAR10.tgz_md5),)

    def read(self, folder: str) -> ImageData:
        """The archive's batches."""
        import unlearn_ray.core.torchvision_import  # noqa: F401

        # isort: split
        from torchvision.datasets import CIFAR10

        return read_cifar(CIFAR10, folder)
