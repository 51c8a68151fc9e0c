"""A new method is one new file: nothing else is edited for it to be found, named and tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# The README's example of a method is the one that is added.
METHOD = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]

SWEEP = """\
name: new
dataset: digits
forget_set: {random: {fraction: 0.1}}
model: resnet8
family: simclr
methods:
  weighted_neggrad: {retain_weight: {uniform: [0.1, 0.9]}}
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
print("study of", study.name, "from", study.space["retain_weight"].low)
selection = ["-k", "weighted_neggrad", "-v", "-p", "no:cacheprovider"]
sys.exit(pytest.main(["tests/conformance/test_parts.py", *selection]))
"""


def test_a_method_in_one_file(tmp_path: Path) -> None:
    room, sweep = tmp_path / "room", tmp_path / "sweep.yaml"
    room.mkdir()
    (room / "weighted_neggrad.py").write_text(METHOD)
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
    assert "weighted_neggrad" in listed
    assert rest.startswith("weighted_neggrad from 0.1\n")
    for test in (
        "test_name_is_snake_case[method-weighted_neggrad]",
        "test_docstring_opens_with_a_sentence[method-weighted_neggrad]",
        "test_fields_are_documented[method-weighted_neggrad]",
        "test_defaults_are_valid_and_unknown_fields_are_not[method-weighted_neggrad]",
        "test_method_on_family[simclr-weighted_neggrad]",
        "test_method_on_family[moco-weighted_neggrad]",
    ):
        assert f"{test} PASSED" in rest
