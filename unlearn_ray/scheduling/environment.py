"""The driver's environment, set before Ray is imported, which reads much of it then."""

from __future__ import annotations

import os
import re
import secrets
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from unlearn_ray.config.sweep_schema import Resources
from unlearn_ray.core.errors import BadInput, ClusterError, MachineError
from unlearn_ray.core.words import counted

_DRIVER_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A thread that calls Ray after the end must not start a second cluster.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Ray Train's controller polls its workers this often; a lost worker and the end of a group
    # wait for the next poll (default 2 s).
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Saves one process per training: the board sees which nodes are drained.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Relative paths in a sweep file mean the same in every worker.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Rows are the record of a trial; Tune's own files would only cost time.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    # The search itself decides how many trials may wait; Tune's default is one, so that a cluster
    # would scale up by one trial at a time.
    "TUNE_MAX_PENDING_TRIALS_PG": "1000000",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Neither MLflow's telemetry nor its messages about database tables are wanted.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # A worker that requested no GPU sees none, and computes on the CPU.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}
# Of a cluster that this machine alone uses, and only for the sweep: nobody reads these.
_OWN_ENVIRONMENT = {
    # Ray's log monitor looks for new files of workers' output, for drivers that print it.
    "LOG_NAME_UPDATE_INTERVAL_S": "3600",
    # Its agent measures the machine and every process, for a dashboard.
    "RAY_enable_metrics_collection": "0",
}
# If another server than a head listens, Ray would retry for 10 minutes (20 times 30 s).
_JOINING_ENVIRONMENT = {"RAY_NUM_REDIS_GET_RETRIES": "3", "RAY_py_gcs_connect_timeout_s": "10"}
_CONNECT_SECONDS = 10
# The name of Ray's sockets under its folder; the system limits a socket's whole path.
_SOCKET = "session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
_LONGEST_SOCKET_PATH = 107
_SMALLEST_ROOM = 1 << 20


def starts_own_cluster(address: str | None) -> bool:
    """Whether a sweep with this --address runs on a cluster of its own, on this machine."""
    return address is None and not os.environ.get("RAY_ADDRESS")


def named(address: str | None) -> tuple[str, str | None]:
    """The option or variable that names the cluster to join, and its address.

    RAY_ADDRESS counts if --address is missing or `auto`. Ray treats an empty one as unset.
    """
    variable = os.environ.get("RAY_ADDRESS")
    if address in (None, "auto") and variable:
        return f"RAY_ADDRESS = {variable}", variable
    return f"--address {address}", address


def ray_folder() -> Path:
    """Where Ray keeps the sockets and logs of a cluster that it starts on this machine."""
    return Path(os.environ.get(_folder_variable()) or "/tmp") / "ray"  # noqa: S108


def _folder_variable() -> str:
    return "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"


def prepare(address: str | None) -> None:
    """Set Ray's environment variables; those set by the user stay.

    Raises:
        BadInput: the address is not valid.
        ClusterError: nothing listens at the address of the cluster to join.
        MachineError: Ray cannot start here, for lack of a folder.
    """
    own = starts_own_cluster(address)
    if own:
        _check_folders()
    else:
        _check_listens(*named(address))
    of_cluster = _OWN_ENVIRONMENT if own else _JOINING_ENVIRONMENT
    for name, value in (_DRIVER_ENVIRONMENT | of_cluster).items():
        os.environ.setdefault(name, value)
    if own:
        # A token for this process tree only: neither accessible to the machine's other users, nor
        # left in the home folder, where it would lock later clusters.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ["RAY_AUTH_MODE"] == "token":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def this_machine_lacks(asks: Mapping[str, Resources]) -> list[BadInput]:
    """The requests of a sweep that this machine alone could never serve; does not start Ray."""
    # Counting does not touch a device.
    cpus, gpus = os.cpu_count() or 1, torch.cuda.device_count()
    return [
        BadInput(
            f"resources.{what}",
            f"{resources} do not fit this machine ({counted(cpus, 'CPU')}, {counted(gpus, 'GPU')})",
            "submit the sweep to a cluster, or request less",
        )
        for what, resources in asks.items()
        if resources.workers_on(cpus, gpus) < resources.fewest_workers
    ]


def _check_listens(subject: str, address: str | None) -> None:
    """Fail at once if nothing listens: Ray itself would retry for minutes."""
    if address in ("auto", "local"):
        return
    parts = re.fullmatch(r"(?:ray://)?\[?([^/\s]+?)\]?:(\d{1,5})", address or "")
    if parts is None:
        remedy = "write auto, or host:port of the cluster's head (6379 by default)"
        raise BadInput(subject, "not the address of a Ray cluster", remedy)
    try:
        socket.create_connection((parts[1], int(parts[2])), _CONNECT_SECONDS).close()
    except UnicodeError as error:
        raise BadInput(
            subject, "not a host name", "write host:port of the cluster's head"
        ) from error
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        remedy = "start one there: ray start --head"
        raise ClusterError(subject, f"no Ray cluster answers ({reason})", remedy) from error


def _check_folders() -> None:
    """Check Ray's folders: for some of their faults Ray would only report a timeout."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if os.environ.get(name) == "":
            del os.environ[name]  # Ray would take it for the working directory
    variable, folder = _folder_variable(), ray_folder()
    try:
        # Not Ray's own folder, which it makes accessible to all users.
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder if folder.exists() else folder.parent) as file:
            file.write(bytes(_SMALLEST_ROOM))
    except OSError as error:
        reason = f"Ray cannot write into it ({os.strerror(error.errno or 0)})"
        raise MachineError(
            f"temporary folder {folder.parent}",
            reason,
            f"set {variable} to a short path that this user may write",
        ) from error
    path = folder.absolute() / _SOCKET
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        room = _LONGEST_SOCKET_PATH - len(f"/ray/{_SOCKET}")
        raise MachineError(
            f"temporary folder {folder.parent}",
            f"its path is too long for Ray's sockets (AF_UNIX): at most {room} bytes",
            "set RAY_TMPDIR to a shorter one, such as /tmp",
        )
