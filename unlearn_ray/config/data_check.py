"""Checks of a sweep that need its data."""

from __future__ import annotations

from itertools import chain

from unlearn_ray.config.batch_check import check_study, check_training, counts_of
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.caching import cache_folder
from unlearn_ray.data import loaded
from unlearn_ray.data.base import Dataset
from unlearn_ray.data.splits import split


def check_data(sweep: Sweep) -> None:
    """Check that this machine can read the datasets and make the split of every seed.

    On first use this downloads and decodes the dataset, with progress on standard error.

    Raises:
        DataError: images are missing or unreadable, captions or prompts are empty or too long
            (all are reported at once), or a seed has nothing to forget or retain.
        ConfigError: a model would have to be trained on one image at a time, and cannot be.
    """
    setting = sweep.setting
    data = loaded.load(setting.dataset, cache_folder())
    captions = [data.train_captions, data.test_captions, setting.dataset.prompts()]
    for study in sweep.studies:
        for source in study.extra_data():
            if isinstance(source, Dataset):
                other = loaded.load(source, cache_folder())
                captions += [other.train_captions, other.test_captions]
    if setting.family.reads_captions:
        # A caption that many images share is tokenised once.
        setting.family.tokenise(list(dict.fromkeys(chain(*chain(*captions)))))
    for seed in (*sweep.seeds.tuning, *sweep.seeds.reporting):
        parts = split(data.train_labels, setting.validation, setting.forget_set, seed)
        forget, retain = len(parts.forget), len(parts.retain)
        counts = counts_of(forget + retain, forget, len(parts.validation))
        where = (counts, setting.family, setting.model, data.train_images.shape[1])
        check_training(setting.training, *where)
        for study in sweep.studies:
            check_study(study, *where)
