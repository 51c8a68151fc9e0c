"""What can only be known of a sweep's data once they are there."""

from __future__ import annotations

import torch

from unlearn_ray.data import loaded
from unlearn_ray.data.base import Dataset, ImageData
from unlearn_ray.data.cache import cache_folder
from unlearn_ray.data.splits import split
from unlearn_ray.engine.texts import Texts
from unlearn_ray.pipeline.sweep_schema import Sweep


def check_data(sweep: Sweep) -> None:
    """Make sure, on this machine, that the datasets can be read and every seed's split be made.

    On first use this downloads and decodes the dataset, with progress on standard error.

    Raises:
        DataError: images are missing or unreadable, a caption is empty or too long, or a seed has
            nothing to forget or retain.
    """
    setting = sweep.setting

    def load(dataset: Dataset) -> ImageData:
        data = loaded.load(dataset, cache_folder())
        if setting.family.reads_captions:
            for captions in (data.train_captions, data.test_captions):
                Texts.load(captions, setting.family, torch.device("cpu"))
        return data

    for study in sweep.studies:
        for source in study.others():
            if isinstance(source, Dataset):
                load(source)
    labels = load(setting.dataset).train_labels
    for seed in (*sweep.seeds.tuning, *sweep.seeds.reporting):
        split(labels, setting.validation, setting.forget_set, seed)
