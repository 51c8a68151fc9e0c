"""The linear probe: a classifier on frozen features."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.capture import Host
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.recipe import LastBatch, Player, Recipe
from unlearn_ray.core.schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    field_values,
    schema,
)
from unlearn_ray.core.transfer import given, to_device
from unlearn_ray.measure.regression import regress
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Iteration, Progress, Training, optimise

USUAL_COPIES = 10
MOST_COPIES = 1000


@schema
class Probe(Recipe):
    """A linear classifier trained on the retain set's features (MUC, appendix A.2).

    The kinds of features give different accuracies, so compare only models with the same one.
    Measured on short SimCLR runs of ResNet-8 (percent; cached, then augmented):

    - CIFAR-10, JPEG-recompressed, 6,000 training and 3,000 test images: retain 46.9 and 42.3,
      test 43.5 and 40.8, forget 42.5 and 40.3, CMIA 37.0 and 34.7; cached varies by at most 0.5
      with the probe's seed.
    - digits, 8x8 pixels: test 97.5 and 73.6. A crop padded by 4 shifts such images by up to half
      their size: use "cached" for small images.

    Copies of cached views are as good as fresh ones: on CIFAR-10, JPEG-recompressed, 1,638 retain
    and 2,000 test images, three encoders, the mean difference from augmented (points: retain,
    test; CPU seconds) is -2.1, -1.3; 0.7 with 1 copy, +0.3, -0.9; 2.5 with 4, +0.1, -0.4; 6.1 with
    10 and -0.1, -0.4; 12.1 with 20. Another augmented probe is +0.3, -0.5; 58.1 away, and cached
    +5.1, +2.6; 0.1.

    Attributes:
        features: "cached" trains on features of the unaugmented images, extracted once;
            "augmented" is the paper's: each epoch runs the frozen encoder on a padded crop
            and a flip of every image; "cached_views" extracts `copies` sets of such views once,
            and its epochs take one after the other.
        copies: number of sets for "cached_views", of which the probe takes at most one per epoch;
            null is 10, and the only value for other features.
    """

    epochs: NonNegativeInt = 100
    learning_rate: PositiveFloat = 1.0
    weight_decay: NonNegativeFloat = 0.0
    last_batch: LastBatch | None = "drop"
    features: Literal["cached", "augmented", "cached_views"] = "cached"
    copies: Annotated[int, Field(ge=1, le=MOST_COPIES)] | None = None

    @model_validator(mode="after")
    def _copies_of_views(self) -> Probe:
        if self.copies is not None and self.features != "cached_views":
            raise ValueError(
                f"copies = {self.copies} of {self.features} features; only cached_views has copies"
            )
        return self

    @property
    def sets(self) -> int:
        """Number of sets of features that the probe is trained on, unless they are augmented."""
        if self.features != "cached_views":
            return 1
        return min(self.epochs, USUAL_COPIES if self.copies is None else self.copies)

    def identity(self) -> dict[str, Any]:
        """What keys cover: all fields, and of copies those that are in use."""
        given = field_values(self)
        del given["copies"]
        return given | ({"copies": self.sets} if self.features == "cached_views" else {})


def train_probe(
    probe: Recipe,
    features: Float[Tensor, "copies n d"] | Callable[[Iteration], Float[Tensor, "batch d"]],
    labels: Int[Tensor, " n"],
    *,
    feature_size: int,
    num_classes: int,
    seed: int,
    compute: Compute,
    on_progress: Callable[[Progress], bool] | None = None,
) -> nn.Linear:
    """Train a linear classifier by cross-entropy, in float32 on the device.

    The logits of a class without samples are only ever pushed down.

    Args:
        probe: recipe of the training.
        features: frozen features, on the device: sets of them, which epochs take in turns, or of
            the rows of one iteration.
        labels: of the training samples, on the device.
        feature_size: dimension of the features.
        num_classes: of the dataset, including those without samples.
        seed: of initial weights, order and views.
        compute: the device.
        on_progress: see `optimise`.

    Raises:
        DataError: there are no samples.
        NonFiniteLoss: training diverged.
    """
    if labels.shape[0] == 0:
        raise DataError(
            "retain set of 0 samples",
            "a linear probe needs some to train on",
            "forget less, or hold out less for validation",
        )
    words = ("probe", seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_seed(*words))
        linear = nn.Linear(feature_size, num_classes).to(compute.device)
    if isinstance(features, Tensor):
        if probe.optimizer == "sgd":
            regress(
                linear, probe, features, labels,
                seed=stable_seed(*words), compute=compute, on_progress=on_progress,
            )  # fmt: skip
            return linear
        features = _in_turns(features)

    def loss(iteration: Iteration) -> Tensor:
        with torch.autocast(compute.device.type, enabled=False):
            logits = linear(features(iteration))
            rows = given(_rows, iteration, compute.device)
            return functional.cross_entropy(logits, labels[rows])

    players = (Player(linear, probe, loss),)
    training = Training(players, labels.shape[0], stable_seed(*words))
    optimise(training, compute, on_progress=on_progress)
    return linear


def _rows(iteration: Iteration) -> Host[Tensor]:
    return Host([iteration.rows], itemgetter(0))


def _in_turns(features: Float[Tensor, "copies n d"]) -> Callable[[Iteration], Tensor]:
    def of_rows(iteration: Iteration) -> Tensor:
        rows = to_device(iteration.rows, features.device)
        return features[iteration.epoch % len(features)][rows]

    return of_rows
