"""A new kind of step is one file: it is planned, run on Ray, and shown, with no other edit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.tiny import SWEEP
from unlearn_ray.storage.store import open_store

KIND = '''\
"""Ensemble: the retrained models of all reporting seeds, together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.metrics.base import OUTPUTS
from unlearn_ray.steps.base import Request, Step
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.steps.runtime import Produced, Runtime


@register("ensemble")
@schema
class Ensemble(Step):
    """Accuracy on the test set of the mean of several models' outputs."""

    seeds: tuple[int, ...]

    @classmethod
    def of_references(cls, request: Request) -> Iterable[Step]:
        seeds = sorted((request.seed, *request.other_seeds))
        if request.reporting and request.seed == seeds[0]:
            yield cls(setting=request.setting, seed=seeds[0], seeds=seeds)

    def own_config(self) -> dict[str, Any]:
        return {}

    def inputs(self) -> dict[str, Step]:
        models = [Retrain(setting=self.setting, seed=seed) for seed in self.seeds]
        return {"samples": Samples(setting=self.setting, seed=self.seed)} | {
            f"outputs {m.seed}": Observe(setting=m.setting, seed=m.seed, model=m, quantity=OUTPUTS)
            for m in models
        }

    def run(self, runtime: Runtime) -> Produced:
        samples, *outputs = self.inputs().values()
        _, labels = runtime.samples(samples)
        each = [runtime.observation(one).samples["test"].softmax(dim=1) for one in outputs]
        right = sum(each).argmax(dim=1) == labels["test"]
        return Produced({}, {"test_accuracy": 100 * float(right.double().mean())})
'''

KEYS = """

def keys(store):
    from unlearn_ray.storage.store import open_store

    keys = {kind: key for key, kind in open_store(store).kinds().items()}
    return [keys["ensemble"], keys["samples"]]
"""

# In one process, as each import takes seconds.
USE = """\
import contextlib, io, sys
import ensemble
from unlearn_ray import results, sweep

file, store = sys.argv[1:]

def printed(main, *words):
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        assert main(list(words)) == 0
    return told.getvalue()

planned = printed(sweep.main, "plan", file)
assert planned.count("ensemble (seed 1)") == 1, planned
assert "1 ensemble" in planned, planned
printed(sweep.main, file)
assert "Nothing is left to run." in printed(sweep.main, "plan", file)
print(printed(sweep.main, "status", store, "--json"))
key = printed(results.main, store, "diff", *sys.modules["ensemble"].keys(store), "--format", "csv")
print(key)
"""


def test_a_kind_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "ensemble.py").write_text(KIND + KEYS)
    file, store = tmp_path / "tiny.yaml", tmp_path / "store"
    text = SWEEP.replace("reporting: [1]", "reporting: [1, 2]")
    file.write_text(f"{text}store: {store}\n")
    done = subprocess.run(
        [sys.executable, "-c", USE, str(file), str(store)],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    status, _, different = done.stdout.partition("\n")
    (told,) = json.loads(status)["sweeps"]
    assert told["references"]["ensemble"] == [1, 1]
    assert 'kind,"""ensemble""","""samples"""' in different
    opened = open_store(str(store))
    (key,) = opened.records("ensemble")
    record = opened.record("ensemble", key)
    assert record is not None
    assert {name for name in record.inputs if name.startswith("outputs")} == {
        "outputs 1", "outputs 2",
    }  # fmt: skip
    accuracies = [row["test_accuracy"] for row in opened.read_rows().to_pylist()]
    assert min(accuracies) - 20 < record.result["test_accuracy"] <= 100
