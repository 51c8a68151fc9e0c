"""The script of a SLURM job that runs a sweep on its nodes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from string import Template

SECONDS_TO_SAVE = 300

_BODY = Template("""\
# Runs a sweep on the nodes of a SLURM job (`unlearn-ray slurm`); submit it from the folder that
# its paths are relative to: sbatch FILE.
#
# Some minutes before the time limit the sweep saves its work, and the job is queued again and goes
# on. A lost node costs the time since its last checkpoint; if it is the first, the job is queued
# again. The same job, or any number of them at once, may be submitted at any time: nothing is
# trained twice.
set -euo pipefail
$before
# Ray's ports are open to everyone on these nodes; its token is known to this job alone.
RAY_AUTH_TOKEN=$$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
export RAY_TMPDIR=/tmp/ray-$$SLURM_JOB_ID # short, as sockets lie in it; on each node's own disk
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # all nodes of a job end together
found=$$(python -c '
import socket, ray
free = [socket.create_server(("", 0)) for _ in range(2)]
print(ray.util.get_node_ip_address(), *(one.getsockname()[1] for one in free))')
read -r head port client <<<"$$found"
export cluster=$$head:$$port head port client

# Runs once on each node, until it gets SIGTERM.
# shellcheck disable=SC2329 # srun calls it
start_ray() {
    local options=(--block --disable-usage-stats --num-cpus="$$SLURM_CPUS_ON_NODE"
        --object-store-memory=500000000 --min-worker-port=0 --max-worker-port=0
        --dashboard-agent-listen-port=0)
    if [[ $$SLURM_PROCID == 0 ]]; then
        options+=(--head --node-ip-address="$$head" --port="$$port" --include-dashboard=false
            --ray-client-server-port="$$client")
    else
        until ray health-check --address "$$cluster" >/dev/null 2>&1; do sleep 1; done
        options+=(--address="$$cluster")
    fi
    local told='' status=0
    trap 'told=yes; kill "$$ray" 2>/dev/null' TERM
    ray start "$${options[@]}" >/dev/null &
    ray=$$!
    while kill -0 "$$ray" 2>/dev/null; do wait "$$ray" && status=0 || status=$$?; done
    rm -rf "$$RAY_TMPDIR"
    # With the first node this script is lost, and SLURM lets the other nodes wait for nothing.
    if [[ ! $$told && $$SLURM_PROCID != 0 && $${SLURM_RESTART_COUNT:-0} -lt 20 ]] &&
        ! ray health-check --address "$$cluster" >/dev/null 2>&1; then
        scontrol requeue "$$SLURM_JOB_ID"
    fi
    return "$$status"
}
export -f start_ray
# SLURM does not hand --cpus-per-task on to srun.
srun --ntasks-per-node=1 $${SLURM_CPUS_PER_TASK:+--cpus-per-task="$$SLURM_CPUS_PER_TASK"} \\
    --cpu-bind=none --overlap --no-kill --wait=0 --kill-on-bad-exit=0 bash -c start_ray &
nodes=$$!

sweep='' told=''
# SLURM's, some time before the limit. scancel sends TERM, after which nothing is queued again.
trap 'told=yes; if [[ $$sweep ]]; then kill -TERM "$$sweep"; fi' USR1
trap 'if [[ $$sweep ]]; then kill -TERM "$$sweep"; else exit 143; fi' TERM
# shellcheck disable=SC2329 # it is the trap's
end_ray() {
    scancel --signal=TERM "$$SLURM_JOB_ID.0" || true # not srun, which would kill them
    for ((second = 0; second < 30; second++)); do
        kill -0 "$$nodes" 2>/dev/null || return 0
        sleep 1
    done
    kill "$$nodes" || true
}
trap end_ray EXIT

queue_again() { scontrol requeue "$$SLURM_JOB_ID" || echo "submit the same job again" >&2; }

for ((second = 0; ; second++)); do
    if ray health-check --address "$$cluster" >/dev/null 2>&1; then break; fi
    if [[ $$told ]]; then queue_again; fi
    if [[ $$told ]] || ((second == 180)) || ! kill -0 "$$nodes" 2>/dev/null; then
        echo "Ray did not start on $$SLURMD_NODENAME; this log says why" >&2
        exit 1
    fi
    sleep 1
done

RAY_ADDRESS=$$cluster $command &
sweep=$$!
status=0
# A signal ends `wait`, not the sweep.
while kill -0 "$$sweep" 2>/dev/null; do wait "$$sweep" && status=0 || status=$$?; done

if [[ $$told && $$status == 130 ]]; then
    echo "saved; the job is queued again, and goes on from here"
    trap - EXIT
    end_ray
    queue_again
fi
exit "$$status"
""")


@dataclass(frozen=True, kw_only=True)
class SlurmJob:
    """What a job asks of SLURM, and what it runs.

    Attributes:
        name: of the job and its log.
        command: the sweep's.
        partition, time: as sbatch takes them; None leaves the cluster's defaults.
        nodes: of one job.
        jobs: how many such jobs share the sweep; None for one that is no array.
        cpus, gpus, memory: of each node; no `cpus` takes whole nodes.
        environment: the folder of the Python environment with unlearn_ray.
        before: lines of shell that run first on the first node.
        further: further options of sbatch, as written.
    """

    name: str
    command: list[str]
    environment: str
    partition: str | None = None
    time: str | None = None
    nodes: int = 1
    jobs: int | None = None
    cpus: int | None = None
    gpus: str | None = None
    memory: str | None = None
    before: list[str] = field(default_factory=list)
    further: list[str] = field(default_factory=list)

    def script(self) -> str:
        """The text of a file for sbatch."""
        lines = ["#!/usr/bin/env bash", *(f"#SBATCH {option}" for option in self._options())]
        path = shlex.quote(f"{self.environment}/bin")
        return (
            "\n".join(lines)
            + "\n"
            + _BODY.substitute(
                before="\n".join([*self.before, f'export PATH={path}:"$PATH"']),
                command=shlex.join(self.command),
            )
        )

    def _options(self) -> list[str]:
        log = "%x-%A_%a.log" if self.jobs else "%x-%j.log"
        options = [f"--job-name={self.name}"]
        if self.partition:
            options.append(f"--partition={self.partition}")
        if self.time:
            options.append(f"--time={self.time}")
        options += [f"--nodes={self.nodes}", "--ntasks-per-node=1"]
        if self.cpus is None:
            options.append("--exclusive")
        else:
            options.append(f"--cpus-per-task={self.cpus}")
        if self.gpus:
            options.append(f"--gpus-per-node={self.gpus}")
        if self.memory or self.cpus is None:
            options.append(f"--mem={self.memory or 0}")  # 0: all of the node
        if self.jobs:
            options.append(f"--array=1-{self.jobs}")
        if self.nodes > 1:
            options.append("--no-kill")
        options += ["--requeue", f"--signal=B:USR1@{SECONDS_TO_SAVE}"]
        return [*options, f"--output={log}", "--open-mode=append", *self.further]
