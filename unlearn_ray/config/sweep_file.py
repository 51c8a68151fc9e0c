"""Sweep files: YAML in, a validated `Sweep` out, every error at its line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlearn_ray.config.batch_check import check_study, check_training, counts_of
from unlearn_ray.config.brought import conflicts, read_checkpoints, take_over_normalisation
from unlearn_ray.config.bundled import sweep_path
from unlearn_ray.config.fields import (
    P,
    field_nodes,
    known_field,
    read_field,
    read_part,
    require,
    schema_fields,
)
from unlearn_ray.config.model_size import check_copies, check_images, check_size
from unlearn_ray.config.named_ranges import expanded
from unlearn_ray.config.needs import lacks
from unlearn_ray.config.plugin_list import load_plugins
from unlearn_ray.config.retrained import needs_retrained
from unlearn_ray.config.searchers import check_search
from unlearn_ray.config.studies_file import read_studies
from unlearn_ray.config.sweep_schema import (
    Bank,
    Search,
    Seeds,
    Study,
    Sweep,
)
from unlearn_ray.config.yaml_file import override, read_tree
from unlearn_ray.config.yaml_nodes import text_fault
from unlearn_ray.config.yaml_tree import Problems, Value
from unlearn_ray.core.columns import MOST_CONSTRAINTS, MOST_OBJECTIVES
from unlearn_ray.core.errors import ConfigError, DataError, did_you_mean, listed, shown
from unlearn_ray.core.registry import Part, parts
from unlearn_ray.data.base import Dataset, DatasetInfo, ForgetSet
from unlearn_ray.data.splits import forget_size, validation_size
from unlearn_ray.evidence.masks import FORGET, states
from unlearn_ray.families.base import ClassifierFamily, Family
from unlearn_ray.loggers.base import Logger
from unlearn_ray.methods.base import Method
from unlearn_ray.metrics.base import Metric
from unlearn_ray.models.base import Model
from unlearn_ray.objectives.base import Objective
from unlearn_ray.objectives.constraints import Constraint
from unlearn_ray.objectives.goal import Goal
from unlearn_ray.scores.base import MaskedScore, Score
from unlearn_ray.steps.setting import Setting

# The columns of MUC's Table 1, in its order; further metrics follow.
TABLE_1 = (
    "emia_efficacy",
    "retain_accuracy",
    "test_accuracy",
    "forget_accuracy",
    "cmia_efficacy",
)
_REQUIRED: dict[str, type[Part]] = {
    "dataset": Dataset,
    "forget_set": ForgetSet,
    "model": Model,
    "family": Family,
    "methods": Method,
}
# A model of a bank of so many audited samples has never as few to forget as one.
_SURELY_ENOUGH, _LEAST_FORGOTTEN = 500, 2
_SWEEP = (
    *("name", "metrics", "objective", "scores", "bank", "search", "seeds", "resources", "budget"),
    *("store", "checkpoint_minutes", "keep", "log", "plugins"),
)
# Of the file, not of `Sweep`: the objective holds them.
_CONSTRAINTS = "constraints"


def load_sweep(
    path: Path,
    overrides: Sequence[str] = (),
    store: str | None = None,
    *,
    tree: Value | None = None,
) -> Sweep:
    """Read and check a sweep file.

    Args:
        path: of the YAML file, or the name of a bundled sweep.
        overrides: `key=value` with a dotted path and a YAML value, applied in order.
        store: replaces the file's store.
        tree: the content, if it is in no file.

    Raises:
        ConfigError: what is wrong; several at once as a `ConfigErrors`.
    """
    if tree is None:
        path = sweep_path(path)
        tree = read_tree(path)
    named_first, others = _of_plugins(overrides)
    for assignment in named_first:
        tree = override(tree, assignment)
    # Short forms of `methods` may name methods of plug-ins.
    read: dict[str, Any] = {"plugins": load_plugins(field_nodes(tree).get("plugins"), path.parent)}
    tree = expanded(tree)
    for assignment in others:
        tree = expanded(override(tree, assignment))
    if store is not None:
        # A URL may hold a password.
        given = Value(store, "--store URL", "store", override=True)
        if (fault := text_fault(store)) is not None:
            raise given.error(
                f"the text {fault}", "name a folder, s3://bucket/prefix or az://container/prefix"
            )
        tree = Value({**field_nodes(tree), "store": given}, tree.where, tree.path)
    nodes = field_nodes(tree)
    problems = Problems()
    if "name" not in nodes:
        with problems:
            read["name"] = _name_of(path)
    for name, value in nodes.items():
        with problems:
            read[name] = read["plugins"] if name == "plugins" else _read(value, name)
    with problems:
        options = {name: listed(parts(contract), 20) for name, contract in _REQUIRED.items()}
        require(tree, list(_REQUIRED), options)
    compares = read.get("retrained", Setting.retrained) != "none"
    read.setdefault("metrics", default_metrics(compares=compares))
    if not compares and read.get("bank") is not None:
        read["bank"] = replace(read["bank"], retrained=False)
    if constraints := read.pop(_CONSTRAINTS, ()):
        objectives = read.get("objective", Sweep.objective).each()
        read["objective"] = Goal(objectives=objectives, constraints=constraints)
    with problems:
        take_over_normalisation(read, nodes)
    for error in (*_conflicts(read, nodes), *conflicts(read, nodes)):
        problems.found.append(error)
    problems.check()
    studies = read.pop("methods")
    outer = {name: read.pop(name) for name in _SWEEP if name in read}
    return read_checkpoints(Sweep(setting=Setting(**read), studies=studies, **outer), nodes)


def _of_plugins(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides of `plugins`, and the others."""
    of_plugins = [each for each in overrides if each.partition("=")[0].strip() == "plugins"]
    return of_plugins, [each for each in overrides if each not in of_plugins]


