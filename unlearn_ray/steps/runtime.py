"""`Runtime`: what a process caches between the steps it runs.

A worker runs many steps that read the same dataset and the same originals. They are loaded
once per process; no cache can change a result.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.collective import on_every, on_first, rank
from unlearn_ray.core.errors import CorruptObject, RemovedArtifact
from unlearn_ray.core.keys import content_key
from unlearn_ray.data import loaded
from unlearn_ray.data.base import Dataset, Split
from unlearn_ray.data.splits import masked_split, split, training_labels
from unlearn_ray.families.base import Family
from unlearn_ray.measure.inference import Inference
from unlearn_ray.quantities.base import Observation, SetName
from unlearn_ray.steps.known import Known
from unlearn_ray.steps.setting import Setting
from unlearn_ray.storage.observations import OBSERVED, unpack
from unlearn_ray.storage.store import Store, pack_tensors, unpack_tensors
from unlearn_ray.storage.tensors import ARRAYS, MODEL
from unlearn_ray.train.compute import Compute
from unlearn_ray.train.loop import Progress
from unlearn_ray.train.resident import ResidentData
from unlearn_ray.train.training import new_model

if TYPE_CHECKING:
    from unlearn_ray.steps.base import Step
    from unlearn_ray.steps.kinds.observe import Observe
    from unlearn_ray.steps.kinds.samples import Samples

# Of cached observations: those of originals and retrained models, which every trial reads.
_OBSERVED_BYTES = 2**28

BySet = dict[SetName, Tensor]

Value = TypeVar("Value")


@dataclass(frozen=True)
class Produced:
    """A step's output.

    Attributes:
        files: those of its artifact.
        result: for its record.
        small: names of the files that its record holds.
    """

    files: dict[str, bytes]
    result: dict[str, Any]
    small: frozenset[str] = frozenset()


class _Recent(Generic[Value]):
    """An LRU cache bounded by total weight; it keeps at least one value."""

    def __init__(self, size: int, weight: Callable[[Value], int] = lambda _: 1) -> None:
        self.size = size
        self.weight = weight
        self.values: OrderedDict[str, Value] = OrderedDict()

    def get(self, key: str, make: Callable[[], Value]) -> Value:
        if key not in self.values:
            self.put(key, make())
        self.values.move_to_end(key)
        return self.values[key]

    def put(self, key: str, value: Value) -> None:
        self.values[key] = value
        while len(self.values) > 1 and sum(map(self.weight, self.values.values())) > self.size:
            self.values.popitem(last=False)


@dataclass
class StoredCheckpoints:
    """The checkpoints of one step, in the store (`train.loop.Checkpoints`)."""

    store: Store
    key: str
    seconds_between: float
    at_end: bool

    def load(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """The newest intact checkpoint."""
        latest = self.store.latest_checkpoint(self.key)
        return None if latest is None else unpack_tensors(latest[1])

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        """Upload one, then drop older ones."""
        self.store.save_checkpoint(self.key, iteration, pack_tensors(tensors, metadata))


@dataclass
class Runtime:
    """One process's store, device and caches.

    Attributes:
        store: where steps read and write.
        compute: the device.
        checkpoint_seconds: the interval between checkpoints of a training.
        on_progress: called with the step's key, its name and its progress; returns whether to
            save a checkpoint now, and stops the step by raising.
        around: makes, from a step's key and name, the context that the step runs in.
        must_end: whether this process was asked to terminate.
    """

    store: Store
    compute: Compute
    checkpoint_seconds: float
    on_progress: Callable[[str, str, Progress], bool] | None = None
    around: Callable[[str, str], AbstractContextManager[None]] | None = None
    _running: tuple[str, str] | None = None
    must_end: Callable[[], bool] = lambda: False
    _data: _Recent[ResidentData] = field(default_factory=lambda: _Recent(2))
    _weights: _Recent[dict[str, Tensor]] = field(default_factory=lambda: _Recent(8))
    _unused: _Recent[nn.Module] = field(default_factory=lambda: _Recent(1))
    _inference: _Recent[Inference] = field(default_factory=lambda: _Recent(1))
    _observations: _Recent[Observation] = field(
        default_factory=lambda: _Recent(_OBSERVED_BYTES, _bytes_of)
    )
    _samples: _Recent[tuple[BySet, BySet]] = field(default_factory=lambda: _Recent(8))
    _splits: _Recent[Split] = field(default_factory=lambda: _Recent(8))

    def __post_init__(self) -> None:
        self.known = Known(self.store)

    def data(self, dataset: Dataset, family: Family) -> ResidentData:
        """The dataset on the device, with its captions tokenised by the family."""

        def load() -> ResidentData:
            classes, device = len(dataset.info().class_names), self.compute.device
            data = loaded.load(dataset, cache_folder())
            return ResidentData.load(data, classes, family, device, dataset.prompts())

        reader = family if family.reads_captions else None
        return self._data.get(content_key([dataset, reader]), lambda: on_every(load))

    def training_data(self, step: Step) -> ResidentData:
        """The dataset with the labels that the models of a step are trained with."""
        setting = step.setting
        data = self.data(setting.dataset, setting.family)
        if setting.relabelling is None:
            return data
        true = data.train_labels
        given = training_labels(
            true.cpu().numpy(), setting.validation, setting.relabelling, step.seed
        )
        return replace(data, train_labels=torch.from_numpy(given).to(true.device))

    def split(self, step: Step) -> Split:
        """Validation, forget and retain set of a step."""
        setting, seed = step.setting, step.seed
        model = None if setting.masks is None else step.replicate
        what = [setting.dataset, setting.validation, setting.forgotten, seed, model]

        def make() -> Split:
            data = self.data(setting.dataset, setting.family)
            labels = data.train_labels.cpu().numpy()
            if setting.masks is None:
                return split(labels, setting.validation, setting.forget_set, seed)
            args = labels, setting.validation, setting.masks, seed
            return masked_split(*args, step.replicate)

        return self._splits.get(content_key(what), lambda: on_every(make))

    def checkpoints(self, key: str, *, at_end: bool) -> StoredCheckpoints:
        """The checkpoints of a step; `at_end` also keeps one of the finished run."""
        return StoredCheckpoints(self.store, key, self.checkpoint_seconds, at_end)

    @contextmanager
    def running(self, key: str, name: str) -> Iterator[None]:
        """Mark a step as running within the block; of several workers, the first reports it."""
        with nullcontext() if self.around is None or rank() else self.around(key, name):
            self._running = (key, name)
            try:
                yield
            finally:
                self._running = None

    def tell(self, progress: Progress) -> bool:
        """Report the running step's progress; returns whether to save a checkpoint now."""
        if self.on_progress is None or self._running is None:
            return False
        return self.on_progress(*self._running, progress)

    def forget(self) -> None:
        """Free everything that is cached."""
        for cache in (
            *(self._data, self._weights, self._unused, self._inference),
            *(self._observations, self._samples, self._splits),
        ):
            cache.values.clear()

    def remember(self, key: str, model: nn.Module) -> None:
        """Keep a model's weights for the next step of this process."""
        self._weights.put(
            key, {name: value.detach().clone() for name, value in model.state_dict().items()}
        )

    def new_model(self, setting: Setting, seed: int) -> nn.Module:
        """A freshly initialised model of a setting, on the CPU."""
        info, sparse = setting.dataset.info(), setting.sparsity is not None
        return new_model(setting.model, setting.family, info, seed, sparse=sparse)

    def model(self, step: Step) -> nn.Module:
        """A model with the weights that a training step left, on the CPU or the device.

        Raises:
            MissingObject: the step has no record, or its artifact is gone.
            CorruptObject: the artifact was altered since it was written.
        """

        def stored() -> dict[str, Tensor]:
            return unpack_tensors(self.store.read_artifact(self.known.of(step), MODEL))[0]

        weights = self._weights.get(step.key, lambda: on_first(stored))
        model = self._unloaded(step.setting)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            # PyTorch lists every tensor, one a line below a heading.
            first = " ".join(str(error).splitlines()[1:2]).strip()
            raise CorruptObject(
                f"weights of step {step.key}",
                f"do not fit the model: {first}",
                "delete the step's record and run the sweep again",
            ) from error
        return self.compute.place(model, 0)

    def _unloaded(self, setting: Setting) -> nn.Module:
        """A model to load weights into: a copy, as drawing random weights each time costs more."""
        what = [setting.dataset, setting.model, setting.family, setting.sparsity is not None]
        drawn = self._unused.get(content_key(what), lambda: self.new_model(setting, seed=0))
        return copy.deepcopy(drawn)

    def inference(self, step: Step, observed: Step) -> Inference:
        """Inference on the sets of a step, with the model that a training step left."""
        setting, seed = step.setting, observed.seed

        def make() -> Inference:
            return Inference(
                self.model(step),
                self.data(setting.dataset, setting.family),
                self.split(observed),
                family=setting.family,
                probe=setting.probe,
                seed=seed,
                compute=self.compute,
                make_model=lambda seed: self.new_model(setting, seed),
                on_progress=self.tell,
            )

        what = [step.key, setting.forgotten, setting.probe, setting.family, seed]
        return self._inference.get(content_key(what), make)

    def samples(self, step: Samples) -> tuple[BySet, BySet]:
        """Ids and labels of all sets, from the step's artifact."""

        def read() -> tuple[BySet, BySet]:
            data = self.store.read_artifact(self.known.of(step), OBSERVED)
            columns = unpack(data, f"{step}")
            ids, labels = (
                {part: of_set[name] for part, of_set in columns.items()} for name in ("id", "label")
            )
            return ids, labels

        return self._samples.get(step.key, read)

    def observation(self, step: Observe) -> Observation:
        """The step's observation, stored or, if it is not kept or was removed, computed now."""

        def get() -> Observation:
            self.known.look([step])
            record = self.known.get(step)
            if record is None:
                return step.observe(self)
            samples: BySet = {}
            arrays: dict[str, Tensor] = {}
            try:
                if OBSERVED in record.files:
                    columns = unpack(self.store.read_artifact(record, OBSERVED), f"{step}")
                    samples = {part: of_set["value"] for part, of_set in columns.items()}
                if ARRAYS in record.files:
                    arrays = unpack_tensors(self.store.read_artifact(record, ARRAYS))[0]
            except RemovedArtifact:
                return step.observe(self)
            return Observation(samples, arrays)

        return self._observations.get(step.key, get)

    def remember_observation(self, key: str, observation: Observation) -> None:
        """Keep an observation for the next metrics of this process."""
        self._observations.put(key, observation)


def _bytes_of(observation: Observation) -> int:
    tensors = (*observation.samples.values(), *observation.arrays.values())
    return sum(tensor.element_size() * tensor.nelement() for tensor in tensors)
