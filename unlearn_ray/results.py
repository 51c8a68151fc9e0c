"""`python -m unlearn_ray.results STORE`: query, best, compare, power, memorisation, diff ..."""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from unlearn_ray.core.boundary import reason_of, run_command
from unlearn_ray.core.columns import COLUMNS
from unlearn_ray.core.errors import EXIT_STATUSES, BadInput, Exit, did_you_mean, listed
from unlearn_ray.core.printable import printable_lines
from unlearn_ray.core.words import counted

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from rich.console import RenderableType

    from unlearn_ray.storage.store import Record, Store

_REFERENCES = b"references"
FILES = ("csv", "parquet")
FORMATS = ("table", "markdown", "csv", "json", "parquet")
EXAMPLES = """\
STORE is a folder or s3://bucket/prefix[?endpoint=URL&region=NAME].

examples:
  the paper's table, for every sweep in the store, or for one
    python -m unlearn_ray.results ./store compare
    python -m unlearn_ray.results ./store compare --sweep quickstart --format csv
  the best trial of each study on the tuning seeds, with its hyperparameters
    python -m unlearn_ray.results ./store best
  how much of each metric comes from splits and from training seeds, the smallest excess gap that
  the present replicates can find, and how many models intervals of ± 1 point would take
    python -m unlearn_ray.results ./store power quickstart
    python -m unlearn_ray.results ./store power quickstart --half-width 0.5 --unit floors
  SQL (DuckDB)
    python -m unlearn_ray.results ./store query "DESCRIBE winners"
    python -m unlearn_ray.results ./store query \\
      "SELECT sweep, study, average_gap_of_means FROM winners ORDER BY ALL"
    python -m unlearn_ray.results ./store query \\
      "SELECT study, count(*), min(mean_average_gap) FROM trials
       WHERE state = 'complete' GROUP BY study"
    python -m unlearn_ray.results ./store query "SELECT * FROM rows" \\
      --format parquet --output rows.parquet
  which fields make two steps differ (keys may be shortened)
    python -m unlearn_ray.results ./store diff 3fa9 81c0
  how much the models of a sweep's bank memorise each audited sample, for forget_set memorised
    python -m unlearn_ray.results ./store memorisation bank.yaml --output estimates.csv
  merge many small row files into one
    python -m unlearn_ray.results ./store compact
  what killed processes left behind: show how much, then remove it
    python -m unlearn_ray.results ./store clean --dry-run
    python -m unlearn_ray.results ./store clean

tables of query:
  winners     one row per study: its best trial, over the reporting seeds it was not chosen on
  trials      one row per trial, over its tuning seeds
  references  one row per reference model (retrain, original), seed and replicate
  rows        everything, one row per trial or reference model, seed and replicate, and one per
              model with scores: an average or minimum over these mixes tuning, reporting,
              reference and score rows, so filter by purpose

over runs (reporting seeds times replicates):
  <metric>_gap_of_means, average_gap_of_means and average_gap_percentage_of_means are of
  |difference of the means over runs|, as in MUC's tables; <metric>_mean_gap and
  mean_average_gap are means over runs of each run's gap; <name>_seed_std is over runs (ddof 1)

columns of rows (docs/columns.md says which rows fill them):
"""
_described = partial(textwrap.fill, width=100, subsequent_indent=30 * " ")
EXAMPLES += "\n".join(
    _described(one.meaning, initial_indent=f"  {one.name:<27} ") for one in COLUMNS
)


POWER = """\
a line for each metric of the retrained and the original models and of each study's winner, over the
reporting seeds:

  std_split, std_replicate   standard deviations that come from the split, and from the training
                             and unlearning seed of one split; with one replicate of each split
                             nobody can tell, and std_split is of both
  floor                      mean difference of two retrained models of one split
  half_width                 half of the present 95 % interval of the mean difference from the
                             retrained model of the same run; for retrain, of its mean
  detectable_excess_gap      the smallest excess gap that the present replicates find in 80 % of
                             cases; none if their permutation test cannot reach 5 %
  replicates_needed          per split, for the half-width that is wanted; none if no number will
                             do, because the splits alone vary too much
  splits_needed              reporting seeds, with as many replicates of each as now

If replicates_needed is small, raise seeds.replicates: the new models alone are trained. If there is
none, add reporting seeds.
"""


def load(store: str) -> pd.DataFrame:
    """Every row of a store: one per trial and seed, and one per reference model and seed.

    Args:
        store: a folder, or s3://bucket/prefix[?endpoint=URL&region=NAME].

    Raises:
        StoreError: the store cannot be reached or read.
    """
    from unlearn_ray.storage.store import open_store
    from unlearn_ray.studies.stored_rows import read_rows

    frame: pd.DataFrame = read_rows(open_store(store)).to_pandas()
    return frame


