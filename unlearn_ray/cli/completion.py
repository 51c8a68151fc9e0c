"""`unlearn-ray completion SHELL`: a script with which a shell completes the command line."""

from __future__ import annotations

import argparse

from unlearn_ray.cli.commands import commands
from unlearn_ray.cli.main import parser
from unlearn_ray.core.errors import Exit

SUMMARY = "print a script with which a shell completes this command line"

_EPILOG = """\
examples:
  %(prog)s bash > ~/.local/share/bash-completion/completions/unlearn-ray
  %(prog)s zsh > ~/.zfunc/_unlearn-ray      (with ~/.zfunc in fpath, before compinit)
  %(prog)s tcsh >> ~/.cshrc

It needs the extra `completion`: pip install 'unlearn_ray[completion]'.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which shell."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "shell", choices=("bash", "zsh", "tcsh"), metavar="SHELL", help="bash, zsh or tcsh"
    )


def run(options: argparse.Namespace) -> int:
    """Print it."""
    import shtab

    whole = parser(commands("unlearn_ray.cli"))
    _complete_files(whole)
    print(shtab.complete(whole, shell=options.shell))
    return Exit.DONE


def _complete_files(parser: argparse.ArgumentParser) -> None:
    """Files and folders, where an argument names one."""
    import shtab

    kinds = {"FILE": shtab.FILE, "STORE": shtab.DIRECTORY, "DIR": shtab.DIRECTORY}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _complete_files(inner)
        elif action.metavar in kinds:
            action.complete = kinds[action.metavar]  # type: ignore[attr-defined]
