"""A new method is one new file: nothing else is edited for it to be found, named and tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The example of docs/plugins.md is one of the two that are added.
METHOD = re.findall(r"```python\n(.*?)```", (ROOT / "docs/plugins.md").read_text(), re.DOTALL)[0]
METHOD = METHOD.replace("my_method", "weighted_neggrad")

# The other edits weights once, in models of any family.
ONE_SHOT = '''\
"""Shrinking: every weight comes nearer to 0, once.

Nobody, "Less Is Less", 2026.
"""

from typing import Any, ClassVar

import torch
from torch import nn

from unlearn_ray.core.ranges import Ranges, uniform
from unlearn_ray.core.registry import Fields, register
from unlearn_ray.core.schema import UnitInterval, schema
from unlearn_ray.methods.base import Method, Task


@register("shrinking")
@schema
class Shrinking(Method):
    """w times 1 - strength.

    Attributes:
        strength: how much of each weight goes.
    """

    tiny: ClassVar[Fields] = {}
    idle: ClassVar[Fields | None] = {"strength": 0}
    strength: UnitInterval = 0.1
    recommended: ClassVar[Ranges] = {"strength": uniform(0.01, 0.5)}

    def own_batches(self) -> tuple[Any, ...]:
        """It trains on none."""
        return ()

    def phase(self, number: int, model: nn.Module, task: Task) -> None:
        """There is none."""

    def finish(self, model: nn.Module, task: Task) -> None:
        """Multiply."""
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1 - self.strength)
'''
NEW = {"weighted_neggrad": METHOD, "shrinking": ONE_SHOT}

SWEEP = """\
name: new
dataset: digits
forget_set: {random: {fraction: 0.1}}
model: resnet8
family: simclr
methods:
  weighted_neggrad: {retain_weight: {uniform: [0.1, 0.9]}}
  shrinking: {strength: {uniform: [0.1, 0.9]}}
"""

# In one process, as each import takes seconds. The room's path gets a folder that a test may
# write to: a file there is found as one in unlearn_ray/methods is.
USE = """\
import re
import sys
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import pytest
import unlearn_ray.methods

folder, sweep, new, *files = sys.argv[1:]
unlearn_ray.methods.__path__.append(folder)

from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.sweep import main

assert main(["--list"]) == 0
for study in load_sweep(Path(sweep)).studies:
    print("study of", study.name, "from", *(field.low for field in study.space.values()))
new = set(new.split())


class Selection:
    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if is_of_new(item) or asks(item.function)]


def is_of_new(item):
    return bool(new & set(re.findall(r"\\w+", item.name)))


def asks(function):
    # For all parts or modules, in its own code or that of the tests' functions that it calls.
    names = set(named(function.__code__))
    known = [function.__globals__.get(name) for name in names]
    known += [vars(m).get(n) for m in known if isinstance(m, ModuleType) for n in names]
    return bool(names & {"parts", "walk_packages"}) or any(
        asks(each) for each in known
        if isinstance(each, FunctionType) and each.__module__.startswith("tests.")
        and each is not function
    )


def named(code):
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from named(inner)


options = ["-v", "-m", "not slow and not gpu", "-p", "no:cacheprovider"]
sys.exit(pytest.main([*files, *options], plugins=[Selection()]))
"""


def enumerating_files() -> list[str]:
    """Files of tests that ask for all methods, themselves or by a module that they import."""
    texts = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): file.read_text()
        for file in (ROOT / "tests").rglob("*.py")
    }
    others = "Dataset|ForgetSet|Family|Logger|Metric|Model"
    asks = re.compile(rf"(?<![\w.])parts\((?!({others})\))")
    found = {name for name, text in texts.items() if asks.search(text)}
    for name, text in texts.items():
        imported = re.findall(r"^from (tests[\w.]*) import (\w+)", text, re.MULTILINE)
        if found & {each for module, part in imported for each in (module, f"{module}.{part}")}:
            found.add(name)
    # Random sweep files are tried for a fixed time, whatever parts there are; on the shadow device,
    # processes of their own enumerate the parts, and do not have these.
    files = {
        name.replace(".", "/") + ".py"
        for name in found
        if ".test_" in name and not name.startswith(("tests.fuzz.", "tests.shadow."))
    }
    return sorted(files - {str(Path(__file__).relative_to(ROOT))})


@pytest.mark.timeout(900)
def test_two_methods_in_a_file_each(tmp_path: Path) -> None:
    room, sweep = tmp_path / "room", tmp_path / "sweep.yaml"
    room.mkdir()
    for name, text in NEW.items():
        (room / f"{name}.py").write_text(text)
        assert len(text.splitlines()) <= 45
    sweep.write_text(SWEEP)
    files = enumerating_files()
    done = subprocess.run(
        [sys.executable, "-c", USE, str(room), str(sweep), " ".join(NEW), *files],
        cwd=ROOT,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    listed, _, rest = done.stdout.partition("study of weighted_neggrad ")
    assert all(name in listed for name in NEW)
    assert rest.startswith("from 0.1\nstudy of shrinking from 0.1\n")
    for name in NEW:
        for check in (
            f"fields_are_documented-method-{name}",
            f"has_finite_losses_and_gradients-method-{name}-moco",
            f"idle_leaves_every_bit-method-{name}-class",
            f"pruned_weights_stay_zero-method-{name}-clip-class",
        ):
            assert f"test_part[{check}] PASSED" in rest
    for test in (
        "tests/conformance/test_digests.py::test_every_module_is_in_some_digest",
        "tests/config/test_abilities.py::test_every_method_names_its_paper[shrinking]",
        "tests/steps/test_steps.py::test_idle_methods_leave_the_original_bit_for_bit[byol]",
        "tests/test_sweep.py::test_list_names_every_part_once",
    ):
        assert f"{test} PASSED" in rest
