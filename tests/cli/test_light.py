"""Reading results takes a light installation: neither PyTorch nor Ray, and none of the extras."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.results.rows import replicated_sweep, small_sweep
from tests.s3_server import ROOT, S3Server
from unlearn_ray import results, sweep
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.core.boundary import EXTRAS
from unlearn_ray.core.errors import Exit
from unlearn_ray.monitor.manifest import announce
from unlearn_ray.reporting.declared import columns_file
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# The command line in an environment without these packages, which come first.
PROGRAM = """\
import importlib.abc, sys

missing = set(sys.argv[1].split(","))

class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
from unlearn_ray.cli.main import main
status = main(sys.argv[2:])
assert missing.isdisjoint(sys.modules)
sys.exit(status)
"""
AWAY = {"original": 10.0, "finetune": 4.0, "neggrad": 0.0}
HEAVY = frozenset({name for name, extra in EXTRAS.items() if extra != "testing"} - {"packaging"})


def light(*words: str, missing: frozenset[str] = HEAVY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, ",".join(missing), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def fill(url: str, *, tuned: bool = False) -> None:
    opened = open_store(url)
    for number, row in enumerate(small_sweep() if tuned else replicated_sweep(5, AWAY)):
        opened.write_row(f"row{number:03}", row)


COMMANDS = [
    ["compare"],
    ["compare", "--format", "json"],
    ["best", "--format", "csv"],
    ["power", "small"],
    ["query", "SELECT * FROM winners"],
    ["query", "SELECT study, seed, test_accuracy FROM rows ORDER BY ALL", "--format", "markdown"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: "_".join(words)[:20])
def test_a_folder(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(str(tmp_path / "store"), tuned="best" in command)
    done = light("results", str(tmp_path / "store"), *command)
    assert (done.returncode, done.stderr) == (0, "")
    assert results.main([str(tmp_path / "store"), *command]) == 0
    assert done.stdout == capsys.readouterr().out
    assert len(done.stdout) > 100


def test_a_report_needs_its_extra_alone(tmp_path: Path) -> None:
    fill(str(tmp_path / "store"), tuned=True)
    words = ["report", "small", "--output", str(tmp_path / "report.html")]
    extra = {name for name, brings in EXTRAS.items() if brings == "report"}
    done = light("results", str(tmp_path / "store"), *words, missing=HEAVY - extra)
    assert done.returncode == 0, done.stderr
    assert "vegaEmbed" in (tmp_path / "report.html").read_text(encoding="utf-8")
    refused = light("results", str(tmp_path / "store"), *words)
    assert refused.returncode == Exit.MACHINE
    assert "pip install 'unlearn_ray[report]'" in refused.stderr


def test_a_bucket(s3_server: S3Server, capsys: pytest.CaptureFixture[str]) -> None:
    url = s3_server.store_url("some/prefix")
    fill(url)
    done = light("results", url, "compare", missing=HEAVY - {"boto3", "botocore"})
    assert (done.returncode, done.stderr) == (0, "")
    assert results.main([url, "compare"]) == 0
    assert done.stdout == capsys.readouterr().out
    without = light("results", url, "compare")
    assert without.returncode == Exit.MACHINE
    assert without.stderr.count("\n") == 1
    assert "pip install 'unlearn_ray[s3]'" in without.stderr


def test_a_finished_sweep(finished_sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(finished_sweep / "store")
    keys = sorted(path.stem for path in (finished_sweep / "store" / "records").rglob("*.json"))
    commands = [["results", store, "compare"], ["results", store, "diff", *keys[:2]]]
    for command in commands:
        done = light(*command)
        assert (done.returncode, done.stderr) == (0, "")
        assert results.main(command[1:]) == 0
        assert done.stdout == capsys.readouterr().out


def test_status(finished_sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(finished_sweep / "store", tmp_path / "store")
    opened = open_store(str(tmp_path / "store"))
    announce(make_plan(load_sweep(finished_sweep / "tiny.yaml"), opened), opened)
    status = light("status", opened.url)
    assert (status.returncode, status.stderr) == (0, "")
    assert sweep.main(["status", opened.url]) == 0
    assert status.stdout.splitlines()[:3] == capsys.readouterr().out.splitlines()[:3]


def test_what_needs_more_says_which_extra(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text("dataset: digits\n", encoding="utf-8")
    for command in ("plan", "run", "list"):
        done = light(command, *([] if command == "list" else [str(file)]))
        assert done.returncode == Exit.MACHINE
        assert done.stderr.count("\n") == 1
        assert "pip install 'unlearn_ray[run]'" in done.stderr


def test_columns_of_a_metric_that_is_not_installed(tmp_path: Path) -> None:
    url = str(tmp_path / "store")
    opened = open_store(url)
    for number, row in enumerate(replicated_sweep(5, AWAY)):
        more = {f"own_metric{end}": 1.0 for end in ("", "_retrained", "_gap")}
        opened.write_row(f"row{number:03}", {**row, **more})
    done = light("results", url, "compare")
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout.replace("\n  ", " ")
    assert "(their plug-ins are not loaded), in no average: own_metric" in told


def test_the_packaged_declarations_are_those_of_the_parts() -> None:
    # As the Makefile writes it: in this process tests may have registered parts.
    command = [sys.executable, "-m", "unlearn_ray.reporting.declared"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == (ROOT / "unlearn_ray" / "reporting" / "columns.json").read_text(), (
        "write it with `make docs`"
    )
    assert '"retain_accuracy": "RA"' in columns_file()


def needed(extra: str) -> set[str]:
    listed = PROJECT["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(line).name) for line in listed}


def test_extras_bring_what_errors_say_that_they_bring() -> None:
    distributions = packages_distributions()
    for name, extra in EXTRAS.items():
        named = {canonicalize_name(each) for each in distributions.get(name, [name])}
        if name != "botocore":  # boto3's
            assert named & needed(extra) or "mlflow-skinny" in needed(extra)
    brought = {name for extra in ("run", "clip", "s3") for name in needed(extra)}
    listed = {canonicalize_name(each) for name in EXTRAS for each in distributions.get(name, [])}
    assert brought <= listed