def default_metrics(*, compares: bool = True) -> tuple[Metric, ...]:
    """The registered metrics that are measured by default, those of MUC's Table 1 first.

    Args:
        compares: whether there are retrained models, which some metrics read.
    """
    known = {name: metric for name, metric in parts(Metric).items() if metric.by_default}
    first = [name for name in TABLE_1 if name in known]
    metrics = (known[name]() for name in [*first, *(n for n in known if n not in first)])
    return tuple(metric for metric in metrics if compares or not metric.needs().retrained)


def _read(value: Value, name: str) -> Any:
    """The value of one field of the file."""
    if name == "name":
        return _name(value)
    if name == "methods":
        return read_studies(value)
    if name == "metrics":
        return _metrics(value)
    if name == "objective":
        return _objective(value)
    if name == _CONSTRAINTS:
        return _constraints(value)
    if name == "log":
        return _listed_parts(value, Logger)
    if name == "scores":
        return _listed_parts(value, Score)
    cls = Sweep if name in _SWEEP else Setting
    known = [*schema_fields(Setting), "methods", *_SWEEP, _CONSTRAINTS]
    known_field(value, name, dict.fromkeys(known))
    return read_field(value, cls, name)


def _name(value: Value) -> Any:
    try:
        return read_field(value, Sweep, "name")
    except ConfigError as error:
        raise value.error(error.reason, "choose another name") from None


def _name_of(path: Path) -> Any:
    """The file's name, for a sweep without one."""
    stem = Value(path.stem, "", "")
    try:
        return read_field(stem, Sweep, "name")
    except ConfigError as error:
        raise ConfigError(
            str(path),
            f"the sweep has no name, and its file's, {shown(path.stem)}, cannot be one: "
            f"{error.reason}",
            "add `name: ...` to the file",
        ) from None


def _metrics(value: Value) -> tuple[Metric, ...]:
    if not isinstance(value.content, list):
        raise value.error("a list of metrics is expected", "write [retain_accuracy, ...]")
    return _distinct(value.content, Metric)


def _listed_parts(value: Value, contract: type[P]) -> tuple[P, ...]:
    """One part, a list of them, or null."""
    if value.content is None:
        return ()
    items = value.content if isinstance(value.content, list) else [value]
    return _distinct(items, contract)


def _distinct(items: Iterable[Value], contract: type[P]) -> tuple[P, ...]:
    """Parts of one contract, each named once."""
    problems = Problems()
    read: dict[str, P] = {}
    for item in items:
        with problems:
            part = read_part(item, contract)
            if part.name in read:
                raise item.error("listed twice", f"name every {contract.kind} once")
            read[part.name] = part
    problems.check()
    return tuple(read.values())


def _objective(value: Value) -> Objective:
    """One objective, or a list of several."""
    if not isinstance(value.content, list):
        return read_part(value, Objective)
    problems = Problems()
    read: list[Objective] = []
    for item in value.content:
        with problems:
            part = read_part(item, Objective)
            if part in read:
                raise item.error("listed twice", "name every objective once")
            read.append(part)
    problems.check()
    if not read:
        raise value.error("no objective", f"name one of {listed(parts(Objective), 20)}")
    if len(read) > MOST_OBJECTIVES:
        raise value.error(f"more than {MOST_OBJECTIVES} objectives", "name fewer, or weigh some")
    return read[0] if len(read) == 1 else Goal(objectives=tuple(read))


