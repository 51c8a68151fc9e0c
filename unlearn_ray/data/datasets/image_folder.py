"""A person's own images: train/ and test/ folders of one folder for each class."""

from __future__ import annotations

from pathlib import Path

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.folder_dataset import FolderDataset
from unlearn_ray.data.image_files import Listing, list_class_folders


@register("image_folder")
@schema
class ImageFolder(FolderDataset):
    """Images of any size and mode in `path`/train/CLASS/ and `path`/test/CLASS/.

    Every image is stretched to image_size x image_size (bilinear, smoothed when it shrinks);
    its proportions are not kept. A sample's id is its file's position among the sorted names
    of the training files, relative to train/; `train_files.txt` beside the decoded arrays
    lists them, and the forget set `ids` takes either. Hidden files are left out; anything
    else that is not an image is an error.
    """

    def listed(self, root: Path) -> Listing:
        """Every file of every class folder."""
        return list_class_folders(root)
