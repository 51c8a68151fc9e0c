"""Simulated steps: everything of a trial is real but what it computes, which is a short sleep.

The model is one number and unlearning one update: the method sleeps, then descends in one step
to the number that a formula of its hyperparameters and the seed gives. References stay at 0, so
that number is the trial's retrain gap. Leases, records, artifacts, progress and rows are those
of any sweep. A process that finds `REQUESTS` in its environment counts what it asks of the store.
"""

from __future__ import annotations

import mmap
import os
import random
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unlearn_ray.config.sweep_schema import Search, Seeds, Study, Sweep
from unlearn_ray.core.batch import Batch
from unlearn_ray.core.ranges import Range
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import NonNegativeFloat, NonNegativeInt, PositiveFloat, schema
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.families.base import Family
from unlearn_ray.methods.base import Method, Task, TrainingMethod, TrainsOn
from unlearn_ray.metrics.base import Measurement, Metric, Needs, Observed
from unlearn_ray.models.base import Model
from unlearn_ray.quantities.base import Inference, Observation, Quantity
from unlearn_ray.steps.graph import Graph
from unlearn_ray.steps.once import Account, run_here
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.steps.setting import Setting
from unlearn_ray.storage.local import LocalFolder
from unlearn_ray.storage.store import Store
from unlearn_ray.studies.history import TrialRecord
from unlearn_ray.studies.plan import reference_steps
from unlearn_ray.studies.rows import State
from unlearn_ray.train.compute import Compute

REQUESTS = "UNLEARN_RAY_BENCHMARK_REQUESTS"
VERBS = ("read", "write", "create", "delete", "delete_all", "names")
STUDIES = 100
SPACE = {"x": Range("uniform", 0.0, 1.0), "y": Range("uniform", 0.0, 1.0)}


class OneNumber(nn.Module):
    """A backbone whose feature is its one weight, whatever the images."""

    feature_size = 1

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        """The number, once for each image."""
        return self.value.expand(images.shape[0], 1)


@register("simulated")
@schema
class SimulatedModel(Model):
    """One number."""

    def build(self, image_size: int) -> nn.Module:
        """It is 0 at first."""
        return OneNumber()


@register("simulated")
@schema
class SimulatedFamily(Family):
    """A model that is its backbone alone."""

    views: ClassVar[int] = 0

    def build(self, backbone: nn.Module, num_classes: int) -> nn.Module:
        """The backbone, by its name."""
        return nn.ModuleDict({"backbone": backbone})


@register("simulated")
@schema
class SimulatedQuantity(Quantity):
    """The model's number."""

    def observe(self, inference: Inference) -> Observation:
        """One value."""
        return Observation({"forget": inference.features("forget")[:1, 0]})


NUMBER = SimulatedQuantity()


@register("simulated")
@schema
class SimulatedMetric(Metric):
    """The model's number."""

    columns: ClassVar[dict[str, str]] = {"simulated": "Simulated"}
    in_average_gap: ClassVar[bool] = True

    def needs(self) -> Needs:
        """The number alone."""
        return Needs(model=(NUMBER,))

    def measure(self, model: Observed) -> Measurement:
        """One value."""
        return Measurement({"simulated": float(model.values(NUMBER, "forget"))})


@schema
class SimulatedMethod(TrainingMethod):
    """L = (number - gap)^2 / 2, and a sleep.

    Attributes:
        x, y: what is searched; the gap is smallest at (0.3, 0.7).
        seconds: of the sleep.
    """

    trains_on: ClassVar[TrainsOn] = "forget"

    epochs: NonNegativeInt = 1
    learning_rate: PositiveFloat = 1.0
    weight_decay: NonNegativeFloat = 0.0
    x: float
    y: float
    seconds: NonNegativeFloat = 0.0

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Tensor:
        """One update with the learning rate 1 ends in its minimum."""
        time.sleep(self.seconds)
        gap = 10 * ((self.x - 0.3) ** 2 + (self.y - 0.7) ** 2)
        noise = float(torch.rand((), generator=batch.generator))
        number = model.get_submodule("backbone").get_parameter("value")
        return ((number - gap - noise) ** 2 / 2).sum()


