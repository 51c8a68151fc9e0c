"""A person's own parts: files beside each other, imported anew after each edit."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from unlearn_ray.core import registry
from unlearn_ray.core.modules import locate
from unlearn_ray.methods.base import Method

METHOD = '''\
"""A method of one's own."""

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.methods.base import Method
IMPORTS

@register("mine")
@schema
class Mine(Method):
    """It forgets by half."""

    rate: float = 0.5  # half

    def loss(self, model, batch, task):
        """Its loss."""
        return 2 * model(batch)
'''


class Project:
    """A folder that Python imports from.

    Args:
        folder: holds the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def load(self, module: str, name: str = "Mine") -> Any:
        """A class of the module, whose files and those beside it are read anew."""
        self.forget()
        return getattr(importlib.import_module(module), name)

    def forget(self) -> None:
        """Drop what was imported from the folder."""
        for name in list(sys.modules):
            place = locate(name)
            # Only a package without a file lies in its folders alone.
            lies = () if place is None else (place.file,) if place.file else place.folders
            if any(Path(path).is_relative_to(self.folder) for path in lies):
                del sys.modules[name]
        importlib.invalidate_caches()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty project; what it registers is forgotten after the test."""
    folder = tmp_path / "project"
    folder.mkdir()
    # What a test imports of this package must not register in a registry that is forgotten.
    registry.parts(Method)
    monkeypatch.setattr(registry, "_REGISTERED", {})
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(folder))
    made = Project(folder)
    yield made
    made.forget()
