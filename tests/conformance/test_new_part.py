"""A new method is one new file: nothing else is edited for it to be found, named and tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

METHOD = '''\
"""Half-hearted fine-tuning: the retain criterion, scaled down."""

from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from unlearn_ray.core.batch import Batch
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import UnitInterval, schema
from unlearn_ray.methods.base import Method, Task


@register("half_hearted")
@schema
class HalfHearted(Method):
    """L = share * criterion on the retain set."""

    trains_on: ClassVar[Literal["retain", "forget", "all"]] = "retain"

    share: UnitInterval = 0.5

    def loss(self, model: nn.Module, batch: Batch, task: Task) -> Float[Tensor, ""]:
        """The family's criterion, scaled."""
        return self.share * task.family.criterion(model, batch)
'''

SWEEP = """\
name: new
dataset: digits
forget_set: {random: {fraction: 0.1}}
model: resnet8
family: simclr
methods:
  half_hearted: {share: {uniform: [0.1, 0.9]}}
"""

# In one process, as each import takes seconds. The room's path gets a folder that a test may
# write to: a file there is found as one in unlearn_ray/methods is.
USE = """\
import sys
from pathlib import Path

import pytest
import unlearn_ray.methods

unlearn_ray.methods.__path__.append(sys.argv[1])

from unlearn_ray.pipeline.sweep_file import load_sweep
from unlearn_ray.sweep import main

assert main(["--list"]) == 0
(study,) = load_sweep(Path(sys.argv[2])).studies
print("study of", study.name, "from", study.space["share"].low)
selection = ["-k", "half_hearted", "-v", "-p", "no:cacheprovider"]
sys.exit(pytest.main(["tests/conformance/test_parts.py", *selection]))
"""


def test_a_method_in_one_file(tmp_path: Path) -> None:
    room, sweep = tmp_path / "room", tmp_path / "sweep.yaml"
    room.mkdir()
    (room / "half_hearted.py").write_text(METHOD)
    sweep.write_text(SWEEP)
    assert len(METHOD.splitlines()) <= 40
    done = subprocess.run(
        [sys.executable, "-c", USE, str(room), str(sweep)],
        cwd=ROOT,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listed, _, rest = done.stdout.partition("study of ")
    assert "half_hearted" in listed
    assert rest.startswith("half_hearted from 0.1\n")
    for test in (
        "test_name_is_snake_case[method-half_hearted]",
        "test_docstring_opens_with_a_sentence[method-half_hearted]",
        "test_fields_are_documented[method-half_hearted]",
        "test_defaults_are_valid_and_unknown_fields_are_not[method-half_hearted]",
        "test_method_on_family[simclr-half_hearted]",
        "test_method_on_family[moco-half_hearted]",
    ):
        assert f"{test} PASSED" in rest
