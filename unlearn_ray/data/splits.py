"""Validation, forget and retain set of a seed, exactly as in MUC.

MUC's official code: RandomState(seed) permutes the training set; the first samples are the
validation set, the next ones are forgotten, the rest is retained.
"""

from __future__ import annotations

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


def training_ids(train_size: int, validation: int | float, seed: int) -> Ids:
    """The samples of forget and retain set together, in the seed's permuted order."""
    return _permuted(train_size, seed)[validation_size(validation, train_size) :]


def validation_ids(train_size: int, validation: int | float, seed: int) -> Ids:
    """The validation set, in the seed's permuted order; it does not depend on the forget set."""
    return _permuted(train_size, seed)[: validation_size(validation, train_size)]


def never_trained(
    forget_set: ForgetSet, train_size: int, validation: int | float, seed: int
) -> int:
    """How many of the ids that the user named are in the validation set of this seed.

    No model was trained on these, so `split` leaves them out of the forget set.
    """
    named = forget_set.named_ids()
    if named is None:
        return 0
    return int(np.isin(named, validation_ids(train_size, validation, seed)).sum())


def forget_size(
    forget_set: ForgetSet, train_size: int, validation: int | float, seed: int
) -> int | None:
    """Number of forgotten samples under this seed; None if it depends on the data."""
    trained_on = train_size - validation_size(validation, train_size)
    named = forget_set.named_ids()
    if named is None:
        return forget_set.size(trained_on)
    return len(named) - never_trained(forget_set, train_size, validation, seed)


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
    trained_on = training_ids(len(labels), validation, seed)
    forgotten = np.isin(trained_on, forget_set.select(trained_on, labels))
    if not forgotten.any():
        raise DataError(
            f"forget_set {forget_set.name}",
            f"none of its samples is trained on under seed {seed}",
            "name other samples, or hold out fewer for validation",
        )
    if forgotten.all():
        raise DataError(
            f"forget_set {forget_set.name}",
            f"nothing is left to retain under seed {seed}",
            "forget fewer samples",
        )
    return Split(
        validation=validation_ids(len(labels), validation, seed),
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
    return forget_set.training_labels(training_ids(len(labels), validation, seed), labels)


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


def _permuted(train_size: int, seed: int) -> Ids:
    return np.random.RandomState(seed).permutation(train_size).astype(np.int64)
