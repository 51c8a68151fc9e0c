"""The field `plugins` of a sweep file: loaded before the rest of the file is read."""

from __future__ import annotations

from pathlib import Path

from unlearn_ray.config.yaml_nodes import text_fault
from unlearn_ray.config.yaml_tree import Problems, Value
from unlearn_ray.core import plugins
from unlearn_ray.core.plugin_sources import Source
from unlearn_ray.core.registry import Part, parts
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.families.base import Family
from unlearn_ray.loggers.base import Logger
from unlearn_ray.methods.base import Method
from unlearn_ray.metrics.base import Metric
from unlearn_ray.models.base import Model
from unlearn_ray.objectives.base import Objective
from unlearn_ray.quantities.base import Quantity
from unlearn_ray.scores.base import Score
from unlearn_ray.steps.base import Step

_CONTRACTS: tuple[type[Part], ...] = (
    *(Dataset, ForgetSet, Model, Family, Method, Metric, Quantity, Score, Objective, Logger, Step),
)


def load_plugins(value: Value | None, folder: Path) -> tuple[str, ...]:
    """Load what a sweep file lists, so that the parts in it are known.

    Args:
        value: the field: a list of modules and paths, or one of them; None if it is left out.
        folder: of the file, which relative paths start from; those of `--set` start from the
            working directory.

    Returns:
        All plug-ins in use, those of --plugin included.

    Raises:
        ConfigError: some cannot be loaded.
    """
    items = [] if value is None or value.content is None else [value]
    if value is not None and isinstance(value.content, list):
        items = value.content
    start = Path.cwd() if value is not None and value.override else folder
    problems = Problems()
    sources: list[tuple[Value, Source]] = []
    for item in items:
        with problems:
            sources.append((item, _source(item, start)))
    problems.check()
    if sources:
        for contract in _CONTRACTS:
            parts(contract)  # a plug-in that takes the name of one of these is the one to be told
    errors = plugins.use([source for _, source in sources])
    for item, source in sources:
        with problems:
            if (error := errors.pop(source, None)) is not None:
                raise item.error(error.reason, error.remedy)
    problems.found += errors.values()
    problems.check()
    return tuple(source.name for source in plugins.in_use())


def _source(item: Value, folder: Path) -> Source:
    if not isinstance(item.content, str) or not item.content.strip():
        raise item.error("the name of a module or a file is expected", "write ./my_method.py")
    fault = text_fault(item.content)
    if fault is not None:
        raise item.error(f"the text {fault}", "write ./my_method.py")
    return Source.of(item.content, folder)