def _constraints(value: Value) -> tuple[Constraint, ...]:
    if not isinstance(value.content, list):
        raise value.error("a list of constraints is expected", "write [test_accuracy_gap <= 1]")
    problems = Problems()
    read: list[Constraint] = []
    for item in value.content:
        with problems:
            try:
                constraint = Constraint.parse(f"{item.content}")
            except ValueError as error:
                reason = "; ".join(str(error).splitlines()[:1])
                remedy = "write a column, <= or >=, and a number, as in test_accuracy_gap <= 1"
                raise item.error(reason, remedy) from None
            if constraint in read:
                raise item.error("listed twice", "list every constraint once")
            read.append(constraint)
    problems.check()
    if len(read) > MOST_CONSTRAINTS:
        raise value.error(f"more than {MOST_CONSTRAINTS} constraints", "list fewer")
    return tuple(read)


def _conflicts(read: dict[str, Any], nodes: dict[str, Value]) -> list[ConfigError]:
    """Check fields that are valid alone but not together."""
    problems = Problems()
    with problems:
        _check_seeds(read.get("seeds", Seeds()), nodes.get("seeds"), read.get("methods", ()))
    with problems:
        _check_data(read, nodes)
    with problems:
        _check_scores(read, nodes)
    with problems:
        _check_sparsity(read, nodes)
    with problems:
        _check_labels(read, nodes)
    with problems:
        _check_objective(read, nodes)
    with problems:
        _check_search(read, nodes)
    with problems:
        _check_starts(read, nodes)
    problems.found += lacks(read, nodes)
    problems.found += needs_retrained(read, nodes)
    if {"methods", "family", "forget_set"} <= read.keys():
        for study in read["methods"]:
            reason = study.method.unsupported(read["family"], read["forget_set"])
            with problems:
                if reason is not None:
                    node = nodes["methods"].content[study.name]
                    remedy = "remove the method, or change the family or the forget set"
                    raise node.error(reason, remedy, show=False)
    if {"metrics", "forget_set"} <= read.keys():
        for metric in read["metrics"]:
            reason = metric.unsupported(read["forget_set"])
            with problems:
                if reason is not None:
                    node = nodes["metrics"]
                    raise node.error(
                        reason, "remove the metric, or change the forget set", show=False
                    )
    chosen: Objective = read.get("objective", Sweep.objective)
    measured = read.get("metrics", ())
    for objective, metric in ((one, m) for one in chosen.each() for m in one.metrics(measured)):
        with problems:
            if metric.needs().other_seeds:
                raise nodes["metrics"].error(
                    f"the {objective.name} uses {metric.name}, which compares models of several"
                    " seeds, and tuning does not train them",
                    "remove the metric",
                    show=False,
                )
    return problems.found


def _check_seeds(seeds: Seeds, node: Value | None, studies: Iterable[Study]) -> None:
    if node is None:
        return
    problems = Problems()
    searched = [f"{study.name}.{name}" for study in studies for name in study.space]
    for name in ("tuning", "reporting"):
        with problems:
            values = getattr(seeds, name)
            given = field_nodes(node).get(name, node)
            if not values and name == "reporting":
                raise given.error("no seeds", "give at least one")
            if not values and searched:
                raise given.error(
                    f"no seeds, and {listed(searched)} to be searched: trials are scored on tuning"
                    " seeds",
                    "give at least one, or one value to each field",
                )
            if len(set(values)) < len(values):
                raise given.error("a seed is listed twice", "list every seed once")
    problems.check()
    shared = sorted(set(seeds.tuning) & set(seeds.reporting))
    if shared:
        given = field_nodes(node).get("reporting", node)
        raise given.error(
            f"{listed(shared)} also among the tuning seeds "
            f"[{listed(seeds.tuning)}]: a winner would be reported on the seeds it was chosen on",
            "make tuning and reporting seeds disjoint"
            + ("" if searched else ", or add `tuning: []`, as nothing is searched"),
        )


