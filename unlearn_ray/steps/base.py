"""Contract of a step: a node of the graph, named by the content of its config.

    pretrain(seed) ─┬─▶ unlearn(method, seed) ─▶ observe ─▶ measure
    retrain(seed) ──┴─▶ observe ─▶ measure (the reference)

A new kind of step is one file in `steps/kinds`: it is planned, run and shown with no other edit.
*Where* a step runs (workers, devices, paths, store) is not part of its config. `revision` is
raised when a step's numbers change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeVar

from unlearn_ray.core.keys import content_key, plain, stable_seed
from unlearn_ray.core.registry import Part, parts
from unlearn_ray.core.schema import NonNegativeInt, Seed, schema
from unlearn_ray.metrics.base import Metric
from unlearn_ray.steps.runtime import Produced, Runtime
from unlearn_ray.steps.setting import Setting

StepKind = TypeVar("StepKind", bound="Step")


@dataclass(frozen=True)
class Request:
    """What a sweep needs of its reference models under one seed.

    Attributes:
        metrics: the metrics to measure.
        reporting: whether it is a reporting seed, which enters the result table.
        original: whether the first original is measured on tuning seeds, too.
        other_seeds: the other reporting seeds.
    """

    setting: Setting
    seed: int
    replicate: int
    metrics: tuple[Metric, ...]
    reporting: bool
    original: bool
    other_seeds: tuple[int, ...] = ()


@schema
class Step(Part):
    """One unit of work; runs at most once per store.

    Class attributes:
        distributed: whether all these workers share the work.
        exclusive: whether it takes a lease, so that nobody else runs it at the same time.

    Attributes:
        setting: the sweep's; a step's key includes the fields of it that the step uses.
        seed: of the split.
        replicate: numbers the models of one split that differ in their training seed alone.
    """

    kind: ClassVar[str] = "step"
    room: ClassVar[str] = "unlearn_ray.steps.kinds"
    distributed: ClassVar[bool] = False
    exclusive: ClassVar[bool] = True

    setting: Setting
    seed: Seed
    replicate: NonNegativeInt = 0

    @classmethod
    def of_references(cls, request: Request) -> Iterable[Step]:
        """The steps of this kind that every sweep needs; their inputs are added."""
        return ()

    def own_config(self) -> dict[str, Any]:
        """The fields that identify this step, in addition to kind, revision and inputs."""
        raise NotImplementedError

    def inputs(self) -> dict[str, Step]:
        """The steps whose results or artifacts this one reads, by role."""
        return {}

    def run(self, runtime: Runtime) -> Produced:
        """Do the work in this process; the inputs are in the store, unless they are not kept."""
        raise NotImplementedError

    @property
    def asks(self) -> Literal["training", "trial"]:
        """The field of a sweep's `resources` that sizes its workers."""
        return "trial"

    @property
    def batch(self) -> str | None:
        """The batch; one worker runs all steps of a batch, and they share what it has loaded.

        None: the step runs as part of any step that needs it.
        """
        return self.key

    @property
    def batch_title(self) -> str:
        """The batch, in words."""
        return f"{self}"

    def kept(self, named: Iterable[str]) -> bool:
        """Whether its artifact is stored for every trial.

        Args:
            named: what the sweep keeps in addition to small artifacts.
        """
        return True

    @property
    def training_seed(self) -> int:
        """The seed of all random draws but the split's."""
        if not self.replicate:
            return self.seed
        return stable_seed("replicate", self.seed, self.replicate)

    def same(self, kind: type[StepKind], **fields: Any) -> StepKind:
        """A step of another kind under the same setting, seed and replicate."""
        return kind(setting=self.setting, seed=self.seed, replicate=self.replicate, **fields)

    @property
    def run_title(self) -> str:
        """Seed and replicate, in words."""
        return f"seed {self.seed}" + (f", replicate {self.replicate}" if self.replicate else "")

    @cached_property
    def config(self) -> dict[str, Any]:
        """Everything that identifies this step, in plain JSON values."""
        code = self.code_identity()
        return {
            "kind": code.pop("name"),
            **code,
            **plain(self.own_config()),
            "inputs": {name: step.key for name, step in self.inputs().items()},
        }

    @cached_property
    def key(self) -> str:
        """The content hash of this step's config, 16 hex digits."""
        return content_key(self.config)

    def __str__(self) -> str:
        return f"{self.name} ({self.run_title})"


def with_inputs(
    steps: Iterable[Step], needless: Callable[[Step], bool] = lambda _: False
) -> dict[str, Step]:
    """Steps and all their inputs, by key, in topological order.

    Args:
        steps: the steps to run.
        needless: whether to leave out a step, and its inputs with it.
    """
    ordered: dict[str, Step] = {}

    def add(step: Step) -> None:
        if step.key in ordered or needless(step):
            return
        for wanted in step.inputs().values():
            add(wanted)
        ordered[step.key] = step

    for step in steps:
        add(step)
    return ordered


def of_references(request: Request) -> list[Step]:
    """The steps of the reference models under one seed: trainings first, in topological order."""
    kinds = sorted(parts(Step).values(), key=lambda kind: not kind.distributed)
    wanted = (step for kind in kinds for step in kind.of_references(request))
    return sorted(with_inputs(wanted).values(), key=lambda step: step.asks != "training")
