"""SVHN (cropped digits), downloaded on first use."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import DatasetInfo, ImageData
from unlearn_ray.data.downloads import Downloaded, RemoteFile, image_data


@register("svhn")
@schema
class Svhn(Downloaded):
    """Street-view house numbers: 99,289 colour images of 32 x 32 in 10 classes (Netzer, 2011).

    The training set is `train`; the easier `extra` images are not used.
    """

    contents: ClassVar[DatasetInfo] = DatasetInfo(
        73_257, 26_032, tuple(str(digit) for digit in range(10)), 32
    )

    def remote_files(self) -> tuple[RemoteFile, ...]:
        """One file per set."""
        import unlearn_ray.core.torchvision_import  # noqa: F401

        # isort: split
        from torchvision.datasets import SVHN

        listed = [SVHN.split_list[part] for part in ("train", "test")]
        return tuple(RemoteFile(name, url, md5) for url, name, md5 in listed)

    def read(self, folder: str) -> ImageData:
        """Both files; torchvision gives channels first."""
        import unlearn_ray.core.torchvision_import  # noqa: F401

        # isort: split
        from torchvision.datasets import SVHN

        train = SVHN(folder, split="train", download=True)
        test = SVHN(folder, split="test", download=True)
        images = [part.data.transpose(0, 2, 3, 1) for part in (train, test)]
        return image_data(images[0], train.labels, images[1], test.labels)
