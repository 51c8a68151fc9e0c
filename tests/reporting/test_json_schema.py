"""The JSON Schema of sweep files: it takes every sweep that comes with the package, and no typo."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.tiny import SWEEP
from unlearn_ray.cli.main import main
from unlearn_ray.config.bundled import bundled
from unlearn_ray.config.yaml_file import read_tree
from unlearn_ray.config.yaml_nodes import parse
from unlearn_ray.core.registry import parts
from unlearn_ray.methods.base import Method
from unlearn_ray.reporting.json_schema import json_schema


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(json.dumps(json_schema()))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", bundled())
def test_it_takes_every_bundled_sweep(validator: Draft202012Validator, name: str) -> None:
    content = read_tree(bundled()[name]).plain
    assert [error.message for error in validator.iter_errors(content)] == []


TINY: dict[str, Any] = parse(SWEEP, "tiny", "").plain


def test_it_takes_a_small_sweep(validator: Draft202012Validator) -> None:
    assert validator.is_valid(TINY)


WRONG: list[tuple[str, Any]] = [
    ("dataset", "digit"),
    ("dataset", {"digits": {"size": 8}}),
    ("dataset", {"digits": {}, "cifar10": {}}),
    ("model", {"resnet8": {"width": 0}}),
    ("forget_set", {"random": {"fraction": "half"}}),
    ("forget_set", "classes"),
    ("training", {"epoch": 1}),
    ("training", {"epochs": 1.5}),
    ("methods", {}),
    ("methods", {"finetune": {"learning_rate": -1}}),
    ("methods", {"finetune": {"learning_rate": {"uniform": [0.1]}}}),
    ("methods", {"finetune": {"learning_rate": {"normal": [0.1, 0.2]}}}),
    ("methods", {"finetune": {"lerning_rate": 0.1}}),
    ("methods", {"mine": {"finetun": {}}}),
    ("metrics", ["retain_acuracy"]),
    ("metrics", "retain_accuracy"),
    ("seeds", {"tuning": [-1]}),
    ("search", {"trials": 0}),
    ("resources", {"trial": {"gpu": -1}}),
    ("resources", {"training": {"workers": {"min": 1}}}),
    ("bank", {"models": 6}),
    ("log", ["tensorbord"]),
    ("storage", "./store"),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=str)
def test_it_refuses_what_is_wrong(
    validator: Draft202012Validator, field: str, value: object
) -> None:
    assert not validator.is_valid({**TINY, field: value})


@pytest.mark.parametrize("field", ["dataset", "forget_set", "model", "family", "methods"])
def test_it_asks_for_what_a_sweep_must_have(validator: Draft202012Validator, field: str) -> None:
    content = deepcopy(TINY)
    del content[field]
    (error,) = validator.iter_errors(content)
    assert f"'{field}' is a required property" in error.message


RIGHT: list[tuple[str, Any]] = [
    ("dataset", {"image_folder": {"path": "./images"}}),
    ("methods", {"finetune": None, "short": {"finetune": {"epochs": 1}}, "again": "scrub"}),
    ("methods", {"finetune": {"learning_rate": {"log_uniform": [0.001, 0.1]}}}),
    ("methods", {"finetune": {"epochs": {"choice": [1, 2]}, "learning_rate": 1}}),
    ("log", "tensorboard"),
    ("scores", ["u_lira", {"rmia": {}}]),
    ("sparsity", {"method": "omp", "fraction": 0.95}),
    ("validation", 0.1),
    ("validation", 100),
    ("budget", {"hours": None}),
    ("resources", {"training": {"workers": {"min": 1, "max": 4}}}),
]


@pytest.mark.parametrize(("field", "value"), RIGHT, ids=str)
def test_it_takes_what_sweep_files_may_say(
    validator: Draft202012Validator, field: str, value: object
) -> None:
    errors = [error.message for error in validator.iter_errors({**TINY, field: value})]
    assert errors == []


def test_it_describes_fields_and_parts() -> None:
    schema = json_schema()
    assert {f"method.{name}" for name in parts(Method)} <= schema["$defs"].keys()
    scrub = schema["$defs"]["method.scrub"]
    assert len(scrub["description"]) > 20
    fields = scrub["anyOf"][0]["properties"]
    described = [name for name, field in fields.items() if "description" in field]
    assert {"learning_rate", "epochs", "rewind"} <= set(described)
    assert schema["properties"]["search"]["properties"]["trials"]["default"] == 20


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(json_schema()))
