"""The linear probe: a classifier on frozen features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.recipe import LastBatch, Player, Recipe
from unlearn_ray.core.schema import NonNegativeFloat, NonNegativeInt, PositiveFloat, schema
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Iteration, Progress, Training, optimise


@schema
class Probe(Recipe):
    """A linear classifier trained on the retain set's features (MUC, appendix A.2).

    The two kinds of features give different accuracies, so compare only models with the same one.
    Measured on short SimCLR runs of ResNet-8 (percent; cached, then augmented):

    - CIFAR-10, JPEG-recompressed, 6,000 training and 3,000 test images: retain 46.9 and 42.3,
      test 43.5 and 40.8, forget 42.5 and 40.3, CMIA 37.0 and 34.7; cached varies by at most 0.5
      with the probe's seed.
    - digits, 8x8 pixels: test 97.5 and 73.6. A crop padded by 4 shifts such images by up to half
      their size: use "cached" for small images.

    Attributes:
        features: "cached" trains on features of the unaugmented images, extracted once;
            "augmented" is the paper's: each epoch runs the frozen encoder on a padded crop
            and a flip of every image.
    """

    epochs: NonNegativeInt = 100
    learning_rate: PositiveFloat = 1.0
    weight_decay: NonNegativeFloat = 0.0
    last_batch: LastBatch | None = "drop"
    features: Literal["cached", "augmented"] = "cached"


def train_probe(
    probe: Recipe,
    features: Callable[[Iteration], Float[Tensor, "batch d"]],
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
        features: frozen features, on the device, of the rows of one iteration.
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

    def loss(iteration: Iteration) -> Tensor:
        with torch.autocast(compute.device.type, enabled=False):
            logits = linear(features(iteration))
            return functional.cross_entropy(logits, labels[iteration.rows.to(compute.device)])

    players = (Player(linear, probe, loss),)
    training = Training(players, labels.shape[0], stable_seed(*words))
    optimise(training, compute, on_progress=on_progress)
    return linear