def _check_objective(read: dict[str, Any], nodes: dict[str, Value]) -> None:
    objective: Objective = read.get("objective", Sweep.objective)
    problems = Problems()
    if "metrics" in read:
        for one in objective.each():
            with problems:
                _check_measured(one, read, nodes)
        for constraint in objective.constraints_of():
            with problems:
                _check_fits(constraint, read["metrics"], nodes[_CONSTRAINTS])
        problems.check()
        if not objective.metrics(read["metrics"]):
            raise nodes["objective"].error(
                "it is a cost alone, and the cheapest is to do nothing",
                "add an objective that is made of metrics, or a constraint on one",
            )
    seeds: Seeds = read.get("seeds", Sweep.seeds)
    divided: tuple[Objective | Constraint, ...] = (*objective.each(), *objective.constraints_of())
    for part in divided:
        if part.uses_floor() and seeds.tuning_replicates < 2:
            of_objective = isinstance(part, Objective)
            raise nodes["objective" if of_objective else _CONSTRAINTS].error(
                f"{part.name if isinstance(part, Objective) else part.column} divides by noise"
                " floors, which several retrained models of each tuning seed have",
                "set seeds.tuning_replicates to 3 or more",
            )


def _check_search(read: dict[str, Any], nodes: dict[str, Value]) -> None:
    """The sampler and the pruner must take what is asked of them."""
    if "methods" not in read:
        return
    search: Search = read.get("search", Sweep.search)
    seeds: Seeds = read.get("seeds", Sweep.seeds)
    try:
        check_search(search, read["methods"], read.get("objective", Sweep.objective), seeds.tuning)
    except ConfigError as error:
        raise nodes["search"].error(
            f"{error.subject}: {error.reason}", error.remedy, show=False
        ) from None


def _check_measured(objective: Objective, read: dict[str, Any], nodes: dict[str, Value]) -> None:
    """The sweep must measure what an objective is made of."""
    _check_fits(objective, read["metrics"], nodes.get("objective"))
    if objective.of_metrics and not objective.metrics(read["metrics"]):
        known = [name for name, metric in parts(Metric).items() if objective.metrics((metric,))]
        raise (nodes.get("metrics") or nodes["objective"]).error(
            f"none counts in the {objective.name.replace('_', ' ')}, so trials have no score",
            f"add one of {listed(known, 20)}",
        )


def _check_fits(
    part: Objective | Constraint, metrics: Sequence[Metric], node: Value | None
) -> None:
    try:
        part.check(metrics)
    except ConfigError as error:
        assert node is not None, "the default objective has no fields"
        raise node.error(f"{error.subject}: {error.reason}", error.remedy) from None


def _check_starts(read: dict[str, Any], nodes: dict[str, Value]) -> None:
    """Points to start from must be of studies, and in their spaces."""
    if not {"methods", "search"} <= read.keys() or not read["search"].start_from:
        return
    studies = {study.name: study for study in read["methods"]}
    problems = Problems()
    for given in field_nodes(nodes["search"])["start_from"].content:
        if not isinstance(given.content, dict):
            continue
        for name, node in given.content.items():
            with problems:
                if name not in studies:
                    raise node.error("no study of this name", did_you_mean(name, studies))
                if not studies[name].has(node.plain):
                    searched = listed(studies[name].space, 20) or "nothing"
                    reason = f"not a point of the study, which searches {searched}"
                    raise node.error(reason, "give each searched field a value in its range")
    problems.check()


def _check_scores(read: dict[str, Any], nodes: dict[str, Value]) -> None:
    """Every score must have enough models."""
    scores, bank = read.get("scores", ()), read.get("bank")
    seeds: Seeds = read.get("seeds", Sweep.seeds)
    problems = Problems()
    with problems:
        if bank is not None and bank.seed in (*seeds.tuning, *seeds.reporting):
            raise nodes["bank"].error(
                f"its seed {bank.seed} is a tuning or reporting seed, too",
                "set bank.seed to another number",
                show=False,
            )
    for score in scores:
        of_masks = isinstance(score, MaskedScore)
        there = (bank.models if bank else 0) if of_masks else seeds.replicates
        field = "bank.models" if of_masks else "seeds.replicates"
        with problems:
            if there < score.least:
                raise nodes["scores"].error(
                    f"{score.name} needs {score.least} models or more, and {field} is {there}",
                    f"set {field} to {score.least} or more, or remove the score",
                    show=False,
                )
            if "dataset" in read and not read["dataset"].info().class_names:
                raise nodes["scores"].error(
                    f"{score.name} uses the confidence in the true class, and the images are"
                    " unlabelled",
                    "remove the score",
                    show=False,
                )
    problems.check()


def _check_sparsity(read: dict[str, Any], nodes: dict[str, Value]) -> None:
    sparsity, model = read.get("sparsity"), read.get("model")
    if sparsity is None or model is None:
        return
    if sparsity.method == "synflow" and not model.synaptic_flow:
        raise nodes["sparsity"].error(
            f"synflow follows paths through ReLUs and batch norm; {model.name} has others",
            "prune by omp or imp, or change the model",
            show=False,
        )