@dataclass(frozen=True)
class Output:
    """Where and in which format a result is printed."""

    format: str
    path: Path | None

    def frame(self, frame: pd.DataFrame) -> None:
        """Print a frame."""
        from unlearn_ray.reporting import grid, render

        if self.format == "table":
            cells = render.frame_grid(frame)
            self._view(lambda width: grid.rich_grid(cells, width=width), grid.aligned(cells))
        elif self.format == "markdown":
            self._text(grid.markdown_grid(render.frame_grid(frame)) + "\n")
        else:
            self._machine(frame)

    def comparisons(
        self,
        rows: pd.DataFrame,
        orders: Mapping[str, Sequence[str]],
        tuning: Mapping[str, Sequence[int]],
    ) -> None:
        """Print the paper's table of every sweep, its studies in the order of its file."""
        import pandas as pd

        from unlearn_ray.reporting import render, table

        found = table.comparisons(rows, orders, tuning)
        if self.format == "table":
            for number, comparison in enumerate(found):
                view = partial(render.rich_view, comparison)
                self._view(view, render.plain_text(comparison), append=number > 0)
        elif self.format == "markdown":
            self._text("\n\n".join(map(render.markdown, found)) + "\n")
        else:
            self._machine(pd.concat([part.frame() for part in found], ignore_index=True))

    def _view(
        self, view: Callable[[int], RenderableType], text: str, *, append: bool = False
    ) -> None:
        if self.path is None and sys.stdout.isatty():
            from rich.console import Console

            console = Console()
            console.print(view(console.width))
        else:
            self._text(("\n" if append else "") + text + "\n", append=append)

    def _machine(self, frame: pd.DataFrame) -> None:
        if self.format == "csv":
            self._text(frame.to_csv(index=False))
        elif self.format == "json":
            self._text(frame.to_json(orient="records", indent=2, date_format="iso") + "\n")
        else:
            buffer = io.BytesIO()
            frame.to_parquet(buffer, index=False)
            self._bytes(buffer.getvalue())

    def _text(self, text: str, *, append: bool = False) -> None:
        if self.path is None:
            sys.stdout.write(printable_lines(text) if sys.stdout.isatty() else text)
        else:
            self._bytes(text.encode(), append=append)

    def _bytes(self, data: bytes, *, append: bool = False) -> None:
        if self.path is None:
            raise BadInput(
                "--format parquet", "binary output cannot go to a terminal", "add --output FILE"
            )
        try:
            with self.path.open("ab" if append else "wb") as file:
                file.write(data)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise BadInput(f"--output {self.path}", reason, "name a file to write") from None


def _query(store: Store, options: argparse.Namespace, output: Output) -> None:
    rows = _rows(store, options)
    if rows is None:
        return
    answer = query(rows, options.sql, _tuning(store))
    try:
        output.frame(answer.to_pandas())
    except (ValueError, OverflowError, TypeError) as error:
        # Two columns of one name, a date that Python lacks, a type that JSON lacks.
        remedy = "rename or cast that column in the query, or choose another --format"
        raise BadInput(f"--format {output.format}", reason_of(error), remedy) from error


def query(
    rows: pa.Table, sql: str, tuning: Mapping[str, Sequence[int]] = MappingProxyType({})
) -> pa.Table:
    """The result of a SELECT over the table `rows` and the views derived from it.

    For the views `winners`, `trials` and `references` see `unlearn_ray.reporting.views`. Nothing
    else can be read or written: no other statement runs, and no file is reachable.

    Args:
        rows: the rows of a store.
        sql: the SELECT.
        tuning: tuning seeds by study key, where the store's manifests list them.

    Raises:
        BadInput: not one SELECT, or DuckDB refuses it.
    """
    import duckdb

    if not sql.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in sql):
        raise BadInput(f"query {sql!r}", "not UTF-8 text", "write it in UTF-8")
    from unlearn_ray.reporting.views import VIEWS

    given, sql = sql, _quoted(sql)
    connection = duckdb.connect(":memory:")
    try:
        connection.register("rows", rows)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        statements = connection.extract_statements(sql)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise BadInput(f"query {given!r}", "not one SELECT", 'write "SELECT ... FROM winners"')
        asked = {name.lower() for name in connection.get_table_names(sql)}
        views = asked.intersection(VIEWS)
        if views:
            frame = rows.to_pandas()
            for name in views:
                connection.register(name, VIEWS[name](frame, tuning))
        return connection.sql(sql).to_arrow_table()
    except duckdb.Error as error:
        reason = " ".join(str(error).split("\nLINE ")[0].split())
        remedy = 'list the columns with query "DESCRIBE winners" (or trials, references, rows)'
        raise BadInput(f"query {given!r}", reason, remedy) from None
    finally:
        connection.close()


