"""Models that a sweep file brings: read, fitted and hashed before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from unlearn_ray.config.fields import problem
from unlearn_ray.config.sweep_schema import Seeds, Study, Sweep
from unlearn_ray.config.yaml_tree import Problems, Value
from unlearn_ray.core.errors import BadInput, ConfigError
from unlearn_ray.core.runs import Run
from unlearn_ray.layouts.brought import Checkpoint, Original
from unlearn_ray.layouts.counterpart import Ours
from unlearn_ray.layouts.misfit import WeightsMisfit
from unlearn_ray.storage.outside import read_outside

Read = dict[str, Any]
Nodes = dict[str, Value]


@dataclass(frozen=True)
class _Given:
    """A checkpoint of a sweep file, and the runs that it has files for."""

    checkpoint: Checkpoint
    at: Value
    runs: tuple[Run, ...]


def take_over_normalisation(read: Read, nodes: Nodes) -> None:
    """Let the family normalise images as the brought original was trained with.

    Raises:
        ConfigError: the family's own fields say something else.
    """
    original, family = read.get("original"), read.get("family")
    if not isinstance(original, Original) or original.normalisation is None or family is None:
        return
    wanted, own = original.normalisation, family.augmentation
    usual = type(family)().augmentation
    given = own.mean, own.std
    if given != (usual.mean, usual.std) and given != (wanted.mean, wanted.std):
        raise _child(nodes["original"], "normalise").error(
            f"family {family.name} has another mean and std in its augmentation",
            "remove one of them",
        )
    augmentation = replace(own, mean=wanted.mean, std=wanted.std)
    read["family"] = replace(family, augmentation=augmentation)


def conflicts(read: Read, nodes: Nodes) -> list[ConfigError]:
    """What cannot be done with brought models, one error each."""
    problems = Problems()
    for check in (_sparse, _relabelled, _unlabelled, _alike, _on_a_bank):
        with problems:
            check(read, nodes)
    return problems.found


def read_checkpoints(sweep: Sweep, nodes: Nodes) -> Sweep:
    """Read and fit the checkpoints of a sweep; it keeps what identifies them.

    Raises:
        ConfigError: a file is missing or unreadable, or does not fit the model.
    """
    studies = tuple(_with_checkpoint(study, nodes) for study in sweep.studies)
    sweep = replace(sweep, studies=studies)
    given = [*_given(sweep, nodes)]
    if not given:
        return sweep
    setting, problems = sweep.setting, Problems()
    ours = Ours.of(setting.model, setting.family, setting.dataset.info())
    for each in given:
        with problems:
            try:
                each.checkpoint.plan(ours, each.runs, sweep.seeds.tuning, read_outside)
            except BadInput as error:
                raise _located(error, each.at) from None
    for study in sweep.studies:
        if study.method.reads_weights:
            with problems:
                _check_seconds(study, sweep, nodes["methods"].content[study.name])
    problems.check()
    return sweep


def _given(sweep: Sweep, nodes: Nodes) -> Iterator[_Given]:
    seeds = sweep.seeds
    of_trials = (*map(Run, seeds.tuning), *seeds.runs)
    original, retrained = sweep.setting.brought("original"), sweep.setting.brought("retrained")
    if original is not None:
        yield _Given(original, _child(nodes["original"], "checkpoint"), of_trials)
    if retrained is not None:
        at = _child(nodes["retrained"], "checkpoint")
        yield _Given(retrained, at, (*seeds.tuning_runs, *seeds.runs))
    for study in sweep.studies:
        if study.method.reads_weights:
            at = _child(nodes["methods"].content[study.name], "weights")
            yield _Given(study.fixed["weights"], at, of_trials)


def _with_checkpoint(study: Study, nodes: Nodes) -> Study:
    """A path alone becomes a checkpoint, which keeps what planning finds there."""
    weights = study.fixed.get("weights")
    if not study.method.reads_weights or not isinstance(weights, str):
        return study
    try:
        checkpoint = Checkpoint(checkpoint=weights)
    except ValidationError as error:
        at = _child(nodes["methods"].content[study.name], "weights")
        raise problem(at, error, "write the path of a file") from None
    return replace(study, fixed={**study.fixed, "weights": checkpoint})


def _check_seconds(study: Study, sweep: Sweep, at: Value) -> None:
    method = study.at({})
    for seed, replicate in (*map(Run, sweep.seeds.tuning), *sweep.seeds.runs):
        try:
            method.outside(seed, replicate)
        except ConfigError as error:
            raise at.error(f"{error.subject}: {error.reason}", error.remedy, show=False) from None


def _located(error: BadInput, at: Value) -> ConfigError:
    if isinstance(error, WeightsMisfit):
        return error.at(at.where if at.override else f"{at.where}: {at.path}")
    return at.error(f"{error.subject}: {error.reason}", error.remedy, show=False)


def _child(node: Value, name: str) -> Value:
    """A field's own node, or the mapping's where it has none."""
    inner = node.content.get(name) if isinstance(node.content, dict) else None
    if inner is None and isinstance(node.content, dict) and len(node.content) == 1:
        # A study of its own name holds the method.
        (only,) = node.content.values()
        inner = only.content.get(name) if isinstance(only.content, dict) else None
    return node if inner is None else inner


def _brought(read: Read) -> Iterator[str]:
    """The fields that bring weights."""
    if read.get("original") is not None:
        yield "original"
    if isinstance(read.get("retrained"), Checkpoint):
        yield "retrained"
    if any(study.method.reads_weights for study in read.get("methods", ())):
        yield "methods"


def _sparse(read: Read, nodes: Nodes) -> None:
    if read.get("sparsity") is not None and (fields := list(_brought(read))):
        raise nodes["sparsity"].error(
            f"{' and '.join(fields)} bring weights, whose pruning masks are not known",
            "remove sparsity",
            show=False,
        )


def _relabelled(read: Read, nodes: Nodes) -> None:
    forget_set = read.get("forget_set")
    if read.get("original") is not None and forget_set is not None and forget_set.relabels:
        raise nodes["forget_set"].error(
            f"{forget_set.name} changes the labels that the original is trained with, and a "
            "brought one is trained",
            "forget other samples, or let the sweep pretrain",
            show=False,
        )


def _unlabelled(read: Read, nodes: Nodes) -> None:
    original = read.get("original")
    if original is None or original.expect is None or "dataset" not in read:
        return
    if not read["dataset"].info().class_names:
        raise _child(nodes["original"], "expect").error(
            "the images are unlabelled, so there is no test accuracy", "remove it", show=False
        )


def _alike(read: Read, nodes: Nodes) -> None:
    """Retrained models must differ where their forget sets or training seeds do."""
    retrained, seeds = read.get("retrained"), read.get("seeds", Seeds())
    forget_set = read.get("forget_set")
    if not isinstance(retrained, Checkpoint) or forget_set is None:
        return
    at = _child(nodes["retrained"], "checkpoint")
    if max(seeds.replicates, seeds.tuning_replicates) > 1 and not retrained.names("replicate"):
        raise at.error(
            "several replicates of a seed would be the same model, with a noise floor of 0",
            "write {replicate} into the path, for a file of each",
        )
    several = len({*seeds.tuning, *seeds.reporting}) > 1
    fixed = forget_set.whole_classes or forget_set.named_ids() is not None
    if several and not fixed and not retrained.names("seed"):
        raise at.error(
            f"{forget_set.name} forgets other samples under each seed, and the file is one",
            "write {seed} into the path, for a file of each",
        )


def _on_a_bank(read: Read, nodes: Nodes) -> None:
    for study in read.get("methods", ()):
        if study.method.reads_weights and read.get("bank") is not None:
            raise nodes["bank"].error(
                f"{study.name} has weights for the sweep's seeds alone, not for a bank's models",
                "remove the bank, or have the method in a sweep of its own",
                show=False,
            )
        if study.method.reads_weights and study.fixed.get("weights") is None:
            raise (
                nodes["methods"]
                .content[study.name]
                .error(
                    f"{study.method.name} needs weights", "add `weights: PATH` to it", show=False
                )
            )