def method(number: int) -> type[Method]:
    """The class of one of several equal methods: a study each."""
    name = f"simulated_{number}"
    cls = type(name, (SimulatedMethod,), {"__module__": __name__, "__doc__": "One of many."})
    return register(name)(schema(cls))


# Named here, so that a worker finds the class that a study was pickled with.
globals().update({f"simulated_{number}": method(number) for number in range(STUDIES)})


def simulated_sweep(
    studies: int, trials: int, *, seconds: float, seeds: int, window: int | None = None
) -> Sweep:
    """A sweep whose steps only sleep.

    Args:
        studies: how many, at most `STUDIES`.
        trials: of all studies together.
        seconds: that unlearning sleeps.
        seeds: tuning seeds.
        window: of the search.
    """
    return Sweep(
        name="simulated",
        setting=Setting(
            dataset=Digits(image_size=8),
            validation=0.1,
            forget_set=Random(fraction=0.01),
            model=SimulatedModel(),
            family=SimulatedFamily(),
            training=Recipe(epochs=0),
        ),
        metrics=(SimulatedMetric(),),
        studies=tuple(
            Study(globals()[f"simulated_{number}"], {"seconds": seconds}, SPACE)
            for number in range(studies)
        ),
        search=Search(trials=-(-trials // studies), window=window),
        seeds=Seeds(tuning=tuple(range(seeds)), reporting=(seeds,)),
    )


def run_references(sweep: Sweep, store: Store) -> None:
    """The reference models, in this process: what they cost is not measured."""
    runtime = Runtime(store, Compute.cpu(), checkpoint_seconds=600)
    account = Account(sweep.name, accelerators=1.0)
    graph = Graph(runtime.known, partial(run_here, runtime=runtime), account)
    for seed in (*sweep.seeds.tuning, *sweep.seeds.reporting):
        graph.ensure(*reference_steps(sweep, seed))


def random_past(trials: int) -> list[TrialRecord]:
    """Trials of a study that searches `SPACE`: two of three were stopped."""
    drawn = random.Random(0)
    past = []
    for number in range(trials):
        point = {name: drawn.random() for name in SPACE}
        state = State.STOPPED if number % 3 else State.COMPLETE
        gaps = (drawn.random(),) * (1 if number % 3 else 3)
        past.append(TrialRecord(number, point, gaps, state))
    return past


def requests(folder: Path) -> dict[str, dict[str, int]]:
    """Requests by verb so far, of the driver (this process) and of all workers together."""
    counted: dict[str, dict[str, int]] = {}
    for file in folder.iterdir():
        who = "driver" if file.name == str(os.getpid()) else "workers"
        verbs = counted.setdefault(who, dict.fromkeys(VERBS, 0))
        data = file.read_bytes()
        for index, verb in enumerate(VERBS):
            verbs[verb] += int.from_bytes(data[8 * index : 8 * index + 8], "little")
    return counted


def count_requests(folder: Path) -> None:
    """Count this process's requests in a file that outlives it, however it ends."""
    file = folder / str(os.getpid())
    file.write_bytes(bytes(8 * len(VERBS)))
    with file.open("r+b") as opened:
        counts = memoryview(mmap.mmap(opened.fileno(), 0)).cast("Q")
    lock = threading.Lock()

    def counting(index: int, verb: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            with lock:
                counts[index] += 1
            return verb(*arguments)

        return counted

    for index, verb in enumerate(VERBS):
        setattr(LocalFolder, verb, counting(index, getattr(LocalFolder, verb)))


if REQUESTS in os.environ:
    count_requests(Path(os.environ[REQUESTS]))
