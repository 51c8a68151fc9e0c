"""What can only be known of a sweep's data once they are there."""

from __future__ import annotations

from unlearn_ray.data.base import Dataset
from unlearn_ray.data.cache import cache_folder
from unlearn_ray.data.splits import split
from unlearn_ray.pipeline.sweep_schema import Sweep


def check_data(sweep: Sweep) -> None:
    """Make sure, on this machine, that the datasets can be read and every seed's split be made.

    On first use this downloads and decodes the dataset, with progress on standard error.

    Raises:
        DataError: images are missing or unreadable, or a seed has nothing to forget or retain.
    """
    setting = sweep.setting
    for study in sweep.studies:
        for source in study.others():
            if isinstance(source, Dataset):
                source.load(cache_folder())
    labels = setting.dataset.load(cache_folder()).train_labels
    for seed in (*sweep.seeds.tuning, *sweep.seeds.reporting):
        split(labels, setting.validation, setting.forget_set, seed)
