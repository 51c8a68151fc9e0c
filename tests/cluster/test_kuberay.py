"""kuberay.yaml and rayjob.yaml: valid, with what they are for; and typos do not pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.files import changed, load, pinned
from tests.cluster.kuberay import errors

CLUSTER, JOB = "kuberay.yaml", "rayjob.yaml"
WORKER = "spec/workerGroupSpecs/0"
POD = f"{WORKER}/template/spec"


@pytest.mark.parametrize("name", [CLUSTER, JOB])
def test_valid(name: str) -> None:
    assert errors(load(name)) == []


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("kind", "RayClusters", "RayClusters"),
        ("apiVersion", "ray.io/v1alpha1", "'ray.io/v1' was expected"),
        ("metadata/name", "Unlearn_Ray", "Unlearn_Ray"),
        ("spec/enableInTreeAutoscalling", True, "enableInTreeAutoscalling"),
        ("spec/headGroupSpec", ..., "headGroupSpec"),
        ("spec/authOptions/mode", "tokens", "tokens"),
        ("spec/autoscalerOptions/upscalingMode", "Fast", "Fast"),
        ("spec/autoscalerOptions/idleTimeoutSeconds", "300", "idleTimeoutSeconds"),
        ("spec/headGroupSpec/rayStartParams/num-cpus", 0, "0"),
        ("spec/headGroupSpec/rayStartParams/num-cpu", "0", "--num-cpu"),
        (f"{WORKER}/groupName", ..., "groupName"),
        (f"{WORKER}/maxReplica", 8, "maxReplica"),
        (f"{POD}/terminationGracePeriodSecond", 120, "terminationGracePeriodSecond"),
        (f"{POD}/tolerations/0/effect", 1, "effect"),
        (f"{POD}/volumes/1/projected/sources/0/serviceAccountTokens", {}, "serviceAccountTokens"),
        (f"{POD}/containers/0/lifecycle/postStarts", {}, "postStarts"),
        (f"{POD}/containers/0/resources/limits/memory", "14Gib", "14Gib"),
        (f"{POD}/containers/0/volumeMounts/0/name", "shm", "shm"),
        (f"{POD}/containers/0/image", 1, "image"),
    ],
)
def test_what_a_cluster_may_not_say(path: str, value: object, says: str) -> None:
    assert says in "\n".join(errors(changed(load(CLUSTER), path, value)))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("spec/entrypoint", ..., "entrypoint"),
        ("spec/submissionMode", "K8sMode", "K8sMode"),
        ("spec/clusterSelector", {"ray.io/cluster": "unlearn-ray"}, "should not be valid"),
        ("spec/ttlSecondsAfterFinishes", 5, "ttlSecondsAfterFinishes"),
        ("spec/rayClusterSpec/workerGroupSpecs/0/template/spec/containers/0/imag", "x", "imag"),
    ],
)
def test_what_a_job_may_not_say(path: str, value: object, says: str) -> None:
    assert says in "\n".join(errors(changed(load(JOB), path, value)))


def test_the_job_starts_the_same_cluster() -> None:
    assert load(JOB)["spec"]["rayClusterSpec"] == load(CLUSTER)["spec"]


def test_the_job_ends_its_cluster_and_goes_on_after_a_lost_head() -> None:
    spec = load(JOB)["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["backoffLimit"] > 0


@pytest.fixture
def spec() -> dict[str, Any]:
    found: dict[str, Any] = load(CLUSTER)["spec"]
    return found


def test_the_version_is_that_of_the_image(spec: dict[str, Any]) -> None:
    assert spec["rayVersion"] == pinned("ray")


def test_workers_come_and_go(spec: dict[str, Any]) -> None:
    [worker] = spec["workerGroupSpecs"]
    assert spec["enableInTreeAutoscaling"] is True
    assert worker["minReplicas"] == 0 < worker["maxReplicas"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert {each["key"] for each in worker["template"]["spec"]["tolerations"]} == {
        "cloud.google.com/gke-spot",
        "nvidia.com/gpu",
    }


def test_a_pod_that_goes_drains_first(spec: dict[str, Any]) -> None:
    pod = spec["workerGroupSpecs"][0]["template"]["spec"]
    environment = {each["name"]: each["value"] for each in pod["containers"][0]["env"]}
    drains = float(environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert 60 <= drains < pod["terminationGracePeriodSeconds"]


def test_pods_have_a_role_and_no_key(spec: dict[str, Any]) -> None:
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        [container] = pod["containers"]
        assert pod["serviceAccountName"] == "unlearn-ray"
        assert "envFrom" not in container
        environment = {each["name"]: each.get("value") for each in container["env"]}
        assert environment["AWS_ROLE_ARN"].startswith("arn:aws:iam::")
        assert not any("KEY" in name or "SECRET" in name for name in environment)
        token = Path(environment["AWS_WEB_IDENTITY_TOKEN_FILE"])
        mounts = {each["name"]: each for each in container["volumeMounts"]}
        assert mounts["identity"]["mountPath"] == f"{token.parent}"
        [identity] = [each for each in pod["volumes"] if each["name"] == "identity"]
        [source] = identity["projected"]["sources"]
        assert source["serviceAccountToken"]["path"] == token.name
        assert source["serviceAccountToken"]["audience"] == "sts.amazonaws.com"
    assert spec["authOptions"] == {"mode": "token"}


def test_metrics_can_be_read(spec: dict[str, Any]) -> None:
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        [container] = group["template"]["spec"]["containers"]
        assert {"containerPort": 8080, "name": "metrics"} in container["ports"]


def test_trials_share_a_gpu_by_mps(spec: dict[str, Any]) -> None:
    [container] = spec["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    command = container["lifecycle"]["postStart"]["exec"]["command"]
    assert command == ["bash", "/home/ray/unlearn_ray/cluster/mps.sh"]
