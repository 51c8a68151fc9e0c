"""The store's credentials stay out of what Ray writes to its logs.

tests/cluster/test_submit.py looks for them in all logs of a real job.
"""

from __future__ import annotations

import pytest
import ray
from ray.tune.execution.class_cache import _ActorClassCache

from unlearn_ray.scheduling.studies import Trial


def test_trials_are_not_handed_the_drivers_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SECURITY_TOKEN", "SESSION_TOKEN"):
        monkeypatch.setenv(f"AWS_{name}", "a-secret")
    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    actor: ray.actor.ActorClass = _ActorClassCache().get(Trial)
    handed = str(actor._default_options["runtime_env"])
    assert "RAY_CHDIR_TO_TRIAL_DIR" in handed, "this is no longer where Tune says it"
    assert "a-secret" not in handed
