"""A new kind of step is one file: it is planned, run on Ray, and shown, with no other edit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

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


def test_a_kind_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "ensemble.py").write_text(KIND)
    text = SWEEP.replace("reporting: [1]", "reporting: [1, 2]")
    (tmp_path / "tiny.yaml").write_text(f"{text}store: {tmp_path}/store\n")

    def command(*words: str) -> str:
        module, *rest = words
        program = f"import sys, ensemble; from unlearn_ray.{module} import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", program, *rest],
            env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    sweep, store = str(tmp_path / "tiny.yaml"), str(tmp_path / "store")
    planned = command("sweep", "plan", sweep)
    assert planned.count("ensemble (seed 1)") == 1
    command("sweep", sweep)
    assert "ensemble (seed 1)" in command("sweep", "plan", sweep)
    assert "Nothing is left to run." in command("sweep", "plan", sweep)
    status = json.loads(command("sweep", "status", store, "--json"))
    (told,) = status if isinstance(status, list) else [status]
    assert told["references"]["ensemble"] == [1, 1]
    opened = open_store(store)
    (key,) = opened.records("ensemble")
    record = opened.record("ensemble", key)
    assert record is not None
    seeds = {entry for entry in record.inputs if entry.startswith("outputs")}
    assert seeds == {"outputs 1", "outputs 2"}
    accuracies = [row["test_accuracy"] for row in opened.read_rows().to_pylist()]
    assert 0 < record.result["test_accuracy"] <= 100
    assert record.result["test_accuracy"] > np.min(accuracies) - 20
    different = command("results", store, "diff", key, record.inputs["samples"], "--format", "csv")
    assert 'kind,"""ensemble""","""samples"""' in different
