"""`unlearn-ray results STORE`: what a store holds, a subcommand for each module of this folder."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from unlearn_ray.cli.commands import add_commands, add_version, commands
from unlearn_ray.cli.output import FORMATS
from unlearn_ray.cli.plugin_option import load_plugins, plugin_argument
from unlearn_ray.core.columns import COLUMNS
from unlearn_ray.core.errors import EXIT_STATUSES

SUMMARY = "read what a store holds: compare, best, power, query, diff ..."

EXAMPLES = """\
STORE is a folder, s3://bucket/prefix[?endpoint=URL&region=NAME] or az://container/prefix.

examples:
  the paper's table, for every sweep in the store, or for one
    %(prog)s ./store compare
    %(prog)s ./store compare --sweep quickstart --format csv
    %(prog)s ./store compare --sweep quickstart --format latex --output table.tex
  what differs between two sweeps, with intervals
    %(prog)s ./store compare --sweep before --sweep after
  one page that shows a sweep, for any browser
    %(prog)s ./store report quickstart --output report.html
  the best trial of each study on the tuning seeds, with its hyperparameters
    %(prog)s ./store best
  how much of each metric comes from splits and from training seeds, the smallest excess gap that
  the present replicates can find, and how many models intervals of ± 1 point would take
    %(prog)s ./store power quickstart
    %(prog)s ./store power quickstart --half-width 0.5 --unit floors
  SQL (DuckDB)
    %(prog)s ./store query "DESCRIBE winners"
    %(prog)s ./store query \\
      "SELECT sweep, study, average_gap_of_means FROM winners ORDER BY ALL"
    %(prog)s ./store query \\
      "SELECT study, count(*), min(mean_average_gap) FROM trials
       WHERE state = 'complete' GROUP BY study"
    %(prog)s ./store query "SELECT * FROM rows" \\
      --format parquet --output rows.parquet
  which fields make two steps differ (keys may be shortened)
    %(prog)s ./store diff 3fa9 81c0
  a study's best trial, or one step; and a step run again, compared with what is stored
    %(prog)s ./store show quickstart/scrub
    %(prog)s ./store show 3fa9
    %(prog)s ./store rerun 3fa9
  a model as a folder: weights, config, card and a script that loads it (docs/take_away.md)
    %(prog)s ./store export quickstart --method scrub --to torchvision --output scrub
  how much the models of a sweep's bank memorise each audited sample, for forget_set memorised
    %(prog)s ./store memorisation bank.yaml --output estimates.csv
  the searches for Optuna's own tools (docs/optuna.md)
    %(prog)s ./store optuna --output studies.log
  merge many small row files into one
    %(prog)s ./store compact
  which sweeps there are, what fills the store, and what of it may go (docs/keeping.md)
    %(prog)s ./store list
    %(prog)s ./store du
    %(prog)s ./store gc --keep best --older-than 30d --dry-run
  a sweep that nobody needs any more; and another store, copied into this one
    %(prog)s ./store rm pilot
    %(prog)s ./store merge s3://bucket/other
  what killed processes left behind: show how much, then remove it
    %(prog)s ./store clean --dry-run
    %(prog)s ./store clean

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
EXAMPLES += "\n".join(
    textwrap.fill(f"  {one.name:<27} {one.meaning}", width=100, subsequent_indent=30 * " ").replace(
        "%", "%%"
    )
    for one in COLUMNS
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """STORE, the format of what is printed, and a subcommand."""
    parser.description = "Read the rows and records of a store."
    parser.epilog = f"{EXAMPLES}\n\n{EXIT_STATUSES}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    _common(parser)
    plugin_argument(parser)
    parser.add_argument("store", metavar="STORE")
    add_commands(parser, commands(__name__), dest="results", common=_common_of_commands)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand; returns the exit status."""
    load_plugins(options)
    return commands(__name__)[options.results].run(options)


def _common_of_commands(parser: argparse.ArgumentParser) -> None:
    _common(parser)
    plugin_argument(parser, dest="more_plugins")


def _common(parser: argparse.ArgumentParser) -> None:
    """What may stand before and after the subcommand's name."""
    add_version(parser)
    parser.add_argument(
        "--format", choices=FORMATS, default=argparse.SUPPRESS, help="default: table"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", default=argparse.SUPPRESS,
        help="write to a file instead of the terminal",
    )  # fmt: skip
