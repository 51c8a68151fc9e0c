"""Samplers and pruners of Optuna, by name or import path: what each takes, and what it can do.

A sweep file names one, alone or with options: `sampler: cma_es`, `sampler: {tpe: {n_ei_candidates:
48}}`, `sampler: my_package.MySampler`. Optuna is imported only where a file names one.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unlearn_ray.config.sweep_schema import GRID, Named, Search, Study
from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.code import part_digest
from unlearn_ray.core.errors import ConfigError, did_you_mean, listed
from unlearn_ray.core.words import counted

if TYPE_CHECKING:
    from unlearn_ray.objectives.base import Objective

TPE, QMC = "tpe", "qmc"
PERCENTILE, NO_PRUNER = "percentile", "none"
# All points of a grid are held in memory.
MOST_POINTS = 100_000


@dataclass(frozen=True)
class Known:
    """What one of Optuna's samplers or pruners can do.

    Attributes:
        path: of its class; empty for what this package does itself.
        several: whether it takes several objectives.
        constrained: whether it takes constraints, or makes no use of results.
        choices: whether it searches choices.
        conditional: whether it searches fields that depend on others.
        package: one that it needs in addition.
    """

    path: str = ""
    several: bool = True
    constrained: bool = True
    choices: bool = True
    conditional: bool = False
    package: str | None = None


SAMPLERS: Mapping[str, Known] = {
    TPE: Known("optuna.samplers.TPESampler", conditional=True),
    "gp": Known("optuna.samplers.GPSampler"),
    "cma_es": Known(
        "optuna.samplers.CmaEsSampler",
        several=False,
        constrained=False,
        choices=False,
        package="cmaes",
    ),
    "nsga2": Known("optuna.samplers.NSGAIISampler"),
    "nsga3": Known("optuna.samplers.NSGAIIISampler"),
    "random": Known("optuna.samplers.RandomSampler", conditional=True),
    GRID: Known("optuna.samplers.GridSampler"),
    QMC: Known("optuna.samplers.QMCSampler"),
}
PRUNERS: Mapping[str, Known] = {
    PERCENTILE: Known(),
    "median": Known("optuna.pruners.MedianPruner", several=False, constrained=False),
    "wilcoxon": Known("optuna.pruners.WilcoxonPruner", several=False, constrained=False),
    "hyperband": Known("optuna.pruners.HyperbandPruner", several=False, constrained=False),
    NO_PRUNER: Known(),
}
_CONTRACTS = {"sampler": "optuna.samplers.BaseSampler", "pruner": "optuna.pruners.BasePruner"}
# Options that the search sets itself, or that no sweep file can write.
_OWN = {"self", "seed", "search_space", "constraints_func", "max_resource"}


@dataclass(frozen=True)
class Chosen:
    """A sampler or pruner that a sweep names.

    Attributes:
        kind: sampler or pruner.
        name: as written: a known name, or an import path.
        options: its arguments.
    """

    kind: str
    name: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, kind: str, named: Named) -> Chosen:
        """The sampler or pruner that a field of `search` names.

        Raises:
            ConfigError: not one name with its options.
        """
        if isinstance(named, str):
            return cls(kind, named, {})
        if len(named) != 1:
            raise ConfigError(
                f"search.{kind}", "not one name", "write a name, or {name: {option: value}}"
            )
        ((name, options),) = named.items()
        return cls(kind, name, options or {})

    @property
    def known(self) -> Known:
        """What it can do; one of a person's own is believed to do everything."""
        names = SAMPLERS if self.kind == "sampler" else PRUNERS
        return names.get(self.name, Known(self.name, conditional=self.kind == "pruner"))

    @property
    def is_imported(self) -> bool:
        """Whether it is named by an import path."""
        return "." in self.name

    def load(self) -> type[Any]:
        """Its class.

        Raises:
            ConfigError: there is none of this name, or a package is missing.
        """
        known = SAMPLERS if self.kind == "sampler" else PRUNERS
        if not self.is_imported and self.name not in known:
            remedy = f"{did_you_mean(self.name, known)}; your own is package.module.Class"
            raise ConfigError(f"search.{self.kind} = {self.name}", f"unknown {self.kind}", remedy)
        package = self.known.package
        if package is not None and importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"search.{self.kind} = {self.name}",
                f"the package {package} is not installed",
                f"pip install {package}, or choose another {self.kind}",
            )
        found = _imported(self.known.path, self.kind)
        if not issubclass(found, _imported(_CONTRACTS[self.kind], self.kind)):
            raise ConfigError(
                f"search.{self.kind} = {self.name}",
                f"not a {self.kind} of Optuna",
                f"derive it from {_CONTRACTS[self.kind]}",
            )
        return found

    def parameters(self) -> dict[str, Any]:
        """The options of its class that a sweep file may set, with their defaults."""
        if not self.known.path:
            return {}
        signature = inspect.signature(self.load().__init__)
        return {name: one.default for name, one in signature.parameters.items() if name not in _OWN}

    def takes(self, parameter: str) -> bool:
        """Whether its class has this parameter."""
        return parameter in inspect.signature(self.load().__init__).parameters

    def build(self, of: type[Any] | None = None, **own: Any) -> Any:
        """An instance with the options and what the search sets itself.

        Args:
            of: the class, or one derived from it.
            own: what the search sets, unless the options do.

        Raises:
            ConfigError: its class refuses an option.
        """
        cls = of or self.load()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what Optuna calls experimental
                return cls(**{**own, **self.options})
        except (TypeError, ValueError, ImportError) as error:
            raise ConfigError(
                f"search.{self.kind} = {self.name}", reason_of(error), "change its options"
            ) from error

    def identity(self) -> dict[str, Any]:
        """What enters a study's key: the name, the options, and a person's own code."""
        said = {"name": self.name, "options": dict(self.options)}
        if not self.is_imported or self.name.startswith("optuna."):
            return said
        cls = self.load()
        return {**said, "code": part_digest(cls, cls)}


