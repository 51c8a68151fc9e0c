"""All private names of Ray that this package uses, and that a new version of Ray may remove.

pyproject.toml bounds Ray's version because of them. All other imports from Ray are public or
developer API.
"""

from __future__ import annotations

from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray._private.state import state
from ray._private.worker import global_worker
from ray.core.generated.autoscaler_pb2 import AutoscalingState, GetClusterStatusReply
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
    reply = GetClusterStatusReply()
    reply.ParseFromString(global_worker.gcs_client.get_cluster_status())
    return reply.autoscaling_state


def keep_credentials() -> None:
    """Make Tune leave the driver's AWS credentials out of its trials' runtime environment.

    Ray writes that to its logs; every node has its own credentials. Tune has no option for it.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
        {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
    )
