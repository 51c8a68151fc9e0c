"""Every private name of Ray that this package uses: what a new version of Ray may take away.

pyproject.toml bounds Ray's version for their sake. All else that is imported from Ray is public, or
its API for developers.
"""

from __future__ import annotations

from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray._private.state import state
from ray._private.worker import global_worker
from ray.core.generated.autoscaler_pb2 import AutoscalingState, GetClusterStatusReply
from ray.train.torch import TorchConfig
from ray.tune.execution import class_cache

# The variable in which a submitted job's configuration stands; what its runtime environment sets,
# `ray.init` may not set again, and Ray has no other way to ask for it.
JOB_CONFIG_VARIABLE: str = RAY_JOB_CONFIG_JSON_ENV_VAR

# What prepares Ray Train's workers for torch. Ray documents how to write a backend, and calls none
# of its own by a public name that could be derived from.
TorchBackend: type = TorchConfig().backend_cls


def draining_nodes() -> frozenset[str]:
    """Ids of the nodes that end soon, and take no new work; `ray.nodes` does not say it."""
    return frozenset(state.get_draining_nodes())


def autoscaling_state() -> AutoscalingState:
    """What the autoscaler last said; version 0 where there is none (or only one of version 1).

    Public is only what `ray status` prints for people.
    """
    reply = GetClusterStatusReply()
    reply.ParseFromString(global_worker.gcs_client.get_cluster_status())
    return reply.autoscaling_state


def keep_credentials() -> None:
    """Have Tune leave the driver's AWS keys out of its trials' runtime environment.

    Ray writes that to its logs; every node has keys of its own. Tune has no option for it.
    """
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(
        {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN"}
    )
