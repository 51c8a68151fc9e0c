"""Machine unlearning, from Python.

    import unlearn_ray as ur

    sweep = ur.Sweep.load("sweep.yaml")       # or "quickstart", or a dict
    run = sweep.run(store="./store")          # what the store holds is not run again
    run.table(), run.frame(), run.model("scrub", seed=3)

    ur.load_model("./store", "3fa9")          # any model of a store, by its key

    unlearned, report = ur.unlearn(model, ur.methods.Scrub(), retain=kept, forget=removed)

Names are imported when they are first used, so that importing the package takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearn_ray import methods as methods
    from unlearn_ray.face.own_model import Report as Report
    from unlearn_ray.face.own_model import unlearn as unlearn
    from unlearn_ray.face.sweeps import Run as Run
    from unlearn_ray.face.sweeps import Sweep as Sweep
    from unlearn_ray.takeaway.exported_model import load_exported as load_exported
    from unlearn_ray.takeaway.stored_model import load_model as load_model

_HOMES = {
    "Sweep": "unlearn_ray.face.sweeps",
    "Run": "unlearn_ray.face.sweeps",
    "unlearn": "unlearn_ray.face.own_model",
    "Report": "unlearn_ray.face.own_model",
    "load_model": "unlearn_ray.takeaway.stored_model",
    "load_exported": "unlearn_ray.takeaway.exported_model",
}


def __getattr__(name: str) -> Any:
    if name == "methods":
        return importlib.import_module("unlearn_ray.methods")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "methods"})