def _quoted(sql: str) -> str:
    """`sql` with the view `references`, a reserved word of SQL, in quotes."""
    import duckdb

    data = sql.encode(errors="replace")
    for start, kind in reversed(duckdb.tokenize(sql)):
        end = start + len(_REFERENCES)
        if kind == duckdb.token_type.keyword and data[start:end].lower() == _REFERENCES:
            data = data[:start] + b'"references"' + data[end:]
    return data.decode()


def _best(store: Store, options: argparse.Namespace, output: Output) -> None:
    from unlearn_ray.reporting.ranking import best_trials

    rows = _rows(store, options)
    if rows is None:
        return
    best = best_trials(rows.to_pandas(), _tuning(store))
    if len(best):
        output.frame(best)
    else:
        _say("no complete trial on the tuning seeds yet")


def _compare(store: Store, options: argparse.Namespace, output: Output) -> None:
    from unlearn_ray.monitor.manifest import orders

    rows = _rows(store, options)
    if rows is not None:
        output.comparisons(rows.to_pandas(), orders(store), _tuning(store))


def _power(store: Store, options: argparse.Namespace, output: Output) -> None:
    from unlearn_ray.reporting.power import Asked, power

    rows = _rows(store, options)
    if rows is None:
        return
    found = power(rows.to_pandas(), Asked(options.half_width, options.unit), _tuning(store))
    if len(found):
        output.frame(found)
    else:
        _say("no retrained model was measured on the reporting seeds yet")


def _tuning(store: Store) -> dict[str, tuple[int, ...]]:
    from unlearn_ray.monitor.manifest import tuning_seeds

    return tuning_seeds(store)


def _rows(store: Store, options: argparse.Namespace) -> pa.Table | None:
    """The rows, of one sweep if the options name one; prints a hint if there are none."""
    import pyarrow.compute as pc

    from unlearn_ray.studies.stored_rows import read_rows

    rows = read_rows(store)
    if rows.num_rows == 0:
        _say(f"{options.store} holds no rows yet; run python -m unlearn_ray.sweep FILE first")
        return None
    sweep = getattr(options, "sweep", None)
    if sweep is None:
        return rows
    known = rows["sweep"].unique().to_pylist()
    if sweep not in known:
        raise BadInput(f"--sweep {sweep}", "no rows of this sweep", did_you_mean(sweep, known))
    return rows.filter(pc.equal(rows["sweep"], sweep))


def _diff(store: Store, options: argparse.Namespace, output: Output) -> None:
    import pandas as pd

    records = store.kinds()
    first, second = (_record(store, records, key) for key in (options.first, options.second))
    lines = list(differences(first, second))
    if lines:
        output.frame(pd.DataFrame(lines, columns=["field", first.key, second.key]))
    else:
        _say(f"{first.key} and {second.key} have the same config")


def _record(store: Store, records: Mapping[str, str], prefix: str) -> Record:
    matching = [key for key in records if key.startswith(prefix)]
    if len(matching) != 1:
        reason = "several keys start with it" if matching else "no key starts with it"
        found = listed(f"{records[key]} {key}" for key in sorted(matching))
        remedy = f"give more digits: {found}" if matching else "find keys with `query`"
        raise BadInput(f"key {prefix}", reason, remedy)
    record = store.record(records[matching[0]], matching[0])
    if record is None:
        raise BadInput(f"key {prefix}", "its record was just removed", "run the command again")
    return record


def differences(first: Record, second: Record) -> Iterator[tuple[str, str | None, str | None]]:
    """The fields that differ between two records' configs, dotted, with both values as JSON."""
    left, right = (dict(_flat({"kind": r.kind, **r.config}, "")) for r in (first, second))
    for name in [*left, *(name for name in right if name not in left)]:
        if left.get(name) != right.get(name):
            yield name, left.get(name), right.get(name)


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value):
            name = item.get("name", number) if isinstance(item, Mapping) else number
            yield from _flat(item, f"{path}[{name}]")
    else:
        yield path, json.dumps(value)


