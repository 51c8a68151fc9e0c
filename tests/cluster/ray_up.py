"""What can be known offline to be wrong with a file for `ray up`.

Ray's own validation lets typos under `provider` and `node_config` pass. The keys of `provider`
are held against those that Ray's schema names; a node's configuration against what the cloud's
own client library knows of the request that it becomes.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import botocore.session
import click
import jsonschema
import ray.autoscaler
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start as ray_start

from tests.cluster.files import PROGRAMS


def errors(config: dict[str, Any]) -> list[str]:
    """Everything that is wrong; empty if nothing is."""
    found = [*_ray(config), *_provider(config["provider"])]
    check = {"aws": _aws, "gcp": _gcp}[config["provider"]["type"]]
    for name, node_type in config["available_node_types"].items():
        found += [f"{name}: {error}" for error in check(node_type["node_config"])]
    for key in ("initialization_commands", "setup_commands"):
        found += [error for command in config[key] for error in _shell(command)]
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[key]:
            found += [*_shell(command), *_ray_start(command)]
    return found


def _ray(config: dict[str, Any]) -> Iterator[str]:
    try:
        validate_config(prepare_config(config))
    except (jsonschema.ValidationError, ValueError, AssertionError) as error:
        yield f"Ray: {error}"


def _provider(provider: dict[str, Any]) -> Iterator[str]:
    schema = json.loads(files(ray.autoscaler).joinpath("ray-schema.json").read_text())
    strict = {**schema["properties"]["provider"], "additionalProperties": False}
    for error in jsonschema.Draft7Validator(strict).iter_errors(provider):
        yield f"provider: {error.message}"


def _aws(node: dict[str, Any]) -> Iterator[str]:
    shape = _run_instances()
    request = {**node, "MinCount": 1, "MaxCount": 1}
    report = ParamValidator().validate(request, shape)
    if report.has_errors():
        yield report.generate_report()
    yield from _not_in_enum(shape, request, "")


@cache
def _run_instances() -> Any:
    model = botocore.session.Session().get_service_model("ec2")
    return model.operation_model("RunInstances").input_shape


def _not_in_enum(shape: Any, value: Any, path: str) -> Iterator[str]:
    """botocore knows the values of an enum, but does not hold a request to them."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            if name in value:
                yield from _not_in_enum(member, value[name], f"{path}.{name}")
    elif shape.type_name == "list":
        for each in value:
            yield from _not_in_enum(shape.member, each, path)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{path}: {value} is none of EC2's values"


def _gcp(node: dict[str, Any]) -> Iterator[str]:
    validator = jsonschema.Draft7Validator({"$ref": "#/schemas/Instance", **_compute_schemas()})
    for error in validator.iter_errors(node):
        yield f"{error.json_path}: {error.message}"


@cache
def _compute_schemas() -> dict[str, Any]:
    """The schemas of Compute Engine's API as Google's client ships them, as JSON schemas."""
    documents = files("googleapiclient.discovery_cache.documents")
    schemas = json.loads(documents.joinpath("compute.v1.json").read_text())["schemas"]
    return {"schemas": {name: _json_schema(each) for name, each in schemas.items()}}


def _json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return {"$ref": f"#/schemas/{schema['$ref']}"}
    found: dict[str, Any] = {"type": schema["type"]} if schema["type"] != "any" else {}
    if schema.get("format") in ("int64", "uint64"):
        # JSON's numbers are too small for all of them; the API takes both.
        found["type"] = ["string", "integer"]
    if "enum" in schema:
        found["enum"] = schema["enum"]
    if "items" in schema:
        found["items"] = _json_schema(schema["items"])
    if "properties" in schema:
        properties = schema["properties"].items()
        found["properties"] = {name: _json_schema(each) for name, each in properties}
        found["additionalProperties"] = False
    if "additionalProperties" in schema:
        found["additionalProperties"] = _json_schema(schema["additionalProperties"])
    return found


def _shell(command: str) -> Iterator[str]:
    check = subprocess.run(
        [str(PROGRAMS / "shellcheck"), "--shell=bash", "--severity=warning", "-"],
        input=command,
        capture_output=True,
        text=True,
    )
    if check.returncode:
        yield check.stdout


def _ray_start(command: str) -> Iterator[str]:
    if not command.startswith("ray start"):
        return
    yield from ray_start_errors(command.split()[2:])


def ray_start_errors(options: list[str]) -> Iterator[str]:
    """Unknown options of `ray start`, or values of the wrong type."""
    context = click.Context(ray_start)
    try:
        given, rest, _ = ray_start.make_parser(context).parse_args(options)
        if rest:
            yield f"ray start: {rest} is no option"
        for parameter in ray_start.params:
            if parameter.name in given:
                parameter.type_cast_value(context, given[parameter.name])
    except click.UsageError as error:
        yield f"ray start: {error.format_message()}"
