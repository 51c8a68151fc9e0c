"""A part in a person's own file is tested from a test file of theirs, outside of this project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.s3_server import ROOT

MODEL = '''\
"""A linear backbone."""

from torch import Tensor, nn

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import PositiveInt, schema
from unlearn_ray.models.base import Model


class Backbone(nn.Module):
    def __init__(self, pixels: int, width: int) -> None:
        super().__init__()
        self.feature_size = width
        self.linear = nn.Linear(pixels, width)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


@register("linear")
@schema
class Linear(Model):
    """One layer.

    Attributes:
        width: of the features.
    """

    width: PositiveInt = 8

    def build(self, image_size: int) -> nn.Module:
        """The layer."""
        return Backbone(3 * image_size**2, self.width)
'''
TEST = """\
from mine import Linear
from unlearn_ray.testing import conformance_of

test_linear = conformance_of(Linear)
"""


def outcome(folder: Path, model: str) -> str:
    (folder / "mine.py").write_text(model)
    (folder / "test_mine.py").write_text(TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfp", "-p", "no:cacheprovider", "test_mine.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def named(state: str, said: str) -> set[str]:
    return set(re.findall(rf"^{state} test_mine.py::test_linear\[(\w+)-model-linear\]", said, re.M))


def test_a_sound_part_passes(tmp_path: Path) -> None:
    said = outcome(tmp_path, MODEL)
    assert named("PASSED", said) >= {"gives_features", "can_be_trained", "fields_are_documented"}
    assert not named("FAILED", said), said


def test_what_is_wrong_is_named_with_its_values(tmp_path: Path) -> None:
    wrong = MODEL.replace("        width: of the features.\n", "        size: of the features.\n")
    wrong = wrong.replace("self.feature_size = width", "self.feature_size = width + 1")
    said = outcome(tmp_path, wrong)
    assert named("FAILED", said) == {"gives_features", "fields_are_documented"}
    assert "torch.Size([2, 8]) == (2, 9)" in said
    assert "document these fields in the docstring: {'width'}" in said