def chosen_sampler(search: Search) -> Chosen:
    """The sampler of a search."""
    return Chosen.of("sampler", search.sampler)


def chosen_pruner(search: Search) -> Chosen:
    """The pruner of a search."""
    return Chosen.of("pruner", search.pruner)


def _imported(path: str, kind: str) -> type[Any]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        reason = f"cannot be imported: {reason_of(error)}"
        remedy = "name an importable class, as package.module.Class"
        raise ConfigError(f"search.{kind} = {path}", reason, remedy) from error
    if not isinstance(found, type):
        raise ConfigError(f"search.{kind} = {path}", "not a class", "name a class")
    return found


def check_search(
    search: Search, studies: Iterable[Study], objective: Objective, tuning: Collection[int]
) -> None:
    """Refuse a sampler or pruner that cannot search what a sweep asks.

    Args:
        search: names both.
        studies: what is searched.
        objective: what is minimised, with its constraints.
        tuning: the tuning seeds.

    Raises:
        ConfigError: an option is unknown or refused, or something cannot be searched.
    """
    for chosen in (chosen_sampler(search), chosen_pruner(search)):
        _check_options(chosen)
        _check_goal(chosen, objective)
    sampler, pruner = chosen_sampler(search), chosen_pruner(search)
    for study in studies:
        if study.space:
            _check_space(sampler, study)
    if sampler.name == GRID and search.start_from:
        raise ConfigError(
            "search.sampler = grid", "its points are given", "remove start_from, or the sampler"
        )
    _check_generations(sampler, search)
    _check_wilcoxon(pruner, len(tuning))


