"""`unlearn-ray results STORE power`: how far metrics can be trusted, and what more models give."""

from __future__ import annotations

import argparse
import math

from unlearn_ray.cli.output import Output, say
from unlearn_ray.cli.stores import readable, rows_of
from unlearn_ray.core.errors import Exit

SUMMARY = "how far metrics can be trusted, and what more models give"

_EPILOG = """\
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


def arguments(parser: argparse.ArgumentParser) -> None:
    """The sweep, and how narrow an interval shall be."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sweep", metavar="SWEEP", help="the sweep's name")
    parser.add_argument(
        "--half-width", type=_width, default=1.0, metavar="WIDTH",
        help="of the 95 %% intervals that are wanted (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--unit", choices=("points", "floors"), default="points",
        help="of WIDTH: percentage points, or each metric's noise floors (default: points)",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Print a line for each metric and model."""
    from unlearn_ray.monitor.manifest import manifests, tuning_seeds
    from unlearn_ray.reporting.power import Asked, power

    store = readable(options.store)
    rows = rows_of(store, options.sweep)
    if rows is None:
        return Exit.DONE
    asked = Asked(options.half_width, options.unit)
    found = power(rows.to_pandas(), asked, tuning_seeds(manifests(store)))
    if len(found):
        Output.of(options).frame(found)
    else:
        say("no retrained model was measured on the reporting seeds yet")
    return Exit.DONE


def _width(text: str) -> float:
    width = float(text)
    if not 0 < width < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a half-width; write 1, or another number")
    return width
