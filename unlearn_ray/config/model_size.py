"""Refuse, while planning, a model that fits no device."""

from __future__ import annotations

from itertools import chain
from typing import cast

import torch

from unlearn_ray.config.fields import default_of, label, schema_fields
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.registry import Part
from unlearn_ray.core.schema import field_values
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.families.base import ClassifierFamily, Family
from unlearn_ray.measure.probe import Probe
from unlearn_ray.models.base import Model

# Weights and buffers; with gradients and momentum, in 32 bits each, 120 GB.
MOST_NUMBERS = 10**10
# Of a whole decoded dataset, which one machine must hold: ImageNet at 224 pixels has 200 GB.
MOST_BYTES = 3 * 10**11
LARGEST_IMAGE = 2048
# Of all features that a probe is trained on, which stay on the device beside the model.
MOST_FEATURES = 4 * 10**10
_WIDEST = 8192  # features of a backbone


def check_images(info: DatasetInfo) -> None:
    """A machine must hold all decoded images.

    Raises:
        ConfigError: no machine can.
    """
    count, pixels = info.train_size + info.test_size, info.image_size
    gigabytes = 3 * count * pixels**2 / 10**9
    if pixels > LARGEST_IMAGE or gigabytes * 10**9 > MOST_BYTES:
        raise ConfigError(
            f"image_size = {pixels:,}",
            f"{count:,} images then take {gigabytes:,.0f} GB; the limits are "
            f"{LARGEST_IMAGE:,} pixels and {MOST_BYTES // 10**9} GB",
            "set a smaller image_size",
        )


def check_size(model: Model, family: Family, info: DatasetInfo) -> None:
    """A model's weights and buffers must fit on a device.

    They are counted, without allocating them, if a field is larger than the part's default.

    Raises:
        ConfigError: they do not fit.
    """
    if not (_asks_for_more(model) or _asks_for_more(family)):
        return  # Counting imports torchvision, which takes seconds.
    try:
        with torch.device("meta"):
            built = family.build(model.build(info.image_size), len(info.class_names))
        numbers = sum(each.numel() for each in chain(built.parameters(), built.buffers()))
    except RuntimeError:
        numbers = None  # more than 64 bits can count
    if numbers is None or numbers > MOST_NUMBERS:
        many = "more weights than can be counted" if numbers is None else f"{numbers:,} weights"
        raise ConfigError(
            f"{label(model)} with {label(family)}",
            f"has {many}; at most {MOST_NUMBERS:,}, with their gradients and momentum, fit on a "
            "device",
            "make it smaller",
        )


def check_copies(probe: Probe, model: Model, family: Family, info: DatasetInfo) -> None:
    """All copies of a probe's cached views must fit on a device; one copy is as much as without.

    Raises:
        ConfigError: they do not fit.
    """
    unused = isinstance(family, ClassifierFamily) or family.reads_captions
    numbers = probe.sets * info.train_size
    if probe.sets <= 1 or unused or 4 * numbers * _WIDEST <= MOST_FEATURES:
        return  # Building a backbone imports torchvision, which takes seconds.
    with torch.device("meta"):
        size = cast(int, model.build(info.image_size).feature_size)
    if 4 * numbers * size > MOST_FEATURES:
        fitting = max(1, MOST_FEATURES // (4 * info.train_size * size))
        raise ConfigError(
            f"copies = {probe.sets}",
            f"{size:,} features of each of {info.train_size:,} images then take "
            f"{4 * numbers * size / 10**9:,.0f} GB; at most {MOST_FEATURES // 10**9} stay on "
            "a device",
            f"set copies to {fitting} or fewer",
        )


def _asks_for_more(part: Part) -> bool:
    known = schema_fields(type(part))
    return any(
        isinstance(value, int)
        and not (isinstance(usual := default_of(known[name]), int) and value <= usual)
        for name, value in field_values(part).items()
        if not isinstance(value, bool)
    )
