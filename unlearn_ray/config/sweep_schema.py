"""A validated sweep: what a sweep file says, as values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from unlearn_ray.core.errors import listed, shown
from unlearn_ray.core.ranges import Range
from unlearn_ray.core.registry import parts
from unlearn_ray.core.runs import LONGEST_NAME, ORIGINAL, RETRAIN, Run
from unlearn_ray.core.schema import PositiveFloat, PositiveInt, Seed, schema
from unlearn_ray.core.words import counted
from unlearn_ray.loggers.base import Logger
from unlearn_ray.methods.base import Method, Source
from unlearn_ray.metrics.base import Metric
from unlearn_ray.objectives.average_gap import AverageGap
from unlearn_ray.objectives.base import Objective
from unlearn_ray.quantities.base import Quantity
from unlearn_ray.scores.base import MaskedScore, Score
from unlearn_ray.steps.setting import Setting

DEFAULT_WINDOW = 4

# A study keeps its trials in memory, and each suggestion models all earlier ones.
Trials = Annotated[int, Field(gt=0, le=100_000)]
# A group is requested from the cluster worker by worker.
WorkerCount = Annotated[int, Field(gt=0, le=10_000)]


@dataclass(frozen=True)
class Study:
    """A search of one method: its fixed fields, and the ranges of the others.

    Attributes:
        method: the class of the method.
        fixed: the fields that the file sets to one value.
        space: the fields that it gives as a range.
        own_name: its name in the file, where that is not the method's.
    """

    method: type[Method]
    fixed: dict[str, Any] = field(default_factory=dict)
    space: dict[str, Range] = field(default_factory=dict)
    own_name: str | None = None

    @property
    def name(self) -> str:
        """Its own name, or else the method's: its name in rows, tables and views."""
        return self.own_name or self.method.name

    def extra_data(self) -> tuple[Source, ...]:
        """The data that the method reads besides retain and forget set, anywhere in the space."""
        read = [source for point in self.corners() for source in self.at(point).extra_data()]
        return tuple(dict.fromkeys(read))

    @property
    def points(self) -> int | None:
        """How many points its space has; None if a range is continuous."""
        counts = [range_.count for range_ in self.space.values()]
        known = [count for count in counts if count is not None]
        return math.prod(known) if len(known) == len(counts) else None

    def corners(self) -> Iterator[dict[str, Any]]:
        """Points that use every end and every choice, a few fields away from the first."""
        first = {name: range_.ends[0] for name, range_ in self.space.items()}
        yield self.searched(first)
        for name, range_ in self.space.items():
            needed = {other: values[0] for other, values in range_.when.items()}
            for option in range_.ends if needed else range_.ends[1:]:
                yield self.searched({**first, **needed, name: option})

    def searched(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The point in a method's values: the fields that are searched where it has them.

        Raises:
            KeyError: one of them has no value.
        """
        return {
            name: values[name] for name, range_ in self.space.items() if range_.is_searched(values)
        }

    def has(self, point: Mapping[str, Any]) -> bool:
        """Whether a search could choose this point."""
        try:
            fits = point.keys() == self.searched(point).keys()
        except KeyError:
            return False
        return fits and all(self.space[name].holds(value) for name, value in point.items())

    def at(self, point: Mapping[str, Any]) -> Method:
        """The method with the searched fields set to `point`."""
        rest = {
            name: range_.otherwise[0]
            for name, range_ in self.space.items()
            if range_.otherwise and name not in point
        }
        return self.method(**self.fixed, **rest, **point)


# Where points come from, or one point of some studies, by their names.
Point = dict[str, str | int | float | bool | None]
Start = Annotated[str, Field(min_length=1)] | dict[str, Point]


# The name of a sampler or pruner, or its import path; alone, or with options.
Named = str | Mapping[str, Mapping[str, Any] | None]
GRID = "grid"


@schema
class Search:
    """How hyperparameters are searched; the same for every study.

    Attributes:
        trials: trials of each study.
        seed: seed of the sampler.
        startup: trials drawn at random before the sampler models the study, and before any
            trial may be stopped.
        keep: a trial goes on to its next tuning seed while its score is within the best
            `keep` percent of the study's trials at the same seed.
        concurrent: most trials at a time over all studies; null: what the cluster has room for.
        window: trial n of a study is suggested, and stopped, from the results of trials 0 to
            n - window alone, so that the search is the same on every cluster and after every
            restart. It also bounds how many trials of a study run at a time. null is
            `concurrent`, or 4 if that is null, too.
        sampler: what chooses points: tpe, gp, cma_es, nsga2, nsga3, random, grid (each point
            once) or qmc of Optuna, or the import path of another; {tpe: {n_ei_candidates: 48}}
            gives it options.
        pruner: what stops trials between tuning seeds: percentile (by `keep`), or median,
            wilcoxon or hyperband of Optuna, none, or the import path of another.
        start_from: where the points of each study's first trials come from: a sweep file whose
            studies search nothing, `STORE/SWEEP` for the winners of a sweep on a store, or points
            written out, as {study: {field: value}}. They count as trials.
    """

    trials: Trials = 20
    seed: Seed = 0
    startup: Trials = 5
    keep: Annotated[float, Field(gt=0, le=100)] = 50.0
    concurrent: Trials | None = None
    window: Trials | None = None
    sampler: Named = "tpe"
    pruner: Named = "percentile"
    start_from: Annotated[tuple[Start, ...], Field(max_length=1000)] = ()

    @property
    def lag(self) -> int:
        """The effective window: trial n knows the trials up to n - lag."""
        return self.window or self.concurrent or DEFAULT_WINDOW


# Both reference models are planned under every seed.
SeedList = Annotated[tuple[Seed, ...], Field(max_length=1000)]


# Models of one split that differ in their training seed.
Replicates = Annotated[int, Field(gt=0, le=1000)]


@schema
class Seeds:
    """Tuning seeds score trials; only reporting seeds enter the final table.

    A seed chooses the split and the forget set. What the training seed does is seen by training
    several replicates on the same split: their spread is the noise floor.

    Attributes:
        replicates: original, retrained and unlearned models of each reporting seed.
        tuning_replicates: retrained models of each tuning seed; a trial unlearns from the first
            original of each.
    """

    tuning: SeedList = (0, 1, 2)
    reporting: SeedList = (3, 4, 5, 6, 7)
    replicates: Replicates = 1
    tuning_replicates: Replicates = 1

    @property
    def runs(self) -> tuple[Run, ...]:
        """The reporting runs: every replicate of every reporting seed."""
        return tuple(Run(seed, n) for seed in self.reporting for n in range(self.replicates))

    @property
    def tuning_runs(self) -> tuple[Run, ...]:
        """The runs of the models that trials are compared with."""
        return tuple(Run(seed, n) for seed in self.tuning for n in range(self.tuning_replicates))

    def other(self, seed: int) -> tuple[int, ...]:
        """The reporting seeds without `seed`."""
        return tuple(other for other in self.reporting if other != seed)


@schema
class Workers:
    """An elastic group: as many workers as the cluster has room for, between both ends."""

    min: WorkerCount
    max: WorkerCount

    @model_validator(mode="after")
    def _in_order(self) -> Workers:
        if self.min > self.max:
            raise ValueError(f"min = {self.min} is more than max = {self.max}")
        return self


def _countable(quantity: float) -> float:
    # Ray counts in units of 1/10000; it ignores or refuses anything less.
    units = quantity * 10_000
    if abs(units - round(units)) > 1e-6 or (quantity and not round(units)):
        raise ValueError("must be a multiple of 0.0001, the unit Ray counts in")
    return quantity


def _whole_above_one(gpus: float) -> float:
    if gpus > 1 and gpus % 1:
        raise ValueError("more than one gpu must be a whole number")
    return gpus


# Ray's, which are those of Kubernetes.
_WORD = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_LABEL = re.compile(rf"(?:[a-zA-Z0-9.-]{{1,253}}/)?{_WORD}")
_SELECTED = re.compile(rf"!?{_WORD}|!?in\({_WORD}(?:, ?{_WORD})*\)")


def _accelerator_name(name: str) -> str:
    if not re.fullmatch(_WORD, name):
        raise ValueError("must be a name of letters, digits, `-`, `_` and `.`")
    return name


def _selects_nodes(labels: dict[str, str]) -> dict[str, str]:
    for name, wanted in labels.items():
        if not _LABEL.fullmatch(name):
            raise ValueError(f"{shown(name)} is not the name of a label")
        if not _SELECTED.fullmatch(wanted):
            raise ValueError(f"{name}: must be a value, `!value`, `in(one, other)` or `!in(one)`")
    return labels


@schema
class Bank:
    """Models on random masks of audited samples, which scores of forgetting read.

    Of every four models, each audited sample is kept out of the training of two, retained by one
    and forgotten by one. Base models are shared by all methods and sweeps; each method adds its
    unlearning alone. More models may be added at any time.

    Attributes:
        models: how many; a multiple of 4.
        samples: audited samples; each model unlearns a quarter of them.
        seed: of the validation set and the masks.
        retrained: whether to retrain every model without its forget set, too, as a method to
            compare with.
    """

    models: Annotated[int, Field(gt=0, le=10_000, multiple_of=4)] = 64
    samples: Annotated[int, Field(ge=8, le=10_000_000)] = 1000
    seed: Seed = 1000
    retrained: bool = True


# Of one worker, which is on one machine.
Cpus = Annotated[float, Field(gt=0, le=10_000), AfterValidator(_countable)]
Gpus = Annotated[
    float, Field(ge=0, le=1000), AfterValidator(_countable), AfterValidator(_whole_above_one)
]
# What a sweep computes on follows from what the cluster has.
AUTO: Literal["auto"] = "auto"


@schema
class Resources:
    """What one kind of step requests from the cluster.

    Attributes:
        workers: Ray Train workers that share one model's training; `{min: 1, max: 4}` is
            elastic: it shrinks when nodes are lost and grows when they join.
        cpu: per worker, in steps of 0.0001.
        gpu: per worker, in steps of 0.0001; 0.25 packs four on one device (with one worker each),
            and more than one must be whole. auto: where the cluster has GPUs, one for training, and
            for a trial the share of one whose memory it needs, at least an eighth; elsewhere none.
        threads: OpenMP threads per worker.
        memory: bytes that each worker reserves of its node's memory; null reserves none.
        accelerator_type: the nodes' GPUs, by Ray's name for them: T4, A100, H100; null takes any.
        labels: what Ray's labels of the nodes must be: `{ray.io/market-type: spot}`, or of another
            value "!spot", or of one of several "in(spot, on-demand)".
        retries: how often a lost worker or node is replaced before the step or trial counts as
            failed; in training, nodes that were drained first do not count.
        deterministic: on a GPU, use only algorithms that repeat every digit, which are slower; a
            step with an operation that has none fails. A CPU always repeats every digit.
        graphs: on a GPU, capture one iteration as a CUDA graph and replay it for the others, in one
            launch each; with one worker. What cannot be captured runs as without. Its memory is the
            graph's own, in addition to that of iterations that are not replayed.
    """

    workers: WorkerCount | Workers = 1
    cpu: Cpus = 1.0
    gpu: Gpus | Literal["auto"] = AUTO
    threads: Annotated[int, Field(gt=0, le=10_000)] = 1
    memory: Annotated[int, Field(gt=0, le=10**15)] | None = None
    accelerator_type: Annotated[str, AfterValidator(_accelerator_name)] | None = None
    labels: Annotated[dict[str, str], AfterValidator(_selects_nodes)] = Field(default_factory=dict)
    retries: Annotated[int, Field(ge=0, le=1000)] = 3
    deterministic: bool = False
    graphs: bool = False

    @model_validator(mode="after")
    def _graphs_of_a_gpu(self) -> Resources:
        if self.graphs and self.gpu == 0:
            raise ValueError("graphs are captured on a GPU, and gpu: 0 requests none")
        if self.graphs and self.most_workers > 1:
            raise ValueError("graphs need workers: 1; what several workers share is not captured")
        return self

    @model_validator(mode="after")
    def _one_device_each(self) -> Resources:
        if self.most_workers > 1 and self.gpus % 1:
            raise ValueError("workers that share one training need a whole gpu each, or none")
        return self

    @property
    def gpus(self) -> float:
        """GPUs per worker; none as long as `auto` is not settled (`config.auto_gpu`)."""
        return 0.0 if self.gpu == AUTO else self.gpu

    @property
    def most_workers(self) -> int:
        """Workers of a group at its largest."""
        return self.workers.max if isinstance(self.workers, Workers) else self.workers

    @property
    def fewest_workers(self) -> int:
        """Workers of a group at its smallest."""
        return self.workers.min if isinstance(self.workers, Workers) else self.workers

    def workers_on(self, cpus: float, gpus: float) -> int:
        """How many workers a machine of this size holds."""
        # Ray counts in units of 1/10000.
        fits = [math.floor(cpus / self.cpu + 1e-4)]
        if self.gpus:
            fits.append(math.floor(gpus / self.gpus + 1e-4))
        return min(fits)

    def __str__(self) -> str:
        """The fewest workers, in words."""
        gpu = f" and {counted(self.gpus, 'GPU')}" if self.gpus else ""
        workers = counted(self.fewest_workers, "worker")
        memory = "" if self.memory is None else f" and {self.memory / 10**9:g} GB of memory"
        kind = f" of type {self.accelerator_type}" if self.accelerator_type else ""
        labels = ", ".join(f"{name}: {value}" for name, value in self.labels.items())
        on = f" on nodes with {labels}" if labels else ""
        return f"{workers} of {counted(self.cpu, 'CPU')}{gpu}{kind}{memory} each{on}"

    @property
    def accelerators(self) -> float:
        """GPUs per worker, or CPUs if it requests no GPU."""
        return self.gpus or self.cpu

    def accelerator_hours(self, seconds: float) -> float:
        """Accelerator hours that a group of the fewest workers uses."""
        return seconds / 3600 * self.fewest_workers * self.accelerators


@schema
class ResourcesByStep:
    """Resources of training (pretrain and retrain) and of trials (unlearn, observe and measure)."""

    training: Resources = Resources()
    trial: Resources = Resources()


@schema
class Budget:
    """What a sweep may spend.

    Attributes:
        hours: accelerator hours: wall hours times workers times GPUs per worker (CPUs if it
            requests no GPU), summed over the sweep's steps, reference steps included. Once they
            are spent, no further trial is launched; null is no limit.
    """

    hours: PositiveFloat | None = None

    def spent(self, hours: float) -> bool:
        """Whether `hours` use up the budget."""
        return self.hours is not None and hours >= self.hours


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _fit_for_a_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "a sweep's name has only letters from a to z, digits, `.`, `_` and `-`, the last three "
            "not at the start"
        )
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a sweep's name has {LONGEST_NAME} characters at most")
    return name


def _large_quantity(name: str) -> str:
    large = [known for known, quantity in parts(Quantity).items() if not quantity.kept]
    if name not in large:
        raise ValueError(f"the quantities stored only on demand are {listed(large, 20)}")
    return name


@schema
class Keep:
    """What the store keeps of a sweep's trials; no number depends on it.

    Attributes:
        observations: names of large quantities that are stored for every trial; for reference
            models and winners all are.
        models: whose models of tuning runs stay once the sweep has ended: all; best, those of
            winners; a number, those of so many best trials of each study; or reporting, none
            but the models of the table.
    """

    observations: tuple[Annotated[str, AfterValidator(_large_quantity)], ...] = ()
    models: Literal["all", "best", "reporting"] | PositiveInt = "all"


SweepName = Annotated[str, AfterValidator(_fit_for_a_name)]


@schema
class Sweep:
    """One sweep file, validated.

    Attributes:
        name: of the sweep, in every row: letters, digits, `.`, `_` and `-`; 100 at most.
        metrics: the metrics of the result table, in its order.
        objective: what the searches minimise.
        scores: scores of many models: of the replicates, or of the bank.
        bank: the models that scores of masks read; null for none.
        search, seeds, resources, budget: how hyperparameters are searched, under which seeds, on
            what, and at which cost at most.
        store: a folder, s3://bucket/prefix[?endpoint=URL&region=NAME] or az://container/prefix.
        checkpoint_minutes: the interval between checkpoints of a training.
        keep: what the store keeps of trials.
        log: where else trials are logged, in addition to the sweep's table.
        plugins: modules and files that register parts of your own; no number depends on where
            they are found.
    """

    name: SweepName
    setting: Setting
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)]
    studies: tuple[Study, ...]
    objective: Objective = AverageGap()
    scores: tuple[Score, ...] = ()
    bank: Bank | None = None
    search: Search = Search()
    seeds: Seeds = Seeds()
    resources: ResourcesByStep = ResourcesByStep()
    budget: Budget = Budget()
    store: Annotated[str, Field(min_length=1)] = "./store"
    checkpoint_minutes: Annotated[float, Field(gt=0, le=1_000_000)] = 10.0
    keep: Keep = Keep()
    log: tuple[Logger, ...] = ()
    plugins: tuple[str, ...] = ()

    @property
    def reference_models(self) -> tuple[str, ...]:
        """The names of its reference models, as in rows and tables."""
        return (RETRAIN, ORIGINAL) if self.setting.compares else (ORIGINAL,)

    @property
    def scored_by(self) -> tuple[Metric, ...]:
        """The metrics that a trial's score depends on; tuning measures no others."""
        return self.objective.metrics(self.metrics)

    @property
    def masked_scores(self) -> tuple[MaskedScore, ...]:
        """The scores of the bank."""
        return tuple(score for score in self.scores if isinstance(score, MaskedScore))

    def starts(self, study: Study) -> tuple[Point, ...]:
        """The points of a study's first trials, in a planned sweep (`studies.transfer`)."""
        found = []
        for start in self.search.start_from:
            assert not isinstance(start, str), "the points are read when a sweep is planned"
            found += [start[study.name]] if study.name in start else []
        return tuple(found)

    def trials(self, study: Study) -> int:
        """How many trials a study has: one where nothing is searched, each point of a grid once."""
        if not study.space:
            return 1
        sampler = self.search.sampler
        points = study.points if sampler == GRID or GRID in [*sampler] else None
        return min(self.search.trials, points or self.search.trials)
