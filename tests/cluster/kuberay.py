"""What can be known offline to be wrong with a resource for KubeRay.

Its own fields are held against kuberay.schema.yaml, pods against the schema of Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.cluster.ray_up import ray_start_errors

KUBERNETES = "1.34"
_SCHEMA = yaml.safe_load((Path(__file__).parent / "kuberay.schema.yaml").read_text())
# A number with a suffix; Kubernetes' schema says no more than that it is a string or a number.
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?")


def errors(resource: dict[str, Any]) -> list[str]:
    """Everything that is wrong; empty if nothing is."""
    found = list(_schema(resource))
    if found:
        return found
    spec = resource["spec"].get("rayClusterSpec", resource["spec"])
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        found += _pod(group["template"])
        params = group["rayStartParams"].items()
        found += ray_start_errors([f"--{name}={value}" for name, value in params])
    return found


def _schema(resource: dict[str, Any]) -> Iterator[str]:
    kinds = {"RayCluster": "cluster", "RayJob": "job"}
    if resource.get("kind") not in kinds:
        yield f"kind: {resource.get('kind')}"
        return
    schema = {**_SCHEMA, "$ref": f"#/definitions/{kinds[resource['kind']]}"}
    for error in jsonschema.Draft7Validator(schema).iter_errors(resource):
        yield f"{error.json_path}: {error.message}"


def _pod(template: dict[str, Any]) -> Iterator[str]:
    resource = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}}
    try:
        kubernetes_validate.validate({**resource, "template": template}, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{error.json_path}: {error.message}"
        return
    for container in template["spec"]["containers"]:
        for kind in container["resources"].values():
            for name, value in kind.items():
                if not _QUANTITY.fullmatch(str(value)):
                    yield f"{container['name']}: {name}: {value} is no quantity"
        mounted = {each["name"] for each in container.get("volumeMounts", [])}
        if missing := mounted - {each["name"] for each in template["spec"].get("volumes", [])}:
            yield f"{container['name']}: no volume {missing}"
