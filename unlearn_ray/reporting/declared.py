"""What metrics and scores declare of their columns, read without importing them.

Their modules need PyTorch, which takes seconds to import, and which a machine that only reads
results may lack. So what those of this package declare is in columns.json, too. Parts are imported
only if rows have columns of others.

python -m unlearn_ray.reporting.declared > unlearn_ray/reporting/columns.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files

from unlearn_ray.core.registry import parts

_FILE = "columns.json"


@dataclass(frozen=True)
class Columns:
    """The columns of a metric or score; of a score, only their headers.

    Attributes:
        columns: each with its header in printed tables.
        in_average_gap, made_of, stored_only: as `metrics.base.Metric` has them.
    """

    columns: Mapping[str, str]
    in_average_gap: bool = False
    made_of: frozenset[str] = frozenset()
    stored_only: frozenset[str] = frozenset()


def metrics_of(columns: Collection[str]) -> tuple[Columns, ...]:
    """The declarations of this package's metrics, and if need be of all others.

    Args:
        columns: of metrics, as rows have them.
    """
    return _with_others(_packaged()["metrics"], columns, _registered_metrics)


def scores_of(columns: Collection[str]) -> tuple[Columns, ...]:
    """The same for scores."""
    return _with_others(_packaged()["scores"], columns, _registered_scores)


def headers_of(declared: Iterable[Columns]) -> dict[str, str]:
    """The printed header of every column."""
    return {column: header for one in declared for column, header in one.columns.items()}


def _with_others(
    packaged: tuple[Columns, ...],
    columns: Collection[str],
    registered: Callable[[], tuple[Columns, ...]],
) -> tuple[Columns, ...]:
    if headers_of(packaged).keys() >= set(columns):
        return packaged
    try:
        return registered()
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("unlearn_ray"):
            raise
        return packaged  # without PyTorch no other part can be here


def _registered_metrics() -> tuple[Columns, ...]:
    from unlearn_ray.metrics.base import Metric

    return tuple(
        Columns(one.columns, one.in_average_gap, one.made_of, one.stored_only)
        for one in parts(Metric).values()
    )


def _registered_scores() -> tuple[Columns, ...]:
    from unlearn_ray.scores.base import Score

    return tuple(Columns(one.columns) for one in parts(Score).values())


@cache
def _packaged() -> dict[str, tuple[Columns, ...]]:
    text = files("unlearn_ray.reporting").joinpath(_FILE).read_text(encoding="utf-8")
    return {
        kind: tuple(
            Columns(
                one["columns"],
                one["in_average_gap"],
                frozenset(one["made_of"]),
                frozenset(one["stored_only"]),
            )
            for one in declared
        )
        for kind, declared in json.loads(text).items()
    }


def columns_file() -> str:
    """The file, from the parts themselves."""
    declared = {"metrics": _registered_metrics(), "scores": _registered_scores()}
    plain = {kind: [asdict(one) for one in known] for kind, known in declared.items()}
    return json.dumps(plain, indent=1, default=sorted, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(columns_file())
