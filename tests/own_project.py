"""A project of a person's own: a method, metric, dataset and model, and sweeps that use them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from unlearn_ray.cli import new
from unlearn_ray.core.errors import Exit

KINDS = {
    "method": "own_method",
    "metric": "own_metric",
    "dataset": "own_images",
    "model": "own_net",
}
# It tells where its code was imported from, in the process that measures.
LOADER = '''\
"""Where code comes from."""

from typing import ClassVar

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.base import Measurement, Metric, Observed


@register("own_loader")
@schema
class OwnLoader(Metric):
    """1 if this module was imported from memory."""

    columns: ClassVar[dict[str, str]] = {"own_loader": "Loader"}

    def measure(self, model: Observed) -> Measurement:
        return Measurement({"own_loader": float(type(__loader__).__name__ == "_Finder")})
'''
SWEEP: dict[str, Any] = {
    "name": "own",
    "dataset": "own_images",
    "validation": 0.25,
    "forget_set": {"classes": {"classes": ["third"]}},
    "model": {"own_net": {"width": 4}},
    "family": "supervised",
    "training": {"epochs": 2, "batch_size": 64, "learning_rate": 0.05},
    "metrics": ["retain_accuracy", "own_metric", "own_loader"],
    "methods": {
        "own_method": {
            "epochs": 1,
            "batch_size": 64,
            "learning_rate": {"log_uniform": [0.001, 0.1]},
        }
    },
    "search": {"trials": 2, "startup": 1, "window": 2},
    "seeds": {"tuning": [0], "reporting": [1]},
}


def write_part(kind: str, name: str, folder: Path) -> Path:
    """The file of a part as `unlearn-ray new` writes it."""
    options = argparse.Namespace(kind=kind, name=name, folder=folder)
    assert new.run(options) == Exit.DONE
    return folder / f"{name}.py"


def write_parts(folder: Path) -> dict[str, Path]:
    """Files with the parts of `SWEEP`, by name; the method's has a helper beside it."""
    files = {name: write_part(kind, name, folder) for kind, name in KINDS.items()}
    text = files["own_method"].read_text()
    text = text.replace("\nimport torch\n", "\nimport own_helper\nimport torch\n")
    changed = text.replace("return (signs", "return own_helper.ONE * (signs")
    assert changed != text
    files["own_method"].write_text(changed)
    (folder / "own_helper.py").write_text("ONE = 1.0\n")
    files["own_loader"] = folder / "own_loader.py"
    files["own_loader"].write_text(LOADER)
    return files


def write_sweep(folder: Path, *plugins: str) -> Path:
    """A sweep file of `SWEEP` with these plug-ins."""
    file = folder / "own.yaml"
    file.write_text(yaml.safe_dump({"plugins": [*plugins], **SWEEP}))
    return file


def distribution(folder: Path, name: str, *modules: str) -> None:
    """What an installed distribution tells of its entry points."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = "".join(f"{module} = {module}\n" for module in modules)
    (info / "entry_points.txt").write_text(f"[unlearn_ray.parts]\n{points}")
