"""Starting Ray on this machine, or joining a cluster."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

from unlearn_ray.core.errors import BadInput
from unlearn_ray.scheduling.environment import named, starts_own_cluster

# One OpenMP thread per worker: on a shared CPU a second one makes small networks 4 to 15 times
# slower, because idle threads spin. PyTorch's own threads are the sweep file's to set.
_WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


@contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Connect to Ray for the time of a sweep.

    Args:
        address: of a running cluster (`auto`, `host:port`, `ray://host:port`). None joins the
            cluster that RAY_ADDRESS names (as inside `ray job submit`), or else starts a
            cluster of this machine alone that ends with the sweep.

    Raises:
        BadInput: nothing answers at `address`.
    """
    own = starts_own_cluster(address)
    try:
        with _own_signal_handlers():
            ray.init(
                address="local" if own else address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": _worker_environment()},
                **({"include_dashboard": False} if own else {}),
            )
    except ConnectionError as error:
        remedy = "start one (ray start --head), or set RAY_AUTH_MODE=token if it wants a token"
        raise BadInput(named(address)[0], f"no Ray cluster answers ({error})", remedy) from error
    try:
        yield
    finally:
        ray.shutdown()


def _worker_environment() -> dict[str, str]:
    """What the job's runtime environment does not set itself; Ray refuses to be told twice."""
    job = json.loads(os.environ.get(RAY_JOB_CONFIG_JSON_ENV_VAR, "{}"))
    told = (job.get("runtime_env") or {}).get("env_vars") or {}
    return {name: value for name, value in _WORKER_ENVIRONMENT.items() if name not in told}


@contextmanager
def _own_signal_handlers() -> Iterator[None]:
    """Keep the handlers that are set: ray.init puts its own in their place.

    Raises:
        KeyboardInterrupt: SIGTERM met Ray's own handler, which ends the process.
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
