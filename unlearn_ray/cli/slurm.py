"""`unlearn-ray slurm FILE`: write the script of a SLURM job that runs a sweep."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_ray.cli.slurm_script import SECONDS_TO_SAVE, SlurmJob
from unlearn_ray.cli.sweep_files import sweep_arguments
from unlearn_ray.core.errors import BadInput, Exit, shown

if TYPE_CHECKING:
    from unlearn_ray.config.sweep_schema import Sweep

SUMMARY = "write the script of a SLURM job that runs a sweep, and goes on after its time limit"

_EPILOG = """\
examples:
  whole nodes, four with eight GPUs each
    %(prog)s sweep.yaml --partition gpu --time 24:00:00 --nodes 4 --gpus 8 --output job.sbatch
    sbatch job.sbatch
  parts of nodes that other jobs share
    %(prog)s sweep.yaml --partition gpu --time 8:00:00 --cpus 8 --gpus 1 --memory 32G
  as many one-node jobs as the queue lets run, on one store: they share every study's search, and
  each may come, go and come again
    %(prog)s sweep.yaml --partition gpu --time 4:00:00 --jobs 16 --cpus 8 --gpus 1

The store must be one that all nodes reach: a folder on a shared file system, or s3://. All jobs of
an array together run search.window trials of a study at a time: set it to what they hold.
"""
_TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")
_WORD = re.compile(r"[A-Za-z0-9][\w.,:@+-]*")
_MEMORY = re.compile(r"\d+[KMGT]?")


def arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, what overrides its fields, and what SLURM is asked for."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    sweep_arguments(parser, address=False)
    parser.add_argument("--partition", metavar="NAME", help="default: the cluster's")
    parser.add_argument("--time", metavar="LIMIT", help="as sbatch takes it, such as 24:00:00")
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="of one job; default: 1")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="an array of N jobs that share the sweep"
    )
    parser.add_argument("--cpus", type=int, metavar="N", help="of each node; default: whole nodes")
    parser.add_argument("--gpus", metavar="N", help="of each node: 4, or with a type: a100:4")
    parser.add_argument("--memory", metavar="SIZE", help="of each node, such as 64G")
    parser.add_argument(
        "--environment", type=Path, default=Path(sys.prefix), metavar="DIR",
        help="the Python environment with unlearn_ray, on a file system that all nodes share; "
        "default: this command's",
    )  # fmt: skip
    parser.add_argument(
        "--before", action="append", default=[], metavar="LINE",
        help="a line of shell that runs first, such as 'module load cuda'; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--sbatch", action="append", default=[], metavar="OPTION",
        help="a further option, such as --sbatch=--account=NAME; may be repeated",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: the terminal")


def run(options: argparse.Namespace) -> int:
    """Check the sweep and write the script."""
    from unlearn_ray.cli.plugin_option import load_plugins
    from unlearn_ray.config.sweep_file import load_sweep

    load_plugins(options)
    sweep = load_sweep(options.file, options.set, options.store)
    _check(options, sweep)
    script = SlurmJob(
        name=sweep.name,
        command=_command(options),
        environment=str(options.environment),
        partition=options.partition,
        time=options.time,
        nodes=options.nodes,
        jobs=options.jobs,
        cpus=options.cpus,
        gpus=options.gpus,
        memory=options.memory,
        before=options.before,
        further=options.sbatch,
    ).script()
    if options.output is None:
        print(script, end="")
    else:
        options.output.write_text(script)
    return Exit.DONE


def _command(options: argparse.Namespace) -> list[str]:
    command = ["python", "-m", "unlearn_ray", "run", str(options.file)]
    for change in options.set:
        command += ["--set", change]
    for plugin in options.plugin or ():
        command += ["--plugin", plugin]
    return [*command, "--store", options.store] if options.store else command


def _check(options: argparse.Namespace, sweep: Sweep) -> None:
    words = {"--partition": (options.partition, _WORD), "--time": (options.time, _TIME)}
    words |= {"--gpus": (options.gpus, _WORD), "--memory": (options.memory, _MEMORY)}
    for name, (value, pattern) in words.items():
        if value is not None and not pattern.fullmatch(value):
            raise BadInput(f"{name} {shown(value)}", "sbatch does not take it", "see --help")
    for name, number in (("nodes", options.nodes), ("jobs", options.jobs), ("cpus", options.cpus)):
        if number is not None and number < 1:
            raise BadInput(f"--{name} {number}", "less than one", "give 1 or more")
    for line in (*options.before, *options.sbatch):
        if not line.isprintable():
            raise BadInput(shown(line), "it is not one printable line", "give several options")
    asked = [each.gpus for each in (sweep.resources.training, sweep.resources.trial)]
    if any(asked) and options.gpus is None:
        raise BadInput(
            "--gpus", f"missing, while resources of {options.file} request {max(asked):g} of them",
            "give --gpus, or --set resources.training.gpu=0 and resources.trial.gpu=0",
        )  # fmt: skip
    # Ray takes some minutes to start, and SLURM's signal may come one early.
    if options.time and 0 < minutes(options.time) <= SECONDS_TO_SAVE / 60 + 5:
        reason = f"the sweep is asked to save its work {SECONDS_TO_SAVE / 60:.0f} minutes before"
        raise BadInput(f"--time {options.time}", reason, "give the job more time")


def minutes(time: str) -> float:
    """Of sbatch's forms: minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S."""
    days, _, rest = time.rpartition("-")
    numbers = [float(number) for number in rest.split(":")]
    units = (60, 1, 1 / 60) if days or len(numbers) == 3 else (1, 1 / 60)
    within = sum(number * unit for number, unit in zip(numbers, units, strict=False))
    return 1440 * float(days or 0) + within
