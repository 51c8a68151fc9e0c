"""Import torchvision, and check that it fits the installed torch.

Its wheels are built for one release of torch, named in their metadata, and for one build of that
(a version of CUDA, or none).

- With another release nothing is certain to work: an error gives the remedy.
- With another build of the same release, such as PyPI's torchvision and a CPU build of torch, its
  compiled operators (boxes, regions, codecs) cannot be loaded, and its initialisation fails when
  it registers them. Nothing here uses them; models, datasets and transforms are Python, the same
  in every build. So its modules are imported without that initialisation, with a warning.
  Calling one of the operators raises torchvision's own error.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from importlib.metadata import PackageNotFoundError, requires, version

import torch
from packaging.requirements import Requirement

from unlearn_ray.core.boundary import reason_of
from unlearn_ray.core.errors import MachineError

# The modules that its own initialisation imports, except the operators.
_MODULES = ("extension", "models", "datasets", "ops", "transforms", "io", "utils")
_REMEDY = (
    "install both from one index, such as pip install torch torchvision --index-url "
    "https://download.pytorch.org/whl/cpu"
)
_log = logging.getLogger(__name__)


def check_release(torch_version: str, torchvision_version: str, needs: list[str]) -> None:
    """Make sure that torchvision was made for this release of torch.

    Args:
        torch_version: as installed, with its build.
        torchvision_version: likewise.
        needs: what torchvision's metadata require.

    Raises:
        MachineError: it was made for another.
    """
    for need in map(Requirement, needs):
        if need.name == "torch" and not need.specifier.contains(torch_version, prereleases=True):
            reason = f"made for torch {need.specifier}, and this is torch {torch_version}"
            raise MachineError(f"torchvision {torchvision_version}", reason, _REMEDY)


def _import() -> None:
    installed = version("torchvision")
    check_release(torch.__version__, installed, requires("torchvision") or [])
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            # Another major version of CUDA, for one.
            raise MachineError(f"torchvision {installed}", reason_of(error), _REMEDY) from error
        _import_without_operators(installed)


def _import_without_operators(installed: str) -> None:
    _log.warning(
        "torchvision %s and torch %s are different builds: torchvision's compiled operators, "
        "which nothing here uses, are not available; to have them, %s",
        installed, torch.__version__, _REMEDY,
    )  # fmt: skip
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None, "its start-up has just failed"
    package = importlib.util.module_from_spec(spec)
    package.__version__ = installed  # type: ignore[attr-defined]
    # Datasets of image files ask for it.
    package.get_image_backend = lambda: "PIL"  # type: ignore[attr-defined]
    sys.modules["torchvision"] = package
    for name in _MODULES:
        importlib.import_module(f"torchvision.{name}")


try:
    _import()
except PackageNotFoundError as error:
    raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision") from error
