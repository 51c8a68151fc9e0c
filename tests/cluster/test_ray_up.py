"""aws.yaml and gcp.yaml: valid, with what they are for; and typos do not pass."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cluster.spot_notice import GCP_SECONDS, NOTICES
from tests.cluster.files import CLUSTER, changed, load
from tests.cluster.ray_up import errors

CLOUDS = ["aws", "gcp"]
HEAD, WORKER = "available_node_types/head", "available_node_types/gpu_worker"


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def config(cloud: str) -> dict[str, Any]:
    return load(f"{cloud}.yaml")


def test_valid(config: dict[str, Any]) -> None:
    assert errors(config) == []


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("idle_timeout_minute", 5, "idle_timeout_minute"),
        ("head_node_type", "hed", "head_node_type"),
        ("max_workers", -1, "-1"),
        ("provider/availability_zones", "a", "availability_zones"),
        ("provider/cache_stopped_nodes", "no", "'no'"),
        ("docker/image", ..., "image"),
        (f"{WORKER}/min_worker", 0, "min_worker"),
        (f"{WORKER}/resources/GPU", 0.5, "0.5"),
        ("worker_start_ray_commands/1", "ray start --adress=head:6379", "--adress"),
        ("worker_start_ray_commands/1", "ray start --num-cpus=four", "four"),
        ("head_start_ray_commands/1", "ray start --head 'unclosed", "SC1"),
    ],
)
def test_what_both_clouds_refuse(
    config: dict[str, Any], path: str, value: object, says: str
) -> None:
    assert says in "\n".join(errors(changed(config, path, value)))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (f"{WORKER}/node_config/InstanceTyp", "g6.xlarge", "InstanceTyp"),
        (f"{WORKER}/node_config/InstanceType", "g6.xlarg", "g6.xlarg"),
        (f"{WORKER}/node_config/InstanceMarketOptions/MarketType", "sport", "sport"),
        (f"{WORKER}/node_config/InstanceMarketOptions/SpotOption", {}, "SpotOption"),
        (f"{HEAD}/node_config/IamInstanceProfile/Nam", "x", "Nam"),
        (f"{HEAD}/node_config/BlockDeviceMappings/0/Ebs/VolumeSize", "100", "VolumeSize"),
        (f"{HEAD}/node_config/BlockDeviceMappings/0/Ebs/VolumeType", "gp33", "gp33"),
    ],
)
def test_what_aws_refuses(path: str, value: object, says: str) -> None:
    assert says in "\n".join(errors(changed(load("aws.yaml"), path, value)))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (f"{WORKER}/node_config/machine_type", "g2-standard-4", "machine_type"),
        (f"{WORKER}/node_config/machineType", 4, "machineType"),
        (f"{WORKER}/node_config/scheduling", [{"preemptible": True}], "scheduling"),
        (f"{WORKER}/node_config/scheduling/provisioningModel", "SPOTS", "SPOTS"),
        (f"{WORKER}/node_config/serviceAccounts/0/scope", "x", "scope"),
        (f"{HEAD}/node_config/disks/0/initializeParams/diskSizeGB", 9, "diskSizeGB"),
    ],
)
def test_what_gcp_refuses(path: str, value: object, says: str) -> None:
    assert says in "\n".join(errors(changed(load("gcp.yaml"), path, value)))


def test_idle_nodes_go_and_steps_stay_off_the_head(config: dict[str, Any]) -> None:
    head, worker = (
        config["available_node_types"]["head"],
        config["available_node_types"]["gpu_worker"],
    )
    assert config["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0}
    assert worker["min_workers"] == 0 < worker["max_workers"] <= config["max_workers"]
    assert config["idle_timeout_minutes"] <= 10
    assert config["provider"]["cache_stopped_nodes"] is False
    assert worker["resources"]["GPU"] == 1


def test_workers_are_spot_and_the_head_is_not() -> None:
    aws, gcp = (load(f"{cloud}.yaml")["available_node_types"] for cloud in CLOUDS)
    assert aws["gpu_worker"]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert "InstanceMarketOptions" not in aws["head"]["node_config"]
    scheduling = gcp["gpu_worker"]["node_config"]["scheduling"]
    assert scheduling["provisioningModel"] == "SPOT"
    assert scheduling["instanceTerminationAction"] == "DELETE"
    assert scheduling["preemptionNoticeDuration"]["seconds"] == GCP_SECONDS
    assert "scheduling" not in gcp["head"]["node_config"]


def test_workers_wait_for_the_notice_of_their_cloud(cloud: str, config: dict[str, Any]) -> None:
    watch = config["worker_start_ray_commands"][-1]
    found = re.search(r"python ~/unlearn_ray/(\S+) (\w+)", watch)
    assert found is not None
    assert found[2] == cloud
    assert cloud in NOTICES
    assert f"COPY {found[1]}" in (CLUSTER / "Dockerfile").read_text()
    # It must outlive the command that starts it.
    assert watch.startswith("RAY_ADDRESS=$RAY_HEAD_IP:6379 setsid nohup")
    assert watch.rstrip().endswith("&")


def test_every_node_gets_the_token(config: dict[str, Any]) -> None:
    assert config["file_mounts"] == {"/home/ray/.ray/auth_token": "~/.ray/auth_token"}
    assert "RAY_AUTH_MODE=token" in (CLUSTER / "Dockerfile").read_text()


def test_the_roles_of_aws_are_those_of_the_account() -> None:
    config, account = load("aws.yaml"), load("aws_account.yaml")
    made = {
        each["Properties"]["InstanceProfileName"]
        for each in account["Resources"].values()
        if each["Type"] == "AWS::IAM::InstanceProfile"
    }
    used = {
        each["node_config"]["IamInstanceProfile"]["Name"]
        for each in config["available_node_types"].values()
    }
    assert used == made
    head = account["Resources"]["HeadRole"]["Properties"]["Policies"][0]["PolicyDocument"]
    [mine] = [each["Condition"] for each in head["Statement"] if "Condition" in each]
    assert mine == {"StringEquals": {"aws:ResourceTag/ray-cluster-name": config["cluster_name"]}}
