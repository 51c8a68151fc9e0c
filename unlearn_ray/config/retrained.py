"""What a sweep without retrained models cannot ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeVar

from unlearn_ray.config.fields import field_nodes
from unlearn_ray.config.yaml_tree import Problems, Value
from unlearn_ray.core.errors import ConfigError, listed
from unlearn_ray.core.registry import Part, parts
from unlearn_ray.metrics.base import Metric
from unlearn_ray.objectives.base import Objective
from unlearn_ray.scores.base import ReplicateScore, Score
from unlearn_ray.steps.setting import Setting

P = TypeVar("P", bound=Part)

_FIELD = "retrained"
_EXAMPLE = (
    "objective: {measured: {aims: {test_accuracy: original, forget_accuracy: test_accuracy}}}"
)
_SHOWN = 40


def needs_retrained(read: dict[str, Any], nodes: dict[str, Value]) -> list[ConfigError]:
    """What reads retrained models in a sweep file with `retrained: none`, one error for each.

    Args:
        read: the fields that were read without an error.
        nodes: all fields, with their lines.
    """
    if read.get(_FIELD, Setting.retrained) != "none":
        return []
    problems = Problems()
    for check in (_objective, _metrics, _scores, _bank, _replicates):
        with problems:
            check(read, nodes)
    return problems.found


def _examples(contract: type[P]) -> Iterator[P]:
    """A part of each class that can be built without being told any field."""
    for cls in parts(contract).values():
        with suppress(ValueError):
            yield cls(**cls.tiny)


def _objective(read: dict[str, Any], nodes: dict[str, Value]) -> None:
    if "objective" in nodes and "objective" not in read:
        return  # it is reported as an error of its own
    objective: Objective | None = read.get("objective")
    if objective is not None and not objective.uses_retrained():
        return
    using = [] if objective is None else [one for one in objective.each() if one.uses_retrained()]
    for constraint in () if objective is None else objective.constraints_of():
        if constraint.uses_retrained():
            raise nodes["constraints"].error(
                f"{constraint.column} is a distance from retrained models, and retrained is none",
                "bound a metric itself, or set retrained to train",
            )
    name = listed(one.name for one in using) or "the default objective, average_gap,"
    known = [
        one.name for one in _examples(Objective) if one.of_metrics and not one.uses_retrained()
    ]
    columns = [
        column
        for metric in read.get("metrics", ())
        if not metric.needs().retrained
        for column in metric.columns
    ]
    aims = f" (its aims may be of {listed(columns, _SHOWN)})" if columns else ""
    raise nodes.get("objective", nodes[_FIELD]).error(
        f"{name} compares with retrained models, and retrained is none",
        f"name an objective among {listed(known)}, as in {_EXAMPLE}{aims}, or set retrained to"
        " train",
    )


def _metrics(read: dict[str, Any], nodes: dict[str, Value]) -> None:
    needing = [metric.name for metric in read.get("metrics", ()) if metric.needs().retrained]
    if needing:
        others = [one.name for one in _examples(Metric) if not one.needs().retrained]
        raise nodes["metrics"].error(
            f"{listed(needing)}: they compare with retrained models, and retrained is none",
            f"name metrics among {listed(others, _SHOWN)}, or set retrained to train",
            show=False,
        )


def _scores(read: dict[str, Any], nodes: dict[str, Value]) -> None:
    needing = [score.name for score in read.get("scores", ()) if isinstance(score, ReplicateScore)]
    if needing:
        known = parts(Score).items()
        others = [name for name, one in known if not issubclass(one, ReplicateScore)]
        raise nodes["scores"].error(
            f"{listed(needing)}: they compare with retrained models, and retrained is none",
            f"name scores of a bank among {listed(others)}, or set retrained to train",
            show=False,
        )


def _bank(read: dict[str, Any], nodes: dict[str, Value]) -> None:
    if "bank" not in nodes or nodes["bank"].content is None:
        return
    given = field_nodes(nodes["bank"]).get(_FIELD)
    if given is not None and given.content is True:
        raise given.error(
            "the sweep's retrained is none", "set this to false, or retrained to train"
        )


def _replicates(read: dict[str, Any], nodes: dict[str, Value]) -> None:
    if "seeds" in read and read["seeds"].tuning_replicates > 1:
        raise field_nodes(nodes["seeds"])["tuning_replicates"].error(
            "these are retrained models, and retrained is none",
            "remove it, or set retrained to train",
        )
