"""What `unlearn-ray new` writes: parts that work, sweeps that use them, a test."""

from __future__ import annotations

from string import Template

_METHOD = '''\
"""$title: descend on retain samples, ascend on forget samples.

Who, "In Which Paper", where and when.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Ranges, log_uniform, uniform
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import UnitInterval, schema
from unlearn_ray.methods.base import Task, TrainingMethod


@register("$name")
@schema
class $cls(TrainingMethod):
    """L = mean over a batch of (1 - w) loss of retain samples, and -w loss of forget samples.

    Attributes:
        forget_weight: w.
    """

    forget_weight: UnitInterval = 0.05

    recommended: ClassVar[Ranges] = {
        "learning_rate": log_uniform(0.001, 0.03),
        "forget_weight": uniform(0.01, 0.2),
    }

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Tensor:
        """Of one mixed batch, which may lack samples of either set."""
        samples = task.family.anchor_losses(model, batch)
        signs = torch.where(samples.is_forget, -self.forget_weight, 1 - self.forget_weight)
        return (signs * samples.loss).mean()
'''

_METRIC = '''\
"""$title: the probability of the true class on the forget set."""

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.base import Measurement, Metric, Observed


@register("$name")
@schema
class $cls(Metric):
    """Mean probability of the true class over the forget set, in percent."""

    columns: ClassVar[dict[str, str]] = {"$name": "$title"}
    needs_classes: ClassVar[bool] = True

    def measure(self, model: Observed) -> Measurement:
        """Of one model; the gap to the retrained model is derived."""
        labels = model.labels("forget")
        confidence = model.probabilities("forget").gather(1, labels[:, None])
        return Measurement({"$name": 100 * float(confidence.mean())})
'''

_MODEL = '''\
"""$title: three convolutions."""

from typing import ClassVar

from torch import Tensor, nn
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.models.base import Model


class Backbone(nn.Module):
    """Images to features, whose number is `feature_size`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.feature_size = 4 * width
        self.layers = nn.Sequential(
            *_layer(3, width, stride=1),
            *_layer(width, 2 * width, stride=2),
            *_layer(2 * width, 4 * width, stride=2),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Mean over the pixels of the last layer."""
        features: Tensor = self.layers(images).mean(dim=(2, 3))
        return features


def _layer(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


@register("$name")
@schema
class $cls(Model):
    """Three convolutions with batch norm and ReLU.

    Attributes:
        width: channels of the first layer; features have 4 * width entries.
    """

    tiny: ClassVar[Fields] = {"width": 4}

    width: PositiveInt = 16

    def build(self, image_size: int) -> nn.Module:
        """A backbone, initialised from torch's global generator."""
        return Backbone(self.width)
'''

_DATASET = '''\
"""$title: noise with a bright row, whose place is the class."""

from pathlib import Path
from typing import ClassVar

import numpy as np
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import Dataset, DatasetInfo, ImageData, ImageSize

_CLASSES = ("first", "second", "third", "fourth")
_TRAIN, _TEST = 800, 200


@register("$name")
@schema
class $cls(Dataset):
    """800 and 200 drawn images of four classes.

    Attributes:
        image_size: height and width in pixels.
    """

    tiny: ClassVar[Fields] = {"image_size": 8}

    image_size: ImageSize = 8

    def info(self) -> DatasetInfo:
        """Known without reading anything."""
        return DatasetInfo(_TRAIN, _TEST, _CLASSES, self.image_size)

    def load(self, cache: Path) -> ImageData:
        """Drawn each time; a dataset that downloads or decodes keeps the result in `cache`."""
        return ImageData(*self._draw(_TRAIN, seed=0), *self._draw(_TEST, seed=1))

    def _draw(self, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        labels = generator.integers(len(_CLASSES), size=size)
        shape = (size, self.image_size, self.image_size, 3)
        images = generator.integers(120, size=shape, dtype=np.uint8)
        rows = labels * self.image_size // len(_CLASSES)
        images[np.arange(size), rows] += 100
        return images, labels
'''

_SWEEP = """\
# $title on scikit-learn's digits: a few minutes on a laptop.
plugins: [./$name.py]
dataset: {digits: {image_size: 8}}
validation: 0.1
forget_set: {classes: {classes: ["7"]}}
model: {resnet8: {width: 8}}
family: supervised
training: {epochs: 15, batch_size: 64, learning_rate: 0.05}
methods:
  finetune: {epochs: 3, batch_size: 64, learning_rate: {log_uniform: [0.001, 0.03]}}
search: {trials: 3}
seeds: {tuning: [0], reporting: [1, 2]}
"""
_OWN_METHOD = """\
  $name:
    epochs: 3
    batch_size: 64
    learning_rate: recommended    # a range of the class; or {log_uniform: [0.001, 0.03]}
    forget_weight: recommended
search:"""
_OWN_METRIC = """\
metrics: [retain_accuracy, test_accuracy, forget_accuracy, $name]
methods:"""


def _changed(old: str, new: str) -> Template:
    assert _SWEEP.count(old) == 1
    return Template(_SWEEP.replace(old, new))


# By kind; `$name`, `$cls` and `$title` are filled in.
PARTS = {
    "method": Template(_METHOD),
    "metric": Template(_METRIC),
    "model": Template(_MODEL),
    "dataset": Template(_DATASET),
}
SWEEPS = {
    "method": _changed("search:", _OWN_METHOD),
    "metric": _changed("methods:", _OWN_METRIC),
    "model": _changed("model: {resnet8: {width: 8}}", "model: {$name: {width: 8}}"),
    "dataset": Template(
        _SWEEP.replace("{digits: {image_size: 8}}", "$name")
        .replace('["7"]', "[third]")
        .replace(" on scikit-learn's digits", "")
    ),
}
TEST = Template("""\
\"\"\"The conformance suite on $name.\"\"\"

from unlearn_ray.testing import conformance_of

from $name import $cls

test_$name = conformance_of($cls)
""")
