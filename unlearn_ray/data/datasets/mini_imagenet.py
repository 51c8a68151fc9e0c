"""Mini-ImageNet for classification, from local files.

Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016: 100 classes of 600
images; the usual split files, by class, are Ravi and Larochelle's (ICLR 2017). For classification
each class is divided instead, as in "Contrastive Unlearning" (2401.10458), with MLclf (Cao, 2022).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.data.base import ImageSize, Resize
from unlearn_ray.data.folder_dataset import FolderDataset
from unlearn_ray.data.image_files import Listing, list_class_folders
from unlearn_ray.data.split_files import SPLIT_FILES, list_split_files


@register("mini_imagenet")
@schema
class MiniImageNet(FolderDataset):
    """Mini-ImageNet's 60,000 colour images of 84 x 84 in 100 classes, divided within each class.

    `path` has one of two layouts:

    - images/, and train.csv, val.csv and test.csv with the columns filename and label. The
      classes of all three files form one dataset; in each class, the first `train_per_class`
      images by name are the training set, the others the test set;
    - train/CLASS/ and test/CLASS/, as in `image_folder`: already divided. A val/ folder is
      ignored, since `validation` is taken from the training set.

    A sample's name, for the forget set `ids`, is CLASS/FILE. The paper does not say how many
    images per class it trains on; 500 is the usual number, and MLclf's example takes 360.
    Images are stretched by default, as those of MLclf and the few-shot codes are.

    Attributes:
        train_per_class: training images per class, if split files list the images.
    """

    revision: ClassVar[int] = 2

    image_size: ImageSize = 84
    resize: Resize = "stretch"
    train_per_class: PositiveInt = 500

    def listed(self, root: Path) -> Listing:
        """By the split files, if there is one."""
        if any((root / name).exists() for name in SPLIT_FILES):
            return list_split_files(root, self.train_per_class)
        return list_class_folders(root)