def _check_labels(read: dict[str, Any], nodes: dict[str, Value]) -> None:
    """Other labels than the true ones must be read by training."""
    if not {"family", "forget_set"} <= read.keys():
        return
    forget_set, family = read["forget_set"], read["family"]
    if forget_set.relabels and not isinstance(family, ClassifierFamily):
        known = [name for name, one in parts(Family).items() if issubclass(one, ClassifierFamily)]
        raise nodes["forget_set"].error(
            f"{forget_set.name} changes labels, and {family.name} trains without them",
            f"train a classifier ({listed(known)}), or forget other samples",
            show=False,
        )


def _check_data(read: dict[str, Any], nodes: dict[str, Value]) -> None:
    if "dataset" not in read:
        return
    at = nodes["dataset"]
    try:
        info = read["dataset"].info()
        check_images(info)
        if "validation" in nodes and "validation" not in read:
            return
        at = nodes.get("validation", at)
        size = validation_size(read.get("validation", Setting.validation), info.train_size)
        if "forget_set" in read:
            at = nodes["forget_set"]
            read["forget_set"].check(info, size)
        if "model" in read:
            at = nodes["model"]
            read["model"].check(info.image_size)
            if "family" in read:
                at = nodes["family"]
                read["family"].check(read["model"], info)
                check_size(read["model"], read["family"], info)
                if "probe" in read:
                    at = nodes["probe"]
                    check_copies(read["probe"], read["model"], read["family"], info)
        for metric in read.get("metrics", ()):
            at = nodes.get("metrics", nodes["dataset"])
            metric.check(info)
        for study in read.get("methods", ()):
            at = nodes["methods"].content[study.name]
            _check_extra_data(study, read["dataset"], size, info, read.get("family"))
    except (DataError, ConfigError) as error:
        raise at.error(f"{error.subject}: {error.reason}", error.remedy) from None
    if {"model", "family", "forget_set"} <= read.keys():
        _check_batches(read, nodes, info, size)
    if read.get("bank") is not None:
        _check_bank(read["bank"], nodes["bank"], info.train_size - size)


def _check_batches(
    read: dict[str, Any], nodes: dict[str, Value], info: DatasetInfo, validation: int
) -> None:
    """Check batches, as far as that holds for every seed."""
    size = forget_size(read["forget_set"], info.train_size, validation)
    counts = counts_of(info.train_size - validation, size, validation)
    where = (counts, read["family"], read["model"], info.image_size)
    at = nodes.get("training", nodes["forget_set"])
    try:
        check_training(read.get("training", Setting.training), *where)
        for study in read.get("methods", ()):
            at = nodes["methods"].content[study.name]
            check_study(study, *where)
    except ConfigError as error:
        raise at.error(f"{error.subject}: {error.reason}", error.remedy, show=False) from None


def _check_bank(bank: Bank, node: Value, trained_on: int) -> None:
    """Check that every mask of a bank leaves enough to train on and to forget."""
    if bank.samples >= trained_on:
        raise node.error(
            f"audits {bank.samples:,} samples of the {trained_on:,} that are not for validation,"
            " and leaves no others to train on",
            "audit fewer samples",
            show=False,
        )
    if bank.samples > _SURELY_ENOUGH:
        return
    masks = states(bank.models, bank.samples, bank.seed)
    forgotten = (masks == FORGET).sum(axis=1)
    if forgotten.min() < _LEAST_FORGOTTEN:
        raise node.error(
            f"of {bank.samples} audited samples, model {forgotten.argmin()} has "
            f"{forgotten.min()} to forget, which is too few for a batch",
            "audit more samples",
            show=False,
        )


def _check_extra_data(
    study: Study, own: Dataset, validation: int, info: DatasetInfo, family: Family | None
) -> None:
    for source in study.extra_data():
        if isinstance(source, Dataset):
            if source == own:
                raise ConfigError(
                    f"{study.name} with {source.name}",
                    "the models are already trained on these images",
                    "name another dataset",
                )
            found = source.info()
            if family is not None and family.reads_captions and not found.captioned:
                raise ConfigError(
                    f"{study.name} with {source.name}",
                    f"{family.name} reads captions, and this dataset has none",
                    "add class prompts with prompted, or name another dataset",
                )
            if found.image_size != info.image_size:
                raise ConfigError(
                    f"{study.name} with {source.name}",
                    f"its images have {found.image_size} pixels, those of the sweep's dataset "
                    f"{info.image_size}",
                    "name a dataset with images of the same size",
                )
        elif validation == 0:
            raise ConfigError(
                study.name,
                "it reads the validation set, which is empty",
                "set validation to 0.1, or remove the method",
            )