def _check_options(chosen: Chosen) -> None:
    if chosen.name in (TPE, PERCENTILE, NO_PRUNER) and not chosen.options:
        return  # Optuna takes a second to import
    known = chosen.parameters()
    for option in chosen.options:
        if option in known:
            continue
        remedy = did_you_mean(option, known) if known else "remove it"
        if option in _OWN:
            remedy = "remove it: the search sets it"
        elif chosen.name == PERCENTILE:
            remedy = "set search.keep, the percentage that goes on"
        raise ConfigError(f"search.{chosen.kind}.{chosen.name}.{option}", "unknown option", remedy)
    if chosen.known.path:
        _rehearse(chosen)


def _rehearse(chosen: Chosen) -> None:
    """Run a trial of nothing: Optuna's classes look at many options only when they use them."""
    import optuna

    if chosen.name == GRID:
        chosen.build(search_space={"x": [0]})
        return
    built = chosen.build()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(**{chosen.kind: built})
        for score in (1.0, 2.0):
            trial = study.ask({"x": optuna.distributions.IntDistribution(0, 99)})
            trial.report(score, 1)
            trial.should_prune()
            study.tell(trial, score)
    except Exception as error:  # a person's own class may raise anything
        subject = f"search.{chosen.kind} = {chosen.name}"
        raise ConfigError(subject, reason_of(error), "change its options") from error
    finally:
        optuna.logging.set_verbosity(verbosity)


def _check_goal(chosen: Chosen, objective: Objective) -> None:
    subject, remedy = f"search.{chosen.kind} = {chosen.name}", "choose another, or "
    if len(objective.each()) > 1 and not chosen.known.several:
        raise ConfigError(subject, "it takes one objective", f"{remedy}name a single objective")
    if objective.constraints_of() and not chosen.known.constrained:
        raise ConfigError(subject, "it takes no constraints", f"{remedy}remove them")


def _check_space(sampler: Chosen, study: Study) -> None:
    subject, space = f"search.sampler = {sampler.name}", study.space
    if not sampler.known.choices:
        for name, each in space.items():
            if each.kind == "choice":
                raise ConfigError(
                    subject,
                    f"it searches numbers, and {study.name}.{name} is a choice",
                    "give one value, or choose another sampler",
                )
    if not sampler.known.conditional:
        for name, each in space.items():
            if each.when:
                raise ConfigError(
                    subject,
                    f"it searches every field in each trial, and {study.name}.{name} depends on"
                    " others",
                    "remove its condition, or choose tpe or random",
                )
    if sampler.name == GRID:
        endless = [name for name, each in space.items() if each.count is None]
        if endless:
            raise ConfigError(
                subject,
                f"{study.name} has endless values of {listed(endless)}",
                "list the values, as in {choice: [0.001, 0.01, 0.1]}",
            )
        if (study.points or 0) > MOST_POINTS:
            reason = f"the grid of {study.name} has {study.points:,} points"
            raise ConfigError(subject, reason, f"take {MOST_POINTS:,} or fewer")


def _check_generations(sampler: Chosen, search: Search) -> None:
    if sampler.name not in ("nsga2", "nsga3"):
        return
    size = sampler.options.get("population_size", sampler.parameters()["population_size"])
    if size >= search.trials:
        raise ConfigError(
            f"search.sampler = {sampler.name}",
            f"its first generation of {counted(size, 'trial')} is drawn at random, and there are"
            f" {search.trials}",
            f"set sampler: {{{sampler.name}: {{population_size: ...}}}} to a fraction of trials",
        )


def _check_wilcoxon(pruner: Chosen, seeds: int) -> None:
    """After k seeds, no p-value of a signed-rank test is below 2^-k."""
    if pruner.name != "wilcoxon":
        return
    threshold = pruner.options.get("p_threshold", pruner.parameters()["p_threshold"])
    if 2.0 ** (1 - seeds) >= threshold:
        needed = math.floor(-math.log2(threshold)) + 2 if threshold > 0 else None
        raise ConfigError(
            "search.pruner = wilcoxon",
            f"before the last of {counted(seeds, 'seed')} its test cannot reach p <"
            f" {threshold:g}, so it would stop no trial",
            f"name {needed} tuning seeds or more, or choose another pruner"
            if needed
            else "raise p_threshold",
        )
