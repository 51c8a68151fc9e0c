"""Memorisation from a bank's stored outputs, by a file, to a forget set; no model is loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.tiny import SWEEP, run, runtime, tiny_sweep
from unlearn_ray import results
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import BadInput, Exit
from unlearn_ray.data.splits import masked_split, split
from unlearn_ray.metrics.base import OUTPUTS
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.bank import bank_models
from unlearn_ray.studies.memorisation import estimates
from unlearn_ray.studies.plan import make_plan

MODELS, SAMPLES = 4, 60
BANK = (
    SWEEP.replace("family: simclr", "family: supervised").replace("epochs: 1, b", "epochs: 4, b")
    + f"bank: {{models: {MODELS}, samples: {SAMPLES}, seed: 7, retrained: false}}\nscores: []\n"
)


def wanted(sweep: Sweep) -> list[Step]:
    """What the base models leave."""
    return [
        step
        for base in bank_models(sweep)
        for step in (base.same(Samples), base.same(Observe, model=base, quantity=OUTPUTS))
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep file, and a store with its bank."""
    folder = tmp_path_factory.mktemp("bank")
    sweep, here = tiny_sweep(folder, BANK), runtime(folder / "store")
    steps = wanted(sweep)
    for step in steps[:-1]:
        run(step, here)
    there = f"outputs of {MODELS - 1} of its {MODELS} base models are in "
    with pytest.raises(BadInput, match=f"bank of sweep tiny: {there}.*; run the sweep with"):
        estimates(sweep, here.store)
    run(steps[-1], here)
    return folder


def test_estimates_are_those_of_a_loop_over_models(folder: Path) -> None:
    sweep, here = tiny_sweep(folder, BANK), runtime(folder / "store")
    found = estimates(sweep, here.store)
    assert list(found) == [
        "sample", "memorisation", "standard_error", "in_accuracy", "out_accuracy",
    ]  # fmt: skip
    right: dict[int, dict[bool, list[bool]]] = {}
    labels = sweep.setting.dataset.known_labels()
    assert labels is not None
    for base in bank_models(sweep):
        masks = base.setting.masks
        assert masks is not None
        of = masked_split(labels, 0.5, masks, 7, base.replicate)
        outputs = here.observation(base.same(Observe, model=base, quantity=OUTPUTS)).samples
        # In the order of the step `samples`: unseen ones are validation, then held out.
        for part, ids in (
            ("forget", of.forget), ("retain", of.retain), ("validation", of.unseen),
        ):  # fmt: skip
            for sample, row in zip(ids.tolist(), outputs[part].tolist(), strict=True):
                if sample not in set(of.validation.tolist()):
                    sides = right.setdefault(sample, {True: [], False: []})
                    sides[part != "validation"].append(row.index(max(row)) == labels[sample])
    assert len(found) == SAMPLES
    for row in found.to_dict("records"):
        inside, outside = (right[int(row["sample"])][side] for side in (True, False))
        assert len(inside) == len(outside) == MODELS // 2
        assert row["in_accuracy"] == sum(inside) / len(inside)
        assert row["out_accuracy"] == sum(outside) / len(outside)
        assert row["memorisation"] == row["in_accuracy"] - row["out_accuracy"]
    assert found["memorisation"].nunique() > 1
    assert (found["standard_error"] > 0).all()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_file_becomes_a_forget_set(ending: str, folder: Path, tmp_path: Path) -> None:
    for model in (folder / "store").rglob("model.safetensors"):
        model.unlink()
    file = tmp_path / f"estimates.{ending}"
    sweep_file, store = str(folder / "tiny.yaml"), str(folder / "store")
    (folder / "tiny.yaml").write_text(BANK)
    assert results.main([store, "memorisation", sweep_file, "--output", str(file)]) == 0
    read = pd.read_csv if ending == "csv" else pd.read_parquet
    frame = read(file).astype({"sample": int}).set_index("sample")["memorisation"]
    ranked: dict[str, np.ndarray] = {}
    for group in ("low", "mid", "high"):
        forget_set = f"{{memorised: {{file: {file}, group: {group}, count: 8}}}}"
        text = SWEEP.replace("{random: {fraction: 0.1}}", forget_set)
        sweep = tiny_sweep(tmp_path, text)
        view = plan_view(make_plan(sweep, open_store(str(tmp_path / "store"))), "here")
        assert f"samples of {group} memorisation, of {SAMPLES} with estimates" in view
        assert "8 of 719 samples that are trained on" in view
        parts = split(np.zeros(1437, np.int64), 0.5, sweep.setting.forget_set, 0)
        ranked[group] = np.sort(frame[parts.forget])
    assert (ranked["low"] <= ranked["mid"]).all()
    assert (ranked["mid"] <= ranked["high"]).all()
    assert ranked["low"].mean() < ranked["high"].mean()


def test_both_formats_hold_the_same_numbers(folder: Path, tmp_path: Path) -> None:
    (folder / "tiny.yaml").write_text(BANK)
    arguments = [str(folder / "store"), "memorisation", str(folder / "tiny.yaml"), "--output"]
    for name in ("a.csv", "a.parquet"):
        assert results.main([*arguments, str(tmp_path / name)]) == 0
    text, binary = pd.read_csv(tmp_path / "a.csv"), pd.read_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(
        text.astype({"sample": str}), binary.astype({"sample": str}), check_exact=True
    )


def test_what_the_command_refuses(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(text: str, *options: str) -> str:
        (tmp_path / "x.yaml").write_text(text)
        arguments = [str(folder / "store"), "memorisation", str(tmp_path / "x.yaml"), *options]
        assert results.main(arguments) == Exit.BAD_INPUT
        captured = capsys.readouterr()
        assert captured.out == ""
        (line,) = captured.err.splitlines()
        return line

    assert "sweep tiny: has no bank" in told(SWEEP)
    more = told(BANK, "--set", "bank.models=8")
    assert f"outputs of {MODELS} of its 8 base models are in" in more
    assert "set bank.models to fewer" in more
    other = told(BANK, "--set", "training.epochs=3")
    assert f"outputs of 0 of its {MODELS} base models are in" in other
    assert "name it .csv or .parquet" in told(BANK, "--output", str(tmp_path / "estimates"))


def test_the_table_is_printed_without_a_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "tiny.yaml").write_text(BANK)
    arguments = [str(folder / "store"), "memorisation", str(folder / "tiny.yaml")]
    assert results.main(arguments) == 0
    assert len(capsys.readouterr().out.splitlines()) > SAMPLES
