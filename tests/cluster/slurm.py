"""A real SLURM of several nodes on this machine: a controller and a daemon for each node."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from cluster.s3_server import free_ports

START_SECONDS = 60
_MUNGE_KEY = Path("/etc/munge/munge.key")


class Slurm:
    """Started by `with`, as root; its daemons end with it.

    Args:
        folder: for its configuration, state and logs.
        nodes: how many there are, named n1 and so on.
        cpus: of each node.
    """

    def __init__(self, folder: Path, nodes: int = 3, cpus: int = 2) -> None:
        self.folder = folder
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self._cpus = cpus
        self.configuration = folder / "slurm.conf"

    def __enter__(self) -> Slurm:
        for program in ("slurmctld", "slurmd", "munged"):
            if shutil.which(program) is None:
                pytest.fail(f"{program} is missing: run `make slurm`")
        _start_munge()
        for name in ("controller", *self.nodes):
            (self.folder / name).mkdir(parents=True)
        self.configuration.write_text(self._text())
        self._run("slurmctld")
        for node in self.nodes:
            self._run("slurmd", "-N", node)
        deadline = time.monotonic() + START_SECONDS
        while self.states() != ["idle"] * len(self.nodes):
            assert time.monotonic() < deadline, self.states()
            time.sleep(0.5)
        return self

    def __exit__(self, *exception: object) -> None:
        self._run("scancel", "--user=root")
        for name in (*self.nodes, "controller"):
            self.end(name)

    def submit(self, script: Path, environment: Mapping[str, str], *options: str) -> int:
        """`sbatch SCRIPT` in its folder; returns the job's id."""
        done = self._run(
            "sbatch",
            "--parsable",
            *options,
            script.name,
            folder=script.parent,
            environment=environment,
        )
        return int(done.split(";")[0])

    def cancel(self, job: int, *options: str) -> None:
        """`scancel`."""
        self._run("scancel", *options, str(job))

    def jobs(self, job: int) -> list[dict[str, str]]:
        """What the controller says of a job, or of each job of an array."""
        found = self._run("scontrol", "--oneliner", "show", "job", str(job)).splitlines()
        return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in found]

    def states(self) -> list[str]:
        """Of the nodes, in their order."""
        return self._run("sinfo", "--Node", "--noheader", "--format=%T").split()

    def end(self, name: str) -> None:
        """End the daemon of a node, or the controller."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((self.folder / f"{name}.pid").read_text()), signal.SIGKILL)

    def lose(self, node: str) -> None:
        """Kill all that a node runs and its daemon, as when it loses power."""
        self.end(node)
        running = self.processes(node)
        parents = {_parent(process) for process in running}
        # These first: they would tell the controller how the others ended.
        daemons = [parent for parent in parents if "slurmstepd" in _text(parent, "comm")]
        for process in (*daemons, *running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def processes(self, node: str | None = None) -> list[int]:
        """What jobs run on a node, or on all."""
        numbers = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
        return [number for number in numbers if self._runs(number, node)]

    def _runs(self, process: int, node: str | None) -> bool:
        words = _text(process, "environ").split("\0")
        known = dict(word.split("=", 1) for word in words if "=" in word)
        own = known.get("SLURM_CONF") == str(self.configuration) and "SLURM_JOB_ID" in known
        return own and node in (None, known.get("SLURMD_NODENAME"))

    def _run(
        self,
        *command: str,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        variables = {**(os.environ if environment is None else environment)}
        variables["SLURM_CONF"] = str(self.configuration)
        done = subprocess.run(
            command, cwd=folder, env=variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def _text(self) -> str:
        host = socket.gethostname().split(".")[0]
        controller, *ports = free_ports(1 + len(self.nodes))
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs={self._cpus} RealMemory=4000 State=UNKNOWN"
            for node, port in zip(self.nodes, ports, strict=True)
        ]
        return "\n".join(
            [
                "ClusterName=test",
                f"SlurmctldHost={host}(127.0.0.1)",
                f"SlurmctldPort={controller}",
                "SlurmUser=root",
                "SlurmdUser=root",
                "AuthType=auth/munge",
                f"StateSaveLocation={self.folder}/controller",
                f"SlurmdSpoolDir={self.folder}/%n",
                f"SlurmctldPidFile={self.folder}/controller.pid",
                f"SlurmdPidFile={self.folder}/%n.pid",
                f"SlurmctldLogFile={self.folder}/controller.log",
                f"SlurmdLogFile={self.folder}/%n.log",
                "ProctrackType=proctrack/linuxproc",
                "TaskPlugin=task/none",
                "SelectType=select/cons_tres",
                "SelectTypeParameters=CR_Core",
                "SlurmdTimeout=20",
                "KillWait=5",
                "ReturnToService=2",
                "MpiDefault=none",
                "SwitchType=switch/none",
                "JobRequeue=1",
                *nodes,
                "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
                "",
            ]
        )


def _start_munge() -> None:
    """The machine's own authentication service, which stays."""
    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
        return
    if not _MUNGE_KEY.exists() or not _MUNGE_KEY.stat().st_size:
        _MUNGE_KEY.write_bytes(os.urandom(1024))
        _MUNGE_KEY.chmod(0o400)
        shutil.chown(_MUNGE_KEY, "munge", "munge")
    Path("/run/munge").mkdir(exist_ok=True)
    shutil.chown("/run/munge", "munge", "munge")
    subprocess.run(["runuser", "-u", "munge", "--", "/usr/sbin/munged"], check=True)


def _text(process: int, name: str) -> str:
    """A file of /proc; empty once the process has ended."""
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(process) / name).read_text(errors="replace")
    return ""


def _parent(process: int) -> int:
    status = _text(process, "status").splitlines()
    return next((int(line.split()[1]) for line in status if line.startswith("PPid:")), 0)
