"""A method of one's own: an edit of its code runs it again, and the plan says why."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.s3_server import ROOT
from tests.tiny import SWEEP

PAGE = Path(ROOT / "docs/plugins.md").read_text()
METHOD = PAGE.partition("```python\n")[2].partition("```")[0].replace("my_method", "own_neggrad")
# As a person's own program: it imports the method, then runs the sweep, here without Ray.
PROGRAM = """
import sys
import own_methods
from pathlib import Path
from tests.tiny import finish, runtime
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.storage.store import open_store
from unlearn_ray import results, sweep as command
if sys.argv[1] == "run":
    loaded, store = load_sweep(Path("own.yaml")), open_store("store")
    announce(make_plan(loaded, store), store)
    finish(loaded, runtime("store"))
elif sys.argv[1] == "diff":
    store = open_store("store")
    keys = sorted(store.records("unlearn"), key=lambda key: store.record("unlearn", key).created)
    by_seed = {}
    for key in keys:
        by_seed.setdefault(store.record("unlearn", key).config["seed"], []).append(key)
    sys.exit(results.main(["store", "diff", *by_seed[0], "--format", "csv"]))
else:
    sys.exit(command.main(["plan", "own.yaml"]))
"""


class Home:
    """A folder with a method, a sweep and the program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.module = folder / "own_methods.py"
        self.module.write_text(METHOD)
        (folder / "program.py").write_text(PROGRAM)
        sweep = SWEEP.replace("finetune:", "own_neggrad:")
        (folder / "own.yaml").write_text(sweep + "store: ./store\n")

    def edit(self, old: str, new: str) -> None:
        text = self.module.read_text()
        assert text.count(old) == 1, old
        self.module.write_text(text.replace(old, new))

    def run(self, what: str) -> str:
        done = subprocess.run(
            [sys.executable, "program.py", what],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.mark.timeout(300)
def test_an_edit_of_the_code_runs_it_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert "changed" not in home.run("plan")
    home.run("run")
    assert "Nothing is left to run." in home.run("plan")

    home.edit('"""Both terms over one mixed batch."""', '"""Of one batch."""  # two means')
    assert "Nothing is left to run." in home.run("plan")

    home.edit("return self.retain_weight * retain -", "return 2 * self.retain_weight * retain -")
    told = home.run("plan")
    assert "    code of own_neggrad changed since 1 stored trial\n" in told
    assert "own_neggrad: 1 trial, nothing searched; 1 to run" in told
    assert "To run: 0 of 15 reference steps, 1 trials." in told

    home.run("run")
    assert "Nothing is left to run." in home.run("plan")
    header, *lines = home.run("diff").splitlines()
    assert re.fullmatch(r"field,[0-9a-f]{16},[0-9a-f]{16}", header)
    (line,) = lines
    assert re.fullmatch(r'method\.code,"""([0-9a-f]{16})""","""(?!\1)[0-9a-f]{16}"""', line)


@pytest.mark.timeout(300)
def test_a_revision_counts_and_what_is_imported_beside_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "helper.py").write_text("WEIGHT = 1.0\n")
    home.edit("return self.retain_weight * retain", "return WEIGHT * self.retain_weight * retain")
    home.edit(
        "from torch import Tensor, nn\n",
        "from typing import ClassVar\nfrom torch import Tensor, nn\nfrom helper import WEIGHT\n",
    )
    home.run("run")
    (tmp_path / "helper.py").write_text("# one\nWEIGHT = 1.0\n")
    assert "Nothing is left to run." in home.run("plan")
    (tmp_path / "helper.py").write_text("WEIGHT = 1.5\n")
    assert "code of own_neggrad changed since 1 stored trial" in home.run("plan")
    (tmp_path / "helper.py").write_text("WEIGHT = 1.0\n")
    home.edit(
        "retain_weight: UnitInterval = 0.95",
        "retain_weight: UnitInterval = 0.95\n    revision: ClassVar[int] = 2",
    )
    assert "revision and code of own_neggrad changed since 1 stored trial" in home.run("plan")
