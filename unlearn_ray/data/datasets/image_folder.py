"""A person's own images: train/ and test/ folders of one folder for each class."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.folder_dataset import FolderDataset
from unlearn_ray.data.image_files import Listing, list_class_folders


@register("image_folder")
@schema
class ImageFolder(FolderDataset):
    """Images of any size and mode in `path`/train/CLASS/ and `path`/test/CLASS/.

    Every image is resized to image_size x image_size (bilinear, smoothed when it shrinks), as
    `resize` says. It is decoded as a viewer shows it: turned as EXIF says, its first frame, on
    white where it is transparent, in sRGB where an ICC profile says what its colours are;
    floating-point values from 0 to 1 are black to white, and others are refused.

    A sample is named by its file, relative to train/, and never by its position;
    `train_files.txt` beside the decoded arrays lists the files by position: sorted. Hidden files
    are left out, and what systems put beside images (Thumbs.db); anything else that is not an
    image is an error. AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF and WebP are read, whatever
    the files' names end in.
    """

    revision: ClassVar[int] = 2

    def listed(self, root: Path) -> Listing:
        """Every file of every class folder."""
        return list_class_folders(root)