def _memorisation(store: Store, options: argparse.Namespace, output: Output) -> None:
    from unlearn_ray.config.sweep_file import load_sweep
    from unlearn_ray.studies.memorisation import estimates

    if output.path is not None and "format" not in options:
        ending = output.path.suffix.removeprefix(".")
        if ending not in FILES:
            reason = "its name does not say whether to write CSV or Parquet"
            raise BadInput(f"--output {output.path}", reason, "name it .csv or .parquet")
        output = replace(output, format=ending)
    sweep = load_sweep(options.file, options.set, options.store)
    output.frame(estimates(sweep, store))


def _compact(store: Store, options: argparse.Namespace, output: Output) -> None:
    count = store.compact()
    if count is None:
        _say("another process is merging rows")
        return
    _say(f"{counted(count, 'row file')} merged" if count else "nothing to merge")


def _clean(store: Store, options: argparse.Namespace, output: Output) -> None:
    found = store.clean(timedelta(hours=options.hours), remove=not options.dry_run)
    counts = [
        (len(found.artifacts), "file", "of artifacts that no record names"),
        (len(found.checkpoints), "checkpoint", "of complete steps"),
        (len(found.probes), "probe", "of the store"),
    ]
    listed = ", ".join(
        f"{count} {what}{'' if count == 1 else 's'} {of}" for count, what, of in counts if count
    )
    if listed:
        would = "would remove" if options.dry_run else "removed"
        _say(f"{would} {listed}: {found.size / 1e6:,.1f} MB ({found.size:,} bytes)")
    else:
        _say(f"no leftovers older than {options.hours:g} h")
    if found.held:
        _say(f"{found.held} unfinished steps are held by running processes; their files stay")


def _hours(text: str) -> float:
    hours = float(text)
    if not 1 <= hours <= 24 * 36500:
        raise argparse.ArgumentTypeError(f"{text} is not an age in hours; write 24, or at least 1")
    return hours


def _width(text: str) -> float:
    width = float(text)
    if not 0 < width < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a half-width; write 1, or another number")
    return width


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--format", choices=FORMATS, default=argparse.SUPPRESS, help="default: table"
    )
    shared.add_argument(
        "--output", type=Path, metavar="FILE", default=argparse.SUPPRESS,
        help="write to a file instead of the terminal",
    )  # fmt: skip
    parser = argparse.ArgumentParser(
        prog="python -m unlearn_ray.results",
        description="Read the rows and records of a store.",
        epilog=f"{EXAMPLES}\n\n{EXIT_STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
    )
    parser.add_argument("store", metavar="STORE")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[..., None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, parents=[shared])
        added.set_defaults(run=run)
        return added

    text = "SQL (DuckDB) over winners, trials, references and rows; read-only"
    command("query", _query, text).add_argument("sql", metavar="SQL")
    best = command("best", _best, "the best complete trial of each study, on the tuning seeds")
    compare = command("compare", _compare, "the paper's table, over the reporting seeds")
    for added in (best, compare):
        added.add_argument("--sweep", metavar="NAME", help="only this sweep")
    power = command("power", _power, "how far metrics can be trusted, and what more models give")
    power.epilog = POWER
    power.formatter_class = argparse.RawDescriptionHelpFormatter
    power.add_argument("sweep", metavar="SWEEP", help="the sweep's name")
    power.add_argument(
        "--half-width", type=_width, default=1.0, metavar="WIDTH",
        help="of the 95 %% intervals that are wanted (default: 1)",
    )  # fmt: skip
    power.add_argument(
        "--unit", choices=("points", "floors"), default="points",
        help="of WIDTH: percentage points, or each metric's noise floors (default: points)",
    )  # fmt: skip
    diff = command("diff", _diff, "the fields in which two steps differ")
    diff.add_argument("first", metavar="KEY", help="a key, or a prefix of one")
    diff.add_argument("second", metavar="KEY")
    memorised = command(
        "memorisation", _memorisation, "memorisation of the audited samples of a sweep's bank"
    )
    memorised.add_argument("file", type=Path, metavar="FILE", help="the sweep, in YAML")
    memorised.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="override a field, as when the sweep was run",
    )  # fmt: skip
    command("compact", _compact, "merge small row files into one")
    clean = command(
        "clean", _clean, "remove what killed processes left behind; safe while sweeps run"
    )
    clean.add_argument("--dry-run", action="store_true", help="only show how much it is")
    clean.add_argument(
        "--hours", type=_hours, default=24.0, metavar="HOURS",
        help="keep what is younger (default: 24)",
    )  # fmt: skip
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(partial(_main, arguments), interrupted="")


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    output = Output(getattr(options, "format", "table"), getattr(options, "output", None))
    from unlearn_ray.storage.store import open_store

    store = open_store(options.store)
    store.check_readable()
    options.run(store, options, output)
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main())
