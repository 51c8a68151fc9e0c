"""The option --plugin, and loading what it names."""

from __future__ import annotations

import argparse


def plugin_argument(parser: argparse.ArgumentParser, dest: str = "plugin") -> None:
    """--plugin; a subcommand that repeats its parent's gives it another `dest`."""
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        dest=dest,
        metavar="MODULE_OR_FILE",
        help="load parts of your own from a module (my_package.methods) or file (./my_method.py) "
        "first; may be repeated",
    )


def load_plugins(options: argparse.Namespace) -> None:
    """Load what the options name, for all that this process does.

    Raises:
        ConfigError: one cannot be loaded.
    """
    from unlearn_ray.core.plugins import give

    give([*getattr(options, "plugin", ()), *getattr(options, "more_plugins", ())])
