"""`unlearn-ray results STORE query`: SQL over the rows and views of a store."""

from __future__ import annotations

import argparse

from unlearn_ray.cli.output import Output
from unlearn_ray.cli.stores import readable, say_empty
from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.errors import BadInput, CorruptObject, Exit

SUMMARY = "SQL (DuckDB) over winners, trials, references and rows; read-only"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The SELECT."""
    parser.add_argument("sql", metavar="SQL")


def run(options: argparse.Namespace) -> int:
    """Print the answer."""
    from unlearn_ray.monitor.manifest import manifests, tuning_seeds
    from unlearn_ray.reporting.query import query
    from unlearn_ray.studies.stored_rows import LazyRows, read_rows

    output, store = Output.of(options), readable(options.store)
    rows = LazyRows(store)
    if rows.num_rows == 0:
        say_empty(store)
        return Exit.DONE
    tuning = tuning_seeds(manifests(store))
    try:
        answer = query(rows, options.sql, tuning)
    except CorruptObject:
        # Of the rows that can be read.
        answer = query(read_rows(store), options.sql, tuning)
    try:
        output.frame(answer.to_pandas())
    except (ValueError, OverflowError, TypeError) as error:
        # Two columns of one name, a date that Python lacks, a type that JSON lacks.
        remedy = "rename or cast that column in the query, or choose another --format"
        raise BadInput(f"--format {output.format}", reason_of(error), remedy) from error
    return Exit.DONE
