"""`python -m tests.shadow.run GROUP FILE`: run a group of cases, and write what they found."""

# isort: off
from tests.shadow.device import Device

# isort: on
import argparse
import importlib
import json
import math
import traceback
from pathlib import Path
from typing import Any

from tests.shadow import views
from unlearn_ray.data import view_kernel
from unlearn_ray.train import loop

GROUPS = ("device", "families", "methods", "measures", "graphs")


def main() -> None:
    """Each case's findings, or its traceback, as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    # Telling how far a run is reads its loss, about once a second: no iteration's own cost.
    loop.PROGRESS_SECONDS = math.inf
    found: dict[str, Any] = {}
    view_kernel.render = views.render
    with Device():
        for name, case in importlib.import_module(f"tests.shadow.cases.{options.group}").cases():
            try:
                found[name] = case()
            except Exception:
                found[name] = {"error": traceback.format_exc()}
    options.file.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
