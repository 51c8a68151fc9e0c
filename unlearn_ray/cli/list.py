"""`unlearn-ray list`: every field of a sweep file, and every part that it can name."""

from __future__ import annotations

import argparse

from unlearn_ray.cli.plugin_option import load_plugins, plugin_argument
from unlearn_ray.core.errors import Exit

SUMMARY = "list every field of a sweep file, and every dataset, model, family, method, metric ..."


def arguments(parser: argparse.ArgumentParser) -> None:
    """--plugin."""
    plugin_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Print the list."""
    load_plugins(options)
    from unlearn_ray.config.describe import describe_parts

    print(describe_parts())
    return Exit.DONE
