"""Validation, forget and retain set of a seed, exactly as in MUC.

MUC's official code: RandomState(seed) permutes the training set; the first samples are the
validation set, the next ones are forgotten, the rest is retained.

Samples that a person names, as in an erasure request, are never drawn for validation: models are
trained on all of them, and all of them are forgotten.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Int64

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.data.base import ForgetSet, Split
from unlearn_ray.evidence.masks import FORGET, OUT, RETAIN, states

Ids = Int64[np.ndarray, " n"]


def validation_size(validation: int | float, train_size: int) -> int:
    """Number of training samples that are held out for validation.

    Args:
        validation: a count, or (float) a fraction of the training set, rounded down.
        train_size: number of training samples.

    Raises:
        DataError: nothing would be left to train on.
    """
    size = validation if isinstance(validation, int) else int(validation * train_size)
    if size >= train_size:
        raise DataError(
            f"validation = {validation}",
            f"leaves nothing to train on: the training set has {train_size:,} images",
            f"hold out fewer than {train_size:,} for validation",
        )
    return size


def training_ids(
    train_size: int, validation: int | float, seed: int, named: Ids | None = None
) -> Ids:
    """The samples of forget and retain set together, in the seed's permuted order.

    Args:
        train_size, validation, seed: as of `validation_ids`.
        named: likewise.
    """
    return _divided(train_size, validation, seed, named)[1]


def validation_ids(
    train_size: int, validation: int | float, seed: int, named: Ids | None = None
) -> Ids:
    """The validation set, in the seed's permuted order: its first samples that nobody named.

    Args:
        train_size: number of training samples.
        validation: a count or a fraction; see `validation_size`.
        seed: of the permutation.
        named: samples that a person named to be forgotten, who expects that all of them are; None
            if the forget set follows a rule. Only these can change the validation set.
    """
    return _divided(train_size, validation, seed, named)[0]


def kept_in_training(
    train_size: int, validation: int | float, seed: int, named: Ids | None
) -> tuple[int, ...]:
    """The named samples that come before the last one of the validation set, sorted.

    All that the validation set depends on besides size, seed and number of samples: without any, it
    is the one of other forget sets.

    Args:
        train_size, validation, seed, named: as of `validation_ids`.
    """
    return () if named is None else _kept(train_size, validation, seed, named.tobytes())


# Every key of an original asks again.
@lru_cache(maxsize=256, typed=True)
def _kept(train_size: int, validation: int | float, seed: int, named: bytes) -> tuple[int, ...]:
    ids = np.frombuffer(named, np.int64)
    drawn = validation_ids(train_size, validation, seed, ids)
    if not len(drawn):
        return ()
    order = _permuted(train_size, seed)
    before = order[: int(np.flatnonzero(order == drawn[-1])[0])]
    return tuple(np.sort(before[np.isin(before, ids)]).tolist())


def forget_size(forget_set: ForgetSet, train_size: int, validation: int | float) -> int | None:
    """Number of forgotten samples under every seed; None if it depends on the data."""
    named = forget_set.named_ids()
    if named is not None:
        return len(named)
    return forget_set.size(train_size - validation_size(validation, train_size))


def split(
    labels: Int64[np.ndarray, " train"],
    validation: int | float,
    forget_set: ForgetSet,
    seed: int,
) -> Split:
    """The parts of a training set under one seed, each in the seed's permuted order.

    Args:
        labels: labels of the training set, indexed by id.
        validation: a count or a fraction; see `validation_size`.
        forget_set: chooses among the other samples.
        seed: of the permutation.

    Raises:
        DataError: the forget set or the retain set is empty.
    """
    validated, trained_on = _divided(len(labels), validation, seed, forget_set.named_ids())
    forgotten = np.isin(trained_on, forget_set.select(trained_on, labels))
    if not forgotten.any():
        raise DataError(
            f"forget_set {forget_set.name}",
            f"none of its samples is trained on under seed {seed}",
            "forget other samples, or hold out fewer for validation",
        )
    if forgotten.all():
        raise DataError(
            f"forget_set {forget_set.name}",
            f"nothing is left to retain under seed {seed}",
            "forget fewer samples",
        )
    return Split(
        validation=validated,
        forget=trained_on[forgotten],
        retain=trained_on[~forgotten],
    )


def training_labels(
    labels: Int64[np.ndarray, " train"],
    validation: int | float,
    forget_set: ForgetSet,
    seed: int,
) -> Int64[np.ndarray, " train"]:
    """The labels that models are trained with under one seed, of the whole training set.

    Args:
        labels: the true ones.
        validation, forget_set, seed: as of `split`.
    """
    order = training_ids(len(labels), validation, seed, forget_set.named_ids())
    return forget_set.training_labels(order, labels)


@schema
class Masks:
    """Random masks of audited samples, one per model; see `evidence.masks`.

    The audited samples are the first in the seed's permuted order, after the validation set. Half
    of them are kept out of each model's training, and a quarter are its forget set.

    Attributes:
        samples: the number of audited samples.
    """

    samples: PositiveInt


def masked_split(
    labels: Int64[np.ndarray, " train"],
    validation: int | float,
    masks: Masks,
    seed: int,
    model: int,
) -> Split:
    """The parts of a training set under one model's mask, each in the seed's permuted order.

    Audited samples come first in the retain set.

    Args:
        labels: labels of the training set, indexed by id.
        validation: a count or a fraction; see `validation_size`.
        masks: of the bank.
        seed: of the permutation and of the masks.
        model: the model's number.

    Raises:
        DataError: nothing but audited samples is trained on, or a set is empty.
    """
    trained_on = training_ids(len(labels), validation, seed)
    if masks.samples >= len(trained_on):
        raise DataError(
            f"bank of {masks.samples:,} audited samples",
            f"leaves no others to train on: there are {len(trained_on):,}",
            "audit fewer samples",
        )
    audited = trained_on[: masks.samples]
    (state,) = states(range(model, model + 1), masks.samples, seed)
    if not (state == FORGET).any():
        raise DataError(
            f"bank of {masks.samples} audited samples",
            f"gives model {model} nothing to forget",
            "audit more samples",
        )
    return Split(
        validation=validation_ids(len(labels), validation, seed),
        forget=audited[state == FORGET],
        retain=np.concatenate([audited[state == RETAIN], trained_on[masks.samples :]]),
        held_out=audited[state == OUT],
    )


def _divided(
    train_size: int, validation: int | float, seed: int, named: Ids | None
) -> tuple[Ids, Ids]:
    """The validation set, and all other samples."""
    order, size = _permuted(train_size, seed), validation_size(validation, train_size)
    if named is None:
        return order[:size], order[size:]
    free = ~np.isin(order, named)
    drawn = free & (np.cumsum(free) <= size)
    return order[drawn], order[~drawn]


def _permuted(train_size: int, seed: int) -> Ids:
    return np.random.RandomState(seed).permutation(train_size).astype(np.int64)
