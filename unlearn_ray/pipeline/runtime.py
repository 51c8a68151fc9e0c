"""`Runtime`: what a process keeps between the steps it runs.

A worker runs many steps that read the same dataset and the same originals. They are loaded
once per process; nothing of it can change a result.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch import Tensor, nn

from unlearn_ray.core.collective import on_every, on_first, rank
from unlearn_ray.core.errors import CorruptObject, MissingObject
from unlearn_ray.core.keys import content_key
from unlearn_ray.data import loaded
from unlearn_ray.data.base import Dataset, Split
from unlearn_ray.data.cache import cache_folder
from unlearn_ray.data.splits import split
from unlearn_ray.engine.compute import Compute
from unlearn_ray.engine.evidence import ModelEvidence
from unlearn_ray.engine.loop import Progress
from unlearn_ray.engine.resident import ResidentData
from unlearn_ray.engine.training import new_model
from unlearn_ray.families.base import Family
from unlearn_ray.pipeline.setting import Setting
from unlearn_ray.storage.store import Record, Store, pack_tensors, unpack_tensors

MODEL = "model.safetensors"
ARRAYS = "arrays.safetensors"

Value = TypeVar("Value")


@dataclass(frozen=True)
class Produced:
    """What a step made: files for its artifact, and what its record says."""

    files: dict[str, bytes]
    result: dict[str, Any]


class Named(Protocol):
    """A step, as far as its record goes."""

    kind: ClassVar[str]

    @property
    def key(self) -> str:
        """16 hex digits."""
        ...


class _Recent(Generic[Value]):
    """The last few values that were asked for."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.values: OrderedDict[str, Value] = OrderedDict()

    def get(self, key: str, make: Callable[[], Value]) -> Value:
        if key not in self.values:
            self.put(key, make())
        self.values.move_to_end(key)
        return self.values[key]

    def put(self, key: str, value: Value) -> None:
        self.values[key] = value
        while len(self.values) > self.size:
            self.values.popitem(last=False)


@dataclass
class StoredCheckpoints:
    """The checkpoints of one step, in the store (`engine.loop.Checkpoints`)."""

    store: Store
    key: str
    seconds_between: float
    at_end: bool

    def load(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """The newest whole checkpoint."""
        found = self.store.latest_checkpoint(self.key)
        return None if found is None else unpack_tensors(found[1])

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        """Upload one, then drop older ones."""
        self.store.save_checkpoint(self.key, iteration, pack_tensors(tensors, metadata))


@dataclass
class Runtime:
    """One process's store, device and caches.

    Attributes:
        store: where steps read and write.
        compute: the device.
        checkpoint_seconds: how often training saves what it needs to resume.
        on_progress: told the step's key, its name and how far it is; answers whether to save a
            checkpoint now, and what it raises stops the step.
        around: of a step's key and name; what it makes is open while the step runs.
        must_end: whether this process was told to end.
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
    _evidence: _Recent[ModelEvidence] = field(default_factory=lambda: _Recent(8))
    _latest: _Recent[ModelEvidence] = field(default_factory=lambda: _Recent(1))
    _splits: _Recent[Split] = field(default_factory=lambda: _Recent(8))
    _records: _Recent[Record] = field(default_factory=lambda: _Recent(256))

    def data(self, dataset: Dataset, family: Family) -> ResidentData:
        """The dataset on the device, with its captions as what a family reads of them."""

        def load() -> ResidentData:
            classes, device = len(dataset.info().class_names), self.compute.device
            data = loaded.load(dataset, cache_folder())
            return ResidentData.load(data, classes, family, device, dataset.prompts())

        reader = family if family.reads_captions else None
        return self._data.get(content_key([dataset, reader]), lambda: on_every(load))

    def split(self, setting: Setting, seed: int) -> Split:
        """Validation, forget and retain set of a seed."""
        what = [setting.dataset, setting.validation, setting.forget_set, seed]

        def make() -> Split:
            data = self.data(setting.dataset, setting.family)
            labels = data.train_labels.cpu().numpy()
            return split(labels, setting.validation, setting.forget_set, seed)

        return self._splits.get(content_key(what), lambda: on_every(make))

    def record(self, step: Named) -> Record:
        """The record of a step that was run; asked for once, since records never change.

        Raises:
            MissingObject: it was not run.
        """

        def read() -> Record:
            record = self.store.record(step.kind, step.key)
            if record is None:
                raise MissingObject(
                    f"{step}", "has no record in the store", "run the sweep again: it is run anew"
                )
            return record

        return self._records.get(step.key, read)

    def checkpoints(self, key: str, *, at_end: bool) -> StoredCheckpoints:
        """The checkpoints of a step; `at_end` keeps one of the finished run, too."""
        return StoredCheckpoints(self.store, key, self.checkpoint_seconds, at_end)

    @contextmanager
    def running(self, key: str, name: str) -> Iterator[None]:
        """The block runs a step; of several workers, the first tells of it."""
        with nullcontext() if self.around is None or rank() else self.around(key, name):
            self._running = (key, name)
            try:
                yield
            finally:
                self._running = None

    def tell(self, progress: Progress) -> bool:
        """Say how far the step is that runs; answers whether to save a checkpoint now."""
        if self.on_progress is None or self._running is None:
            return False
        return self.on_progress(*self._running, progress)

    def remember(self, key: str, model: nn.Module) -> None:
        """Keep a model's weights for the next step of this process."""
        self._weights.put(
            key, {name: value.detach().clone() for name, value in model.state_dict().items()}
        )

    def new_model(self, setting: Setting, seed: int) -> nn.Module:
        """A freshly initialised model of a setting, on the CPU."""
        info, sparse = setting.dataset.info(), setting.sparsity is not None
        return new_model(setting.model, setting.family, info, seed, sparse=sparse)

    def model(self, key: str, setting: Setting) -> nn.Module:
        """A model with the weights that the training step `key` left, on the CPU or the device.

        Raises:
            MissingObject: the step has no record, or its artifact is gone.
            CorruptObject: the artifact is not what was written.
        """
        weights = self._weights.get(key, lambda: on_first(lambda: self._stored_weights(key)))
        model = self.new_model(setting, seed=0)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            # PyTorch lists every tensor, one a line below a heading.
            first = " ".join(str(error).splitlines()[1:2]).strip()
            raise CorruptObject(
                f"weights of step {key}",
                f"do not fit the model: {first}",
                "delete the step's record and run the sweep again",
            ) from error
        return self.compute.place(model, 0)

    def evidence(
        self, key: str, setting: Setting, seed: int, original: ModelEvidence | None
    ) -> ModelEvidence:
        """What metrics ask of the model that the training step `key` left."""

        def make() -> ModelEvidence:
            return ModelEvidence(
                self.model(key, setting),
                self.data(setting.dataset, setting.family),
                self.split(setting, seed),
                family=setting.family,
                probe=setting.probe,
                seed=seed,
                compute=self.compute,
                original=original,
                on_progress=self.tell,
            )

        what = content_key([key, setting.forget_set, setting.probe, setting.family, seed])
        # Originals are asked for again by every trial; any other model by its next metrics alone.
        kept = self._evidence if original is None else self._latest
        return kept.get(what, make)

    def _stored_weights(self, key: str) -> dict[str, Tensor]:
        for kind in ("pretrain", "retrain", "unlearn"):
            record: Record | None = self.store.record(kind, key)
            if record is not None:
                return unpack_tensors(self.store.read_artifact(record, MODEL))[0]
        raise MissingObject(
            f"step {key}", "has no record in the store", "run the step that trains this model"
        )
