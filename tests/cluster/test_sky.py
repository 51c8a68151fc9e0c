"""sky.yaml: SkyPilot's own parser takes it, and refuses what is misspelt."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.files import CLUSTER, ROOT, changed, load

pytestmark = pytest.mark.slow

# SkyPilot has nearly 100 dependencies of its own versions, so it is in an environment of its own.
PARSE = """\
import json, sys
import sky
task = sky.Task.from_yaml(sys.argv[1])
found = [
    {
        "accelerators": one.accelerators, "spot": one.use_spot, "cpus": one.cpus,
        "memory": one.memory, "disk": one.disk_size,
    }
    for one in task.resources
]
print(json.dumps({"name": task.name, "nodes": task.num_nodes, "envs": task.envs,
                  "run": task.run, "setup": task.setup, "resources": found}))
"""


def parsed(document: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """What SkyPilot makes of it."""
    environment = Path(os.environ.get("UNLEARN_RAY_SKY", ROOT / ".venv-sky"))
    python = environment / "bin" / "python"
    assert python.exists(), "run `make sky`"
    file = folder / "task.yaml"
    file.write_text(yaml.safe_dump(document))
    return subprocess.run(
        [str(python), "-c", PARSE, str(file)], cwd=ROOT, capture_output=True, text=True,
        timeout=300, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip


def test_skypilot_takes_it(tmp_path: Path) -> None:
    ran = parsed(changed(load("sky.yaml"), "envs/STORE", "s3://bucket/unlearning"), tmp_path)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["nodes"] == 1
    assert {key for one in told["resources"] for key in one["accelerators"]} == {
        "L4", "A10G", "T4"
    }  # fmt: skip
    assert all(one["spot"] and one["disk"] >= 100 for one in told["resources"])
    assert (ROOT / told["envs"]["SWEEP"]).is_file()
    for script in (told["setup"], told["run"]):
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert '-m unlearn_ray run "$SWEEP" --store "$STORE"' in told["run"]
    assert (CLUSTER / "mps.sh").is_file()


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("envs/STORE", None, "'STORE' is None"),
        ("resource", {}, "resource"),
        ("resources/use_spott", True, "use_spott"),
        ("resources/cpus", "many", "many"),
        ("num_nodes", "one", "num_nodes"),
    ],
)
def test_what_it_may_not_say(tmp_path: Path, path: str, value: object, says: str) -> None:
    document = load("sky.yaml")
    if path != "envs/STORE":
        document = changed(document, "envs/STORE", "s3://bucket/unlearning")
    ran = parsed(changed(document, path, value), tmp_path)
    assert ran.returncode != 0
    assert says in ran.stdout + ran.stderr
