"""The driver's environment; Ray reads much of it while it is imported, so this comes before."""

from __future__ import annotations

import os
import secrets

_DRIVER_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A thread that asks after the end must not start a second cluster.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Ray Train's controller looks at its workers this often; every report and the end of a run
    # wait for the next look (default 2 s).
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # A sweep file's relative paths mean the same in every worker.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Rows are the record of a trial; Tune's own files beside them would only cost time.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def starts_own_cluster(address: str | None) -> bool:
    """Whether a sweep with this --address runs on a cluster of its own, on this machine."""
    return address is None and "RAY_ADDRESS" not in os.environ


def prepare(address: str | None) -> None:
    """Set what Ray is to find in the environment; what a person has set stays."""
    for name, value in _DRIVER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if starts_own_cluster(address):
        # A token of this process tree alone: neither open to the machine's other users, nor
        # left behind in the home folder, where it would lock later clusters.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if os.environ["RAY_AUTH_MODE"] == "token":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
