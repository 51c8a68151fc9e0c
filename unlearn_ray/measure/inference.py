"""`Inference`: all outputs of one model that quantities use, computed at most once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cached_property, partial

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from unlearn_ray.core.capture import Host
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.precision import tf32
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.transfer import given
from unlearn_ray.data.augmentation import Augmentation, normalise, probe_views
from unlearn_ray.data.base import Split
from unlearn_ray.data.view_parameters import ViewParameters
from unlearn_ray.families.base import ClassifierFamily, Family
from unlearn_ray.measure.blocks import BlockOutputs
from unlearn_ray.measure.classifying import Classifying, classifying, random_linear
from unlearn_ray.measure.embeddings import Embeddings
from unlearn_ray.measure.features import Views, encode, extract, frozen
from unlearn_ray.measure.probe import Probe, train_probe
from unlearn_ray.measure.relearning import relearn
from unlearn_ray.measure.sets import SampleSets
from unlearn_ray.quantities.base import Head, Pairs, SetName
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
        make_model: builds a randomly initialised model of the same architecture from a seed, on the
            CPU.
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
        make_model: Callable[[int], nn.Module],
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
        self._make_model = make_model
        self._on_progress = on_progress
        self._sets = SampleSets(data, split)
        self._features: dict[SetName, Tensor] = {}
        self._logits: dict[SetName, Tensor] = {}
        self._view_blocks: dict[tuple[SetName, int, int], Tensor] = {}
        self._blocks = BlockOutputs(self._backbone)
        self._block_features: dict[tuple[SetName, int], Tensor] = {}
        self._embeddings = Embeddings(model, family, data, self._sets.ids, self._test_time)

    def size(self, part: SetName) -> int:
        """Number of samples of a set."""
        return self._sets.ids[part].shape[0]

    def ids(self, part: SetName) -> Int[Tensor, " n"]:
        """Ids of a set's samples, in their order."""
        return self._sets.ids[part].cpu()

    def labels(self, part: SetName) -> Int[Tensor, " n"]:
        """True classes of a set's samples."""
        return self._sets.labels(part).cpu()

    def features(self, part: SetName) -> Float[Tensor, "n d"]:
        """Backbone features of the unaugmented images.

        Raises:
            NonFiniteLoss: a feature is NaN or infinite.
        """
        return self._encoded(part).cpu()

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
            return self._extracted(self.model, part)
        classifier = self._classifier
        with torch.no_grad():
            logits: Tensor = classifier(self._encoded(part))
        return logits.cpu()

    def view_features(self, part: SetName, views: int, limit: int) -> Float[Tensor, "m v d"]:
        """Backbone features of `views` strong augmentations of the set's first `limit`.

        Fewer views or samples are a prefix of more.

        Raises:
            NonFiniteLoss: a feature is NaN or infinite.
        """
        by_view = [
            torch.cat(
                [self._view_block(part, view, *block) for block in self._sets.blocks(part, limit)]
            )[:limit]
            for view in range(views)
        ]
        return torch.stack(by_view, dim=1)

    def pairs(self, part: SetName, limit: int) -> Pairs:
        """Embeddings of the set's first `limit` unaugmented images, and of their captions.

        Raises:
            NonFiniteLoss: an embedding is NaN or infinite.
        """
        return self._embeddings.pairs(part, limit)

    def block_features(self, part: SetName, limit: int) -> Mapping[str, Float[Tensor, "m d"]]:
        """Output of every block for the set's first `limit` unaugmented images.

        Raises:
            NonFiniteLoss: an output is NaN or infinite.
        """
        for block, ids in self._sets.blocks(part, limit):
            if (part, block) not in self._block_features:
                self._block_features[part, block] = extract(
                    self._backbone, self._sets.images(part), ids, self._test_time, self._blocks
                )
        blocks = [self._block_features[part, block] for block, _ in self._sets.blocks(part, limit)]
        return self._blocks.by_name(torch.cat(blocks)[:limit])

    def head(self, part: SetName, limit: int) -> Head:
        """The last linear layer behind `logits`, with its inputs for the set's first `limit`.

        Raises:
            NonFiniteLoss: an input, or the probe's training, became NaN or infinite.
            DataError: the retain set is empty, and a probe is needed.
        """
        with self._classifying.inputs_of_last() as inputs:
            found = self._extracted(self._classifying.module, part, inputs, limit)
        weights, bias = self._classifying.weights_of_last()
        return Head(found, weights, bias)

    def perturbed_logits(
        self, part: SetName, radius: int, draw: int, limit: int
    ) -> Float[Tensor, "m classes"]:
        """Logits of the set's first `limit` images plus noise of at most `radius` levels.

        Fewer samples are a prefix of more. Levels outside of 0 to 255 are clipped.

        Raises:
            NonFiniteLoss: a logit, or the probe's training, became NaN or infinite.
            DataError: the retain set is empty, and a probe is needed.
        """

        blocks = []
        for block, ids in self._sets.blocks(part, limit):
            generator = seeded("perturbation", self._seed, part, radius, draw, block)
            views = _noisy(self._test_time, radius, generator)
            blocks.append(extract(self._classifying.module, self._sets.images(part), ids, views))
        return torch.cat(blocks)[:limit]

    def random_logits(self, part: SetName) -> Float[Tensor, "n classes"]:
        """Logits of a randomly initialised model of the same architecture.

        Its weights are not those that any training of the same seed starts from.
        """
        seed = stable_seed("random outputs", self._seed)
        model = self._compute.place(self._make_model(seed), 0)
        linear = partial(random_linear, model, self._data.num_classes, seed)
        module = classifying(model, self._family, self._data.prompts, linear).module
        return self._extracted(module, part)

    def probe_logits(
        self,
        inputs: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        others: Float[Tensor, "m d"],
        recipe: Recipe,
    ) -> Float[Tensor, "m classes"]:
        """Logits of `others` by a linear probe that was trained on `inputs`.

        Raises:
            NonFiniteLoss: the training diverged.
            DataError: there are no inputs.
        """
        given = inputs.to(self._compute.device)
        linear = self._trained(recipe, given[None], labels.to(given.device), inputs.shape[1])
        with torch.no_grad():
            logits: Tensor = linear(others.to(given.device))
        return logits.cpu()

    def relearning_losses(
        self, part: SetName, recipe: Recipe, updates: int, limit: int
    ) -> Float64[Tensor, " updates_and_one"]:
        """Cross-entropy while a copy of the model is fine-tuned on unaugmented images of a set.

        The probe is fine-tuned with the backbone; embeddings of class prompts stay constant.

        Raises:
            NonFiniteLoss: the loss or a weight, or the probe's training, became NaN or infinite.
            DataError: the retain set is empty, and a probe is needed.
        """
        images, ids = self._sets.images(part), self._sets.ids[part]
        return relearn(
            deepcopy(self._classifying.module),
            lambda rows: self._test_time(images[ids[rows]]),
            self._sets.labels(part),
            recipe,
            updates=updates,
            limit=limit,
            seed=stable_seed("relearning", self._seed),
            compute=self._compute,
            on_progress=self._telling("relearning"),
        )

    def _encoded(self, part: SetName) -> Float[Tensor, "n d"]:
        """`features` on the device, where probes are trained and applied."""
        if part not in self._features:
            images, ids = self._sets.images(part), self._sets.ids[part]
            self._features[part] = encode(self._backbone, images, ids, self._test_time)
        return self._features[part]

    def _extracted(
        self,
        module: nn.Module,
        part: SetName,
        output: Callable[[Tensor], Tensor] | None = None,
        limit: int | None = None,
    ) -> Tensor:
        images, ids = self._sets.images(part), self._sets.ids[part][:limit]
        return extract(module, images, ids, self._test_time, output)

    def _view_block(self, part: SetName, view: int, block: int, ids: Tensor) -> Tensor:
        key = (part, view, block)
        if key not in self._view_blocks:
            generator = seeded("view", self._seed, part, view, block)
            self._view_blocks[key] = extract(
                self._backbone,
                self._sets.images(part),
                ids,
                lambda images: self._augmentation(images, generator),
            )
        return self._view_blocks[key]

    @cached_property
    def _classifier(self) -> nn.Linear:
        size = self._encoded("retain").shape[1]
        return self._trained(
            self._probe, self._probe_inputs(size), self._sets.labels("retain"), size
        )

    def _probe_inputs(self, size: int) -> Tensor | Callable[[Iteration], Tensor]:
        if self._probe.features == "augmented":
            return self._augmented()
        if self._probe.features == "cached_views":
            return self._cached_views(size)
        return self._encoded("retain")[None]

    def _trained(
        self,
        probe: Recipe,
        inputs: Tensor | Callable[[Iteration], Tensor],
        labels: Tensor,
        size: int,
    ) -> nn.Linear:
        return train_probe(
            probe,
            inputs,
            labels,
            feature_size=size,
            num_classes=self._data.num_classes,
            seed=self._seed,
            compute=self._compute,
            on_progress=self._telling("probe"),
        )

    @cached_property
    def _classifying(self) -> Classifying:
        prompts = self._data.prompts
        return classifying(self.model, self._family, prompts, lambda: self._classifier)

    def _telling(self, doing: str) -> Callable[[Progress], bool]:
        return lambda progress: self._on_progress(replace(progress, doing=doing))

    def _cached_views(self, size: int) -> Float[Tensor, "copies n d"]:
        images, ids = self._sets.images("retain"), self._sets.ids["retain"]
        copies = torch.empty(self._probe.sets, len(ids), size, device=self._compute.device)
        for number, copy in enumerate(copies):
            generator = seeded("probe views", self._seed, number)
            views = partial(self._probe_views, generator=generator)
            copy.copy_(encode(self._backbone, images, ids, views))
        return copies

    def _augmented(self) -> Callable[[Iteration], Tensor]:
        images, ids = self._sets.images("retain"), self._sets.ids["retain"]
        views = self._probe_views

        def make(iteration: Iteration) -> Host[tuple[Tensor, ViewParameters]]:
            rows = iteration.rows
            drawn = views.sample(len(rows), images.shape[1], iteration.generator)
            parts = [rows, *drawn.tensors().values()]
            return Host(parts, lambda there: (there[0], drawn.with_tensors(there[1:])))

        def features(iteration: Iteration) -> Tensor:
            rows, drawn = given(make, iteration, ids.device)
            with frozen(self._backbone), tf32():
                output: Tensor = self._backbone(views.apply(images[ids[rows]], drawn))
            return output.float()

        return features

    @cached_property
    def _probe_views(self) -> Augmentation:
        mean, std = self._augmentation.mean, self._augmentation.std
        return replace(probe_views(), mean=mean, std=std)

    @property
    def _test_time(self) -> Views:
        mean, std = self._augmentation.mean, self._augmentation.std
        return lambda images: normalise(images, mean, std)


def _noisy(views: Views, radius: int, generator: torch.Generator) -> Views:
    """Views of images plus uniform noise of at most `radius` levels, clipped to 8 bits."""

    def noisy(images: Tensor) -> Tensor:
        noise = torch.randint(-radius, radius + 1, images.shape, generator=generator)
        moved = images.int() + noise.to(images.device, torch.int32)
        return views(moved.clamp(0, 255).to(torch.uint8))

    return noisy
