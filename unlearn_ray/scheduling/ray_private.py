"""All private names of Ray that this package uses, and that a new version of Ray may remove.

pyproject.toml bounds Ray's version because of them. All other imports from Ray are public or
developer API.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray._private.state import state
from ray._private.worker import global_worker
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.core.generated.autoscaler_pb2 import AutoscalingState, GetClusterStatusReply
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train.torch import TorchConfig
from ray.tune.execution import class_cache

# The variable that holds a submitted job's configuration. `ray.init` may not set again what the
# job's runtime environment sets, and Ray has no other way to read it.
JOB_CONFIG_VARIABLE: str = RAY_JOB_CONFIG_JSON_ENV_VAR

# The backend that prepares Ray Train's workers for torch. Ray documents how to write a backend, but
# none of its own has a public name to derive from.
TorchBackend: type = TorchConfig().backend_cls


def draining_nodes() -> frozenset[str]:
    """Ids of draining nodes, which accept no new work; `ray.nodes` does not list them."""
    return frozenset(state.get_draining_nodes())


def autoscaling_state() -> AutoscalingState:
    """The autoscaler's last state; version 0 if there is none (or only one of version 1).

    Only the output of `ray status` is public.
    """
    return _cluster_status().autoscaling_state


def work_waits() -> bool:
    """Whether tasks, actors or placement groups of anyone wait for resources, as of a second ago.

    Only the output of `ray status` is public.
    """
    state = _cluster_status().cluster_resource_state
    return bool(state.pending_resource_requests or state.pending_gang_resource_requests)


def _cluster_status() -> GetClusterStatusReply:
    reply = GetClusterStatusReply()
    reply.ParseFromString(global_worker.gcs_client.get_cluster_status())
    return reply


def keep_credentials() -> None:
    """Make Tune leave the driver's AWS credentials out of its trials' runtime environment.

    Ray writes that to its logs; every node has its own credentials. Tune has no option for it.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
        {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
    )


def outlive_memory_kills() -> None:
    """Let Tune restart a trial whose actor Ray's memory monitor has killed, as any that was lost.

    Ray tells of such a death by an error that is no `RayActorError`, which ends Tune's whole run.
    """
    for name in ("_actor_start_failed", "_actor_task_failed"):
        handle = getattr(RayActorManager, name)
        if not hasattr(handle, "__wrapped__"):
            setattr(RayActorManager, name, _killed_is_lost(handle))


def _killed_is_lost(handle: Callable[..., None]) -> Callable[..., None]:
    @wraps(handle)
    def handle_as_lost(manager: RayActorManager, **given: Any) -> None:
        if isinstance(given["exception"], OutOfMemoryError):
            given["exception"] = RayActorError(error_msg=f"{given['exception']}")
        handle(manager, **given)

    return handle_as_lost
