"""Starting Ray on this machine, or joining a cluster."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from unlearn_ray.core.errors import BadInput
from unlearn_ray.pipeline.sweep_schema import Resources
from unlearn_ray.scheduling.environment import named, starts_own_cluster

# One OpenMP thread per worker: on a shared CPU a second one makes small networks 4 to 15 times
# slower, because idle threads spin.
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


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
                runtime_env={"env_vars": WORKER_ENVIRONMENT},
                **({"include_dashboard": False} if own else {}),
            )
    except ConnectionError as error:
        remedy = "start one (ray start --head), or set RAY_AUTH_MODE=token if it wants a token"
        raise BadInput(named(address)[0], f"no Ray cluster answers ({error})", remedy) from error
    try:
        yield
    finally:
        ray.shutdown()


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


def room_for(resources: Resources) -> int:
    """How many groups of the fewest workers the cluster's nodes hold now; at least one."""
    total = ray.cluster_resources()
    fits = [int(total.get("CPU", 0) / (resources.cpu * resources.fewest_workers))]
    if resources.gpu:
        fits.append(int(total.get("GPU", 0) / (resources.gpu * resources.fewest_workers)))
    return max(1, min(fits))
