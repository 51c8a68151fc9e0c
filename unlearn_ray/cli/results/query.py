"""`unlearn-ray results STORE query`: SQL over the rows and views of a store."""

from __future__ import annotations

import argparse

from unlearn_ray.cli.output import Output
from unlearn_ray.cli.stores import readable, rows_of
from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.errors import BadInput, Exit

SUMMARY = "SQL (DuckDB) over winners, trials, references and rows; read-only"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The SELECT."""
    parser.add_argument("sql", metavar="SQL")


def run(options: argparse.Namespace) -> int:
    """Print the answer."""
    from unlearn_ray.monitor.manifest import manifests, tuning_seeds
    from unlearn_ray.reporting.query import query

    output, store = Output.of(options), readable(options.store)
    rows = rows_of(store, options)
    if rows is None:
        return Exit.DONE
    answer = query(rows, options.sql, tuning_seeds(manifests(store)))
    try:
        output.frame(answer.to_pandas())
    except (ValueError, OverflowError, TypeError) as error:
        # Two columns of one name, a date that Python lacks, a type that JSON lacks.
        remedy = "rename or cast that column in the query, or choose another --format"
        raise BadInput(f"--format {output.format}", reason_of(error), remedy) from error
    return Exit.DONE
