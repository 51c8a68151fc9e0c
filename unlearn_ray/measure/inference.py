"""`Inference`: all outputs of one model that quantities use, computed at most once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from unlearn_ray.data.augmentation import normalise, probe_views
from unlearn_ray.data.base import Split
from unlearn_ray.families.base import ClassifierFamily, Family
from unlearn_ray.measure.embeddings import Embeddings
from unlearn_ray.measure.features import BLOCK, Views, extract, frozen
from unlearn_ray.measure.probe import Probe, train_probe
from unlearn_ray.quantities.base import Pairs, SetName
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Iteration, Progress, seeded
from unlearn_ray.train.resident import ResidentData


class Inference:
    """Features and outputs of one model, on the CPU; implements `quantities.base.Inference`.

    The views of a set depend only on the seed, the set and the view's number: the original, the
    retrained and every unlearned model see the same ones, so that comparisons are paired, and no
    result depends on earlier calls.

    Args:
        model: with its `backbone`, on the device; not changed.
        data: the dataset on the device.
        split: forget and retain set of the seed.
        family: of the model; the mean and deviation of its views also normalise test-time
            images and the probe's views.
        probe: settings of the linear probe, for a model that is neither a classifier nor reads
            captions.
        seed: of views and probe.
        compute: the device.
        on_progress: called with the progress of long computations; see `optimise`.
    """

    def __init__(
        self,
        model: nn.Module,
        data: ResidentData,
        split: Split,
        *,
        family: Family,
        probe: Probe,
        seed: int,
        compute: Compute,
        on_progress: Callable[[Progress], bool] = lambda _: False,
    ) -> None:
        self.model = model
        self._family = family
        self._backbone: nn.Module = model.get_submodule("backbone")
        self._data = data
        self._augmentation = family.augmentation
        self._probe = probe
        self._seed = seed
        self._compute = compute
        self._on_progress = on_progress
        device = compute.device
        self._ids: dict[SetName, Tensor] = {
            "retain": torch.as_tensor(split.retain, device=device),
            "forget": torch.as_tensor(split.forget, device=device),
            "validation": torch.as_tensor(split.validation, device=device),
            "test": torch.arange(data.test_labels.shape[0], device=device),
        }
        self._features: dict[SetName, Tensor] = {}
        self._logits: dict[SetName, Tensor] = {}
        self._view_blocks: dict[tuple[SetName, int, int], Tensor] = {}
        self._embeddings = Embeddings(model, family, data, self._ids, self._test_time)

    def size(self, part: SetName) -> int:
        """Number of samples of a set."""
        return self._ids[part].shape[0]

    def ids(self, part: SetName) -> Int[Tensor, " n"]:
        """Ids of a set's samples, in their order."""
        return self._ids[part].cpu()

    def features(self, part: SetName) -> Float[Tensor, "n d"]:
        """Backbone features of the unaugmented images.

        Raises:
            NonFiniteLoss: a feature is NaN or infinite.
        """
        if part not in self._features:
            self._features[part] = extract(
                self._backbone, self._images(part), self._ids[part], self._test_time
            )
        return self._features[part]

    def logits(self, part: SetName) -> Float[Tensor, "n classes"]:
        """Logits of a classifier, of prompts (zero-shot), or of a probe of the retain features.

        Raises:
            NonFiniteLoss: an output, or the probe's training, became NaN or infinite.
            DataError: the retain set is empty, and a probe is needed.
        """
        if part not in self._logits:
            self._logits[part] = self._outputs(part)
        return self._logits[part]

    def _outputs(self, part: SetName) -> Tensor:
        if self._family.reads_captions:
            return self._embeddings.logits(part)
        if isinstance(self._family, ClassifierFamily):
            return extract(self.model, self._images(part), self._ids[part], self._test_time)
        classifier = self._classifier
        with torch.no_grad():
            logits: Tensor = classifier(self.features(part).to(self._compute.device))
        return logits.cpu()

    def view_features(self, part: SetName, views: int, limit: int) -> Float[Tensor, "m v d"]:
        """Backbone features of `views` strong augmentations of the set's first `limit`.

        Fewer views or samples are a prefix of more.

        Raises:
            NonFiniteLoss: a feature is NaN or infinite.
        """
        count = min(limit, self.size(part))
        blocks = range(max(1, -(-count // BLOCK)))
        by_view = [
            torch.cat([self._view_block(part, view, block) for block in blocks])[:count]
            for view in range(views)
        ]
        return torch.stack(by_view, dim=1)

    def pairs(self, part: SetName, limit: int) -> Pairs:
        """Embeddings of the set's first `limit` unaugmented images, and of their captions.

        Raises:
            NonFiniteLoss: an embedding is NaN or infinite.
        """
        return self._embeddings.pairs(part, limit)

    def _view_block(self, part: SetName, view: int, block: int) -> Tensor:
        key = (part, view, block)
        if key not in self._view_blocks:
            generator = seeded("view", self._seed, part, view, block)
            self._view_blocks[key] = extract(
                self._backbone,
                self._images(part),
                self._ids[part][block * BLOCK : (block + 1) * BLOCK],
                lambda images: self._augmentation(images, generator),
            )
        return self._view_blocks[key]

    @cached_property
    def _classifier(self) -> nn.Linear:
        inputs = self._augmented() if self._probe.features == "augmented" else self._cached()
        return train_probe(
            self._probe,
            inputs,
            self._device_labels("retain"),
            feature_size=self.features("retain").shape[1],
            num_classes=self._data.num_classes,
            seed=self._seed,
            compute=self._compute,
            on_progress=lambda progress: self._on_progress(replace(progress, doing="probe")),
        )

    def _cached(self) -> Callable[[Iteration], Tensor]:
        features = self.features("retain").to(self._compute.device)
        return lambda iteration: features[iteration.rows.to(features.device)]

    def _augmented(self) -> Callable[[Iteration], Tensor]:
        mean, std = self._augmentation.mean, self._augmentation.std
        views = replace(probe_views(), mean=mean, std=std)
        images, ids = self._images("retain"), self._ids["retain"]

        def features(iteration: Iteration) -> Tensor:
            batch = images[ids[iteration.rows.to(ids.device)]]
            with frozen(self._backbone):
                output: Tensor = self._backbone(views(batch, iteration.generator))
            return output.float()

        return features

    def _images(self, part: SetName) -> UInt8[Tensor, "all height width 3"]:
        return self._data.test_images if part == "test" else self._data.train_images

    def _device_labels(self, part: SetName) -> Int[Tensor, " n"]:
        labels = self._data.test_labels if part == "test" else self._data.train_labels
        return labels[self._ids[part]]

    @property
    def _test_time(self) -> Views:
        mean, std = self._augmentation.mean, self._augmentation.std
        return lambda images: normalise(images, mean, std)
