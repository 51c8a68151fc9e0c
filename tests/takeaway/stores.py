"""A finished sweep of classifiers that takes seconds, and how scripts of exports are run here."""

from __future__ import annotations

from pathlib import Path

from tests.tiny import finish, runtime, tiny_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.studies.plan import make_plan

# torchvision's wheel may not match that of torch, as on some machines without a GPU.
MENDED = """\
import runpy, sys
import unlearn_ray.core.torchvision_import
assert not any(name.startswith("unlearn_ray.takeaway") for name in sys.modules)
runpy.run_path(sys.argv[1], run_name="__main__")
"""

CLASSIFIERS = """\
name: sevens
dataset: {digits: {image_size: 8}}
validation: 0.5
forget_set: {classes: {classes: ["7"]}}
model: {resnet8: {width: 4}}
family: {supervised: {augmentation: {mean: [0.4, 0.5, 0.6], std: [0.2, 0.3, 0.4]}}}
training: {epochs: 2, batch_size: 64, learning_rate: 0.05}
metrics: [retain_accuracy, test_accuracy, forget_accuracy]
methods:
  finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}
  away: {gradient_ascent: {epochs: 1, batch_size: 64, learning_rate: 0.02}}
seeds:
  tuning: [0]
  reporting: [1, 2]
"""


def finished(folder: Path, text: str = CLASSIFIERS) -> Sweep:
    """The sweep of `text`, whose store is in `folder`."""
    sweep, here = tiny_sweep(folder, text), runtime(folder / "store")
    announce(make_plan(sweep, here.store), here.store)
    finish(sweep, here)
    return sweep
