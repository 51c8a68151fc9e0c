"""mps.sh: starts MPS where it can be, and never keeps a node from starting."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.files import CLUSTER

CONTROL = """\
#!/bin/sh
[ "$1" = -d ] && { echo started >> FOLDER/started; touch FOLDER/running; exit STATUS; }
[ -e FOLDER/running ]
"""


@dataclass
class Tools:
    """NVIDIA's tools, as programs that say what they are told to."""

    folder: Path

    def driver(self, gpus: str, status: int = 0) -> None:
        (self.folder / "gpus").write_text(gpus)
        self._write("nvidia-smi", f"#!/bin/sh\ncat {self.folder}/gpus\nexit {status}\n")

    def control(self, status: int = 0) -> None:
        text = CONTROL.replace("FOLDER", f"{self.folder}").replace("STATUS", f"{status}")
        self._write("nvidia-cuda-mps-control", text)

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def run(self) -> str:
        """What the script says; it ends with 0 in any case."""
        path = f"{self.folder}{os.pathsep}{os.environ['PATH']}"
        ran = subprocess.run(
            ["bash", str(CLUSTER / "mps.sh")], env={**os.environ, "PATH": path},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout == ""
        return ran.stderr

    @property
    def started(self) -> int:
        """How often the daemon was started."""
        told = self.folder / "started"
        return len(told.read_text().splitlines()) if told.exists() else 0


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    assert shutil.which("nvidia-cuda-mps-control") is None, "a node with a GPU has its own"
    return Tools(tmp_path)


@pytest.mark.parametrize(
    "gpus", ["9.0, [N/A]\n", "8.0, Disabled\n", "7.0, [N/A]\n7.5, [N/A]\n", "12.0, [N/A]\n"]
)
def test_it_is_started_once(tools: Tools, gpus: str) -> None:
    tools.driver(gpus)
    tools.control()
    assert tools.run() == "mps: started\n"
    assert tools.run() == "mps: it runs already\n"
    assert tools.started == 1


@pytest.mark.parametrize(
    ("gpus", "why"),
    [
        ("8.0, Enabled\n", "divided by MIG"),
        ("9.0, [N/A]\n8.0, Enabled\n", "divided by MIG"),
        ("6.1, [N/A]\n", "capability 6.1"),
        ("[N/A], [N/A]\n", "capability [N/A]"),
        ("", "finds no GPU"),
    ],
)
def test_where_it_cannot_be(tools: Tools, gpus: str, why: str) -> None:
    tools.driver(gpus)
    tools.control()
    assert why in tools.run()
    assert tools.started == 0


def test_without_tools_without_a_driver_and_when_it_fails(tools: Tools) -> None:
    assert "tools are not installed" in tools.run()
    tools.control()
    tools.driver("NVIDIA-SMI has failed\n", status=9)
    assert "finds no GPU" in tools.run()
    assert tools.started == 0
    tools.driver("9.0, [N/A]\n")
    tools.control(status=1)
    assert "nvidia-cuda-mps-control -d failed" in tools.run()
