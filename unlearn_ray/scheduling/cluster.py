"""Starting Ray on this machine, or joining a cluster."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import ray

from unlearn_ray.core.boundary import is_out_of_memory, reason_of
from unlearn_ray.core.errors import BadInput, ClusterError
from unlearn_ray.core.shipping import Shipment
from unlearn_ray.scheduling.environment import named, ray_folder, starts_own_cluster
from unlearn_ray.scheduling.own_code import hook
from unlearn_ray.scheduling.ray_private import JOB_CONFIG_VARIABLE

# One OpenMP thread per worker: on a shared CPU a second one makes small networks 4 to 15 times
# slower, because idle threads spin. The sweep file sets PyTorch's own threads.
_WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


@contextmanager
def cluster(address: str | None, code: Shipment | None = None) -> Iterator[None]:
    """Connect to Ray for the duration of a sweep.

    Args:
        code: what workers need of code from outside the package.
        address: of a running cluster (`auto`, `host:port`, `ray://host:port`). None joins the
            cluster that RAY_ADDRESS names (as inside `ray job submit`), or else starts a
            cluster of this machine alone that ends with the sweep.

    Raises:
        ClusterError: nothing answers at `address`, or Ray did not start in time.
        MachineError: this machine lacks something that Ray needs.
    """
    code_hook = {} if code is None else {"worker_process_setup_hook": hook(code)}
    if starts_own_cluster(address):
        _start(code_hook)
    else:
        _join(address, code_hook)
    try:
        yield
    finally:
        ray.shutdown()


def _start(code_hook: Mapping[str, Any]) -> None:
    """Start a cluster of this machine alone.

    Ray waits 30 s for its processes, which is too short under load. On the second try the files
    they read are cached; a third try would not help.
    """
    try:
        _init("local", code_hook, include_dashboard=False)
    except Exception as first:
        with suppress(Exception):
            ray.shutdown()
        if _denied(first):
            raise
        try:
            _init("local", code_hook, include_dashboard=False)
        except Exception as second:
            raise _not_started(second) from second


def _join(address: str | None, code_hook: Mapping[str, Any]) -> None:
    subject, given = named(address)
    if code_hook and (given or "").startswith("ray://"):
        raise BadInput(
            subject,
            "code from outside the package cannot be sent through Ray's client",
            "give host:port of the cluster's head, or submit the sweep as a job",
        )
    try:
        _init(address, code_hook)
    except ConnectionError as error:
        remedy = "start one (ray start --head), or set RAY_AUTH_MODE=token if it requires a token"
        reason = f"no Ray cluster answers ({reason_of(error)})"
        raise ClusterError(subject, reason, remedy) from error
    except Exception as error:
        remedy = "check that it runs the same versions of Ray and Python as this machine"
        raise ClusterError(subject, f"cannot be joined ({reason_of(error)})", remedy) from error


def _init(address: str | None, code_hook: Mapping[str, Any], **options: bool) -> None:
    with _own_signal_handlers():
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={"env_vars": _worker_environment(), **code_hook},
            **options,
        )


def _denied(error: Exception) -> bool:
    """Whether the system gave the reason, for example a full folder."""
    waited = isinstance(error, ConnectionError | TimeoutError)
    return is_out_of_memory(error) or (isinstance(error, OSError) and not waited)


def _not_started(error: Exception) -> ClusterError:
    logs = ray_folder() / "session_latest" / "logs"
    return ClusterError(
        "Ray on this machine",
        f"did not start, twice ({reason_of(error)}; its logs are in {logs})",
        "run again when the machine is less busy, or give --address of a cluster that runs",
    )


def _worker_environment() -> dict[str, str]:
    """Variables that the job's runtime environment does not set; Ray refuses duplicates."""
    job = json.loads(os.environ.get(JOB_CONFIG_VARIABLE, "{}"))
    told = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: value for name, value in _WORKER_ENVIRONMENT.items() if name not in told}


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep the current signal handlers, which ray.init would replace.

    Raises:
        KeyboardInterrupt: SIGTERM reached Ray's own handler, which ends the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit as ended:
        raise KeyboardInterrupt from ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
