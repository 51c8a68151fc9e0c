"""`rerun`: one step run again in this process, and what it left compared with what is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unlearn_ray.core.errors import BadInput
from unlearn_ray.core.words import counted
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.graph import Graph
from unlearn_ray.steps.once import Account, run_here, versions
from unlearn_ray.steps.runtime import Produced, Runtime, StoredCheckpoints
from unlearn_ray.storage.curves import CURVES, unpack_curves
from unlearn_ray.storage.observations import OBSERVED, unpack
from unlearn_ray.storage.store import Record, Store, unpack_tensors
from unlearn_ray.storage.tensors import ARRAYS, MODEL
from unlearn_ray.takeaway.description import description_of
from unlearn_ray.takeaway.image_model import built
from unlearn_ray.train.compute import DETERMINISTIC, GRAPHS, Compute

if TYPE_CHECKING:
    import pandas as pd

_CHECKPOINT_SECONDS = 1e9
# Of the test set, whose outputs are compared.
_IMAGES = 512
# What a step records of its machine and its time, which no number depends on.
_BESIDE = {
    "compute_seconds",
    "device",
    "gpu_bytes",
    "kernels",
    "threads",
    "image_size",
    "class_names",
}
_MACHINE = ("device", "kernels", "threads")


@dataclass(frozen=True)
class Compared:
    """Some numbers of a step, stored and computed again.

    Attributes:
        what: they are.
        stored, again: both, in words.
        difference: the largest absolute difference; None if they cannot be subtracted.
        equal: whether they are equal, digit by digit.
    """

    what: str
    stored: str
    again: str
    difference: float | None
    equal: bool


class _Unsaved(StoredCheckpoints):
    """Neither an earlier run's checkpoints are read nor any written."""

    def load(self) -> None:
        return None

    def save(self, iteration: int, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        pass


class _Apart(Runtime):
    """A process that reads inputs from the store and leaves nothing there."""

    def checkpoints(self, key: str, *, at_end: bool) -> StoredCheckpoints:
        return _Unsaved(self.store, key, self.checkpoint_seconds, at_end)


def rerun(step: Step, record: Record, store: Store) -> list[Compared]:
    """Run a step again, alone and from the start, and compare; the store stays as it is.

    On a CPU it runs on as many threads as the recorded run.

    Args:
        step: its inputs are in the store.
        record: what it left.
        store: that has both.

    Raises:
        MissingObject: an input, or what it left, is gone.
        UnlearnRayError: the step fails.
    """
    stored = {name: store.read_artifact(record, name) for name in record.files}
    runtime = _Apart(store, _compute(record), _CHECKPOINT_SECONDS)
    with runtime.running(step.key, f"{step}"):
        produced = step.run(runtime)
    return [
        *_files(step, record, stored, produced, runtime),
        *_numbers(record.result, produced.result),
    ]


def restored(step: Step, record: Record, store: Store) -> bool:
    """Run a step again, alone, whose artifact was removed, and store it; whether it is the same.

    Args:
        step: the step.
        record: what it left.
        store: where it is stored again; what was removed of its inputs is, too.

    Raises:
        BadInput: nothing was removed of it.
        UnlearnRayError: the step fails.
    """
    if store.removed(record) is None:
        raise BadInput(f"{step}", "its artifact was not removed", "leave out --restore")
    runtime = Runtime(store, _compute(record), _CHECKPOINT_SECONDS)
    account = Account(record.sweep, record.accelerators, record.row)
    graph = Graph(runtime.known, partial(run_here, runtime=runtime), account)
    again = graph.restore(step)
    before, now = (
        {name: entry.sha256 for name, entry in one.files.items()} for one in (record, again)
    )
    return before == now


def surroundings(record: Record) -> list[str]:
    """What is other in this process than when a step was run, in words."""
    here = _compute(record).machine.facts()
    told = [
        f"{name}: was {record.result[name]}, is {here[name]}"
        for name in _MACHINE
        if name in record.result and record.result[name] != here[name]
    ]
    now = versions()
    told += [
        f"version of {name}: was {was}, is {now.get(name, 'unknown')}"
        for name, was in sorted(record.versions.items())
        if now.get(name) != was
    ]
    if record.workers > 1:
        told.append(f"workers: were {record.workers}, is 1, which rounds sums differently")
    return told


def _compute(record: Record) -> Compute:
    """The kind of device and the threads of the recorded run, as far as this machine has them."""
    threads = record.result.get("threads")
    threads = threads if isinstance(threads, int) and threads > 0 else 1
    on_gpu = str(record.result.get("device", "")).startswith("cuda")
    if not (on_gpu and torch.cuda.is_available()):
        return Compute.cpu(threads)
    kernels = str(record.result.get("kernels", "")).split()
    return Compute.gpu(threads, deterministic=DETERMINISTIC in kernels, graphs=GRAPHS in kernels)


def _files(
    step: Step,
    record: Record,
    before: Mapping[str, bytes],
    produced: Produced,
    runtime: Runtime,
) -> Iterator[Compared]:
    # Versions that kept no curves have left none to compare.
    names = produced.files.keys() - ({CURVES} - before.keys())
    for name in sorted(before.keys() | names):
        if name not in before or name not in produced.files:
            was, now = ("there" if name in of else "-" for of in (before, produced.files))
            yield Compared(name, was, now, None, False)
            continue
        stored, again = before[name], produced.files[name]
        if name == OBSERVED:
            yield from _columns(stored, again, f"{step}")
        elif name in (MODEL, ARRAYS):
            tensors = [unpack_tensors(data)[0] for data in (stored, again)]
            if name == MODEL:
                yield _weights(*tensors)
                yield _outputs(step, record, *tensors, runtime=runtime)
            else:
                yield from _tensors(*tensors)
        elif name == CURVES:
            yield _losses(*(unpack_curves(data, f"{step}") for data in (stored, again)))
        else:
            was, now = (f"{len(data):,} bytes" for data in (stored, again))
            yield Compared(name, was, now, None, stored == again)


def _losses(stored: pd.DataFrame, again: pd.DataFrame) -> Compared:
    """The points of the loss curves."""
    was, now = (counted(len(each), "point") for each in (stored, again))
    both = [torch.from_numpy(each["loss"].to_numpy(copy=True)) for each in (stored, again)]
    difference, equal = _apart(*both)
    return Compared("loss curve", was, now, difference, equal and stored.equals(again))


def _columns(stored: bytes, again: bytes, subject: str) -> Iterator[Compared]:
    sets = [
        {
            f"{column} of {part}": values
            for part, of_set in unpack(data, subject).items()
            for column, values in of_set.items()
        }
        for data in (stored, again)
    ]
    yield from _tensors(*sets)


def _tensors(stored: Mapping[str, Tensor], again: Mapping[str, Tensor]) -> Iterator[Compared]:
    for name in {**stored, **again}:
        first, second = stored.get(name), again.get(name)
        was, now = ("-" if each is None else _shape(each) for each in (first, second))
        yield Compared(name, was, now, *_apart(first, second))


def _weights(stored: Mapping[str, Tensor], again: Mapping[str, Tensor]) -> Compared:
    each = {name: _apart(stored.get(name), again.get(name)) for name in {**stored, **again}}
    unequal = {name: difference for name, (difference, equal) in each.items() if not equal}
    known = [difference for difference in unequal.values() if difference is not None]
    worst = max(unequal, key=lambda name: unequal[name] or 0.0, default="")
    what = f"weights (most: {worst})" if worst else "weights"
    largest = None if len(known) < len(unequal) else max(known, default=0.0)
    was, now = (counted(len(tensors), "tensor") for tensors in (stored, again))
    return Compared(what, was, now, largest, not unequal)


def _outputs(
    step: Step,
    record: Record,
    stored: Mapping[str, Tensor],
    again: Mapping[str, Tensor],
    *,
    runtime: Runtime,
) -> Compared:
    """Of both models, for images of the test set."""
    description = description_of(record, runtime.store)
    setting = step.setting
    images = runtime.data(setting.dataset, setting.family).test_images[:_IMAGES].cpu()
    with torch.no_grad():
        first, second = (
            built(description, weights, f"weights of {step}")(images) for weights in (stored, again)
        )
    what = f"{description.output} of {counted(len(images), 'test image')}"
    return Compared(what, _shape(first), _shape(second), *_apart(first, second))


def _apart(first: Tensor | None, second: Tensor | None) -> tuple[float | None, bool]:
    """The largest difference of two tensors, and whether they are equal bit for bit."""
    if first is None or second is None or first.shape != second.shape:
        return None, False
    one, other = first.double(), second.double()
    same = (one == other) | (one.isnan() & other.isnan())
    if bool(same.all()):
        return 0.0, first.dtype == second.dtype
    return float((one - other)[~same].abs().max()), False


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"


def _numbers(stored: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[Compared]:
    before, after = (dict(_flat(values)) for values in (stored, again))
    for name, first in before.items():
        second = after.get(name)
        numbers = [float(each) for each in (first, second) if isinstance(each, int | float)]
        difference = abs(numbers[0] - numbers[1]) if len(numbers) == 2 else None
        yield Compared(name, f"{first}", f"{second}", difference, first == second)


def _flat(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(values, Mapping):
        for name, value in values.items():
            if path or name not in _BESIDE:
                yield from _flat(value, f"{path}.{name}".lstrip("."))
    elif isinstance(values, list | tuple):
        for number, value in enumerate(values):
            yield from _flat(value, f"{path}[{number}]")
    else:
        yield path, values
