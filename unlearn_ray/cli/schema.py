"""`unlearn-ray schema`: a JSON Schema of sweep files, for editors."""

from __future__ import annotations

import argparse

from unlearn_ray.core.errors import Exit

SUMMARY = "print a JSON Schema of sweep files, with which editors complete and check them"

_EPILOG = """\
examples:
  %(prog)s > sweep.schema.json

With this as the first line of a sweep file, editors that use yaml-language-server (VS Code's YAML
extension, Neovim, Emacs and others) complete fields and parts, describe them, and mark errors:

  # yaml-language-server: $schema=./sweep.schema.json
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def run(options: argparse.Namespace) -> int:
    """Print it."""
    import json

    from unlearn_ray.reporting.json_schema import json_schema

    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))
    return Exit.DONE
