"""The user's own images: train/ and test/ with one folder per class."""

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

    - Every image is resized to image_size x image_size (bilinear, with antialiasing), as `resize`
      says.
    - It is decoded as a viewer shows it: rotated as EXIF says, its first frame, transparency on
      white, colours converted to sRGB if it has an ICC profile; floating-point values from 0 to 1
      are black to white, and others are refused.
    - A sample is named by its file, relative to train/, never by its position; `train_files.txt`
      next to the decoded arrays lists the files by position (sorted).
    - Hidden files and files that operating systems add (Thumbs.db) are skipped; any other file
      that is not an image is an error.
    - AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF and WebP are read, whatever their extension.
    """

    revision: ClassVar[int] = 2

    def listed(self, root: Path) -> Listing:
        """Every file of every class folder."""
        return list_class_folders(root)
