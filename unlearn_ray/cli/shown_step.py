"""One step, for `results show`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from unlearn_ray.cli.shown import Shown
from unlearn_ray.core.flat import flat

if TYPE_CHECKING:
    import pandas as pd

    from unlearn_ray.storage.store import Failure, Record, Store

_KEY = "key_"
_SHOWN_ROWS = 20
# Of a loss curve, besides its first.
_SHOWN_POINTS = 10
# In the record's result, and said in words.
_MACHINE = ("device", "kernels", "threads")


def shown_step(found: Record | Failure, store: Store) -> Shown:
    """A step by its record, or by its failure."""
    from unlearn_ray.storage.store import Failure

    if isinstance(found, Failure):
        facts = {
            "step": found.step,
            "kind": found.kind,
            "key": found.key,
            "state": "failed",
            "reason": found.reason,
            "sweep": found.sweep,
            "failed at": found.created,
            "host": found.host,
            "versions": _versions(found.versions),
        }
        return Shown(facts, {"use": _used_by(found.key, store)}, found.traceback)
    kinds = store.kinds()
    if not kinds.keys() >= set(found.inputs.values()):
        kinds |= {key: record.kind for key, record in store.sharing().items()}
    inputs = {
        f"input {role}": f"{kinds.get(key, 'no record of')} {key}"
        for role, key in found.inputs.items()
    }
    config = {f"config.{name}": value for name, value in flat(_own_config(found), "")}
    removal = store.removed(found)
    removed = {} if removal is None else {"removed": f"{removal.created}, by {removal.why}"}
    shared = ", ".join(f"{one.kind} {one.key}" for one in found.along)
    along = {"along with it": shared} if shared else {}
    return Shown(
        {**_made(found), **removed, **inputs, **along, **config, **_files(found), **_result(found)},
        {"use": _used_by(found.key, store), "losses": _losses(found, store)},
    )


def shown_row_of(prefix: str, store: Store) -> Shown | None:
    """The row of a failed trial whose step has no record; None if there is none."""
    if not prefix:
        return None
    rows = _rows(store)
    if not {"key_unlearn", "failure"} <= set(rows.columns):
        return None
    named = rows["key_unlearn"].fillna("").str.startswith(prefix) & rows["failure"].notna()
    if rows[named]["key_unlearn"].nunique() != 1:
        return None
    row = rows[named].iloc[0]
    facts = {"kind": "unlearn", "key": row["key_unlearn"], "state": "failed"}
    facts |= {"reason": row["failure"], "hyperparameters": row["hyperparameters"]}
    return Shown(facts, {"use": _used_by(row["key_unlearn"], store)})


def _made(record: Record) -> dict[str, Any]:
    from unlearn_ray.reporting.words import duration

    machine = ", ".join(
        f"{name} {record.result[name]}" for name in _MACHINE if name in record.result
    )
    earlier = f", and {duration(record.earlier_seconds)} earlier" if record.earlier_seconds else ""
    return {
        "kind": record.kind,
        "key": record.key,
        "state": "complete",
        "made at": record.created,
        "made on": machine or "unknown",
        "host": record.host,
        "took": f"{record.seconds:.2f} s{earlier}",
        "workers": f"{record.workers} of {record.accelerators:g} accelerators each",
        "accelerator hours": record.accelerator_hours,
        "sweep": record.sweep,
        "charged to": record.row or "the reference models",
        "versions": _versions(record.versions),
    }


def _own_config(record: Record) -> dict[str, Any]:
    """Without what is said elsewhere."""
    return {name: of for name, of in record.config.items() if name not in ("kind", "inputs")}


def _files(record: Record) -> dict[str, str]:
    return {
        f"file {name}": f"{entry.size:,} bytes, {'in ' * (entry.data is not None)}{entry.name}"
        for name, entry in sorted(record.files.items())
    }


def _result(record: Record) -> dict[str, str]:
    rest = {name: of for name, of in record.result.items() if name not in _MACHINE}
    return {f"result.{name}": value for name, value in flat(rest, "")} if rest else {}


def _losses(record: Record, store: Store) -> pd.DataFrame:
    """A few points of each loss curve; none where its file was removed."""
    import pandas as pd

    from unlearn_ray.core.errors import MissingObject
    from unlearn_ray.storage.curves import CURVES, curves_of

    try:
        curves = curves_of(store, record) if CURVES in record.files else pd.DataFrame()
    except MissingObject:
        return pd.DataFrame()
    if not len(curves):
        return curves
    shown = [
        part.iloc[
            sorted(
                {(len(part) - 1) * number // _SHOWN_POINTS for number in range(_SHOWN_POINTS + 1)}
            )
        ]
        for _, part in curves.groupby(["phase", "player"])
    ]
    several = [name for name in ("phase", "player") if curves[name].nunique() > 1]
    return pd.concat(shown)[[*several, "iteration", "loss", "learning_rate"]]


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {of}" for name, of in sorted(versions.items()))


def _used_by(key: str, store: Store) -> pd.DataFrame:
    """The rows that name the step, at most a few, and how many more there are."""
    import pandas as pd

    columns = [
        "used by row",
        "as",
        "sweep",
        "study",
        "trial",
        "purpose",
        "seed",
        "replicate",
        "state",
    ]
    lines = [*_uses(key, _rows(store))]
    frame = pd.DataFrame(lines[:_SHOWN_ROWS], columns=columns)
    if len(lines) > _SHOWN_ROWS:
        more = [f"and {len(lines) - _SHOWN_ROWS:,} more", *[""] * (len(columns) - 1)]
        frame = pd.concat([frame.astype(object), pd.DataFrame([more], columns=columns)])
    return frame


def _uses(key: str, rows: pd.DataFrame) -> Iterator[list[Any]]:
    for column in (name for name in rows.columns if name.startswith(_KEY)):
        for row in rows[rows[column] == key].to_dict("records"):
            named = ("sweep", "study", "trial", "purpose", "seed", "replicate", "state")
            yield [row["row"], column.removeprefix(_KEY), *(row.get(name) for name in named)]


def _rows(store: Store) -> pd.DataFrame:
    from unlearn_ray.studies.stored_rows import read_rows

    frame: pd.DataFrame = read_rows(store).to_pandas()
    return frame
