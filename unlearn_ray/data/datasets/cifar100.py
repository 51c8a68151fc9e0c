"""CIFAR-100, downloaded on first use."""

from __future__ import annotations

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import DatasetInfo, ImageData
from unlearn_ray.data.downloads import Downloaded, RemoteFile, read_cifar

# One string: a list would take a line for each of the hundred.
_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach
    couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster
    house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket
    rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
    sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip
    turtle wardrobe whale willow_tree wolf woman worm
""".split()  # noqa: SIM905


@register("cifar100")
@schema
class Cifar100(Downloaded):
    """60,000 colour images of 32 x 32 in 100 (fine) classes (Krizhevsky, 2009)."""

    contents: ClassVar[DatasetInfo] = DatasetInfo(50_000, 10_000, tuple(_CLASSES), 32)

    def remote_files(self) -> tuple[RemoteFile, ...]:
        """One archive."""
        import unlearn_ray.core.torchvision_import  # noqa: F401

        # isort: split
        from torchvision.datasets import CIFAR100

        return (RemoteFile(CIFAR100.filename, CIFAR100.url, CIFAR100.tgz_md5),)

    def read(self, folder: str) -> ImageData:
        """The archive's batches."""
        import unlearn_ray.core.torchvision_import  # noqa: F401

        # isort: split
        from torchvision.datasets import CIFAR100

        return read_cifar(CIFAR100, folder)
