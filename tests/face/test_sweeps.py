"""`unlearn_ray.Sweep`: a sweep from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import unlearn_ray as ur
from tests.tiny import SWEEP
from unlearn_ray import results
from unlearn_ray.config.yaml_nodes import parse
from unlearn_ray.core.errors import BadInput, ConfigError

TINY: dict[str, Any] = {"name": "tiny", **parse(SWEEP, "tiny", "").plain}
SLOW = {"torch", "ray", "pandas", "numpy", "pyarrow", "rich", "yaml", "pydantic", "argparse"}


def test_importing_the_package_takes_no_time() -> None:
    program = "import json, sys, unlearn_ray; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert SLOW.isdisjoint(json.loads(done.stdout))


def test_a_finished_sweep(finished_sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(finished_sweep / "store")
    sweep = ur.Sweep.load(finished_sweep / "tiny.yaml")
    assert "Nothing is left to run." in str(sweep.plan(store))
    run = sweep.run(store)
    assert run.store.url == store
    assert run.plan.complete
    assert f"{run!r}" == f"Run('tiny', {store!r})"
    frame = run.frame()
    assert set(frame["sweep"]) == {"tiny"}
    assert len(frame) == len(results.load(store))
    table = run.table()
    assert results.main([store, "compare"]) == 0
    assert f"{table}\n" == capsys.readouterr().out
    assert list(table.frame()["study"])[:1] == ["retrain"]
    page = table._repr_html_()
    assert "<pre>" in page
    assert "retrain" in page


def test_a_dict_is_what_a_file_is(finished_sweep: Path) -> None:
    of_file = ur.Sweep.load(finished_sweep / "tiny.yaml")
    assert ur.Sweep.load(TINY) == of_file
    assert ur.Sweep.load(TINY).run(str(finished_sweep / "store")).plan.complete
    changed = ur.Sweep.load(TINY, sets=["search.trials=7"])
    assert changed.checked.search.trials == 7
    unnamed = {name: value for name, value in TINY.items() if name != "name"}
    assert ur.Sweep.load(unnamed).name == "sweep"
    assert ur.Sweep.load("quickstart").name == "quickstart"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a typo": ({"methods": {"finetune": {"lerning_rate": 1}}},
               r"^sweep: methods\.finetune\.lerning_rate: unknown field; did you mean learning"),
    "a bound": ({"methods": {"finetune": {"epochs": -1}}},
                r"^sweep: methods\.finetune\.epochs = -1"),
    "an object": ({"model": {"resnet8": {"width": object()}}},
                  r"^sweep: model\.resnet8\.width = .*no values of type object"),
    "in a list": ({"seeds": {"tuning": [0, {1}]}},
                  r"^sweep: seeds\.tuning\[1\] = \{1\}: .*type set"),
    "a number's name": ({"search": {1: 2}}, r"^sweep: search = 1: the name of a field is text"),
    "NaN": ({"budget": {"hours": float("nan")}}, r"^sweep: budget\.hours = "),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_errors_name_the_path_in_the_dict(case: str) -> None:
    changed, message = WRONG[case]
    with pytest.raises(ConfigError, match=message) as raised:
        ur.Sweep.load({**TINY, **changed})
    assert ":1:" not in str(raised.value)


def test_a_model_that_there_is_not(finished_sweep: Path) -> None:
    run = ur.Sweep.load(TINY).run(str(finished_sweep / "store"))
    with pytest.raises(BadInput, match=r"study finetun: .*did you mean finetune"):
        run.model("finetun", seed=0)
    with pytest.raises(BadInput, match=r"seed 99 replicate 0: finetune has no model of this run"):
        run.model("finetune", seed=99)


def test_models_are_those_of_the_table(finished_sweep: Path) -> None:
    run = ur.Sweep.load(TINY).run(str(finished_sweep / "store"))
    reported = run.frame()
    reported = reported[(reported["purpose"] == "reporting") & (reported["study"] == "finetune")]
    seed = int(reported["seed"].iloc[0])
    row = reported[reported["seed"] == seed].iloc[0]
    keys = {"finetune": "key_unlearn", "retrain": "key_retrained", "original": "key_original"}
    for study, column in keys.items():
        taken, stored = run.model(study, seed=seed), ur.load_model(run.store, row[column])
        known = stored.state_dict()
        assert all(torch.equal(known[name], each) for name, each in taken.state_dict().items())
