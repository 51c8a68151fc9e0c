"""What a plan leaves: models, epochs, hours and money."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.cli.main import main
from unlearn_ray.config.auto_gpu import Devices, settled
from unlearn_ray.config.sweep_schema import Resources, Seeds
from unlearn_ray.core.errors import ConfigError, TrialError
from unlearn_ray.reporting.estimate import Part, by_the_clock, estimated, parts_of
from unlearn_ray.reporting.prices import Prices, read_prices
from unlearn_ray.reporting.work_view import estimate_view, work_view
from unlearn_ray.steps.base import Step
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import Plan, make_plan

SEARCHED = SWEEP.replace(
    "finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}",
    "finetune: {epochs: {int: [2, 6]}, batch_size: 128}",
).replace("tuning: [0]", "tuning: [0, 2]")
TWO_CPUS = Devices("on this machine", nodes=((2.0, 0.0),))


def fresh(folder: Path, text: str = SEARCHED) -> Plan:
    return make_plan(tiny_sweep(folder, text), open_store(str(folder / "store")))


def hour(step: Step, resources: Resources) -> float:
    return 3600.0


def test_models_and_epochs_of_a_fresh_plan(tmp_path: Path) -> None:
    parts = {part.what: part for part in parts_of(fresh(tmp_path))}
    assert {what: (part.models, part.epochs) for what, part in parts.items()} == {
        "pretrain for tuning": (2, "1"),
        "retrain for tuning": (2, "1"),
        "pretrain for reporting": (1, "1"),
        "retrain for reporting": (1, "1"),
        "observe, samples, measure for tuning": (2, ""),
        "observe, samples, measure for reporting": (2, ""),
        "trials of finetune": (2 * 20, "2 to 6"),
        "finetune on reporting seeds": (1, "2 to 6"),
    }
    shown = work_view(fresh(tmp_path))
    assert "trials of finetune" in shown
    assert len(shown.splitlines()) == 2 + len(parts)


def test_every_distinct_training_is_timed_once(tmp_path: Path) -> None:
    plan, asked = fresh(tmp_path), []

    def timed(step: Step, resources: Resources) -> float:
        asked.append(step.name)
        return 1800.0

    parts = estimated(plan, open_store(str(tmp_path / "store")), timed)
    assert sorted(asked) == ["pretrain", "retrain", "unlearn"]
    known = [part for part in parts if part.hours is not None]
    assert sum(part.hours or 0 for part in known) == pytest.approx((6 + 41) / 2)
    assert {part.source for part in parts} == {
        "timed here", "timed here, without measuring", "nothing tells"
    }  # fmt: skip


def test_a_training_that_fails_is_told(tmp_path: Path) -> None:
    def timed(step: Step, resources: Resources) -> float:
        raise TrialError("loss", "became NaN", "lower it")

    parts = estimated(fresh(tmp_path), open_store(str(tmp_path / "store")), timed)
    assert {part.seconds for part in parts} == {None}
    assert "not timed: loss: became NaN" in {part.source for part in parts}
    told = estimate_view(fresh(tmp_path), parts, TWO_CPUS, None)
    assert told.endswith("How long it takes is unknown.")


def test_records_tell_before_anything_is_timed(finished_sweep: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_sweep / "store", tmp_path / "store")
    store, sweep = open_store(str(tmp_path / "store")), tiny_sweep(tmp_path)
    more = replace(sweep, seeds=Seeds(tuning=(0,), reporting=(1, 5)))
    parts = {part.what: part for part in estimated(make_plan(more, store), store, None)}
    trained = parts["pretrain for reporting"]
    assert trained.models == 1
    assert trained.source == "records"
    assert trained.seconds is not None
    assert 0 < trained.seconds < 600
    reported = parts["finetune on reporting seeds"]
    assert reported.source == "records"
    assert parts["observe, samples, measure for reporting"].source == "records"
    # Records of CPUs tell nothing of GPUs.
    on_gpu = settled(more, Devices("there", 1.0), None)
    assert {part.seconds for part in estimated(make_plan(on_gpu, store), store, None)} == {None}


@pytest.mark.parametrize(("cpus", "hours"), [(1, 6 + 2 * 20 + 1), (2, 3 + 20 + 1)])
def test_the_clock_knows_how_many_run_at_a_time(tmp_path: Path, cpus: int, hours: float) -> None:
    plan = fresh(tmp_path)
    parts = estimated(plan, open_store(str(tmp_path / "store")), hour)
    seconds = by_the_clock(plan, parts, [(cpus, 0.0)])
    assert seconds / 3600 == pytest.approx(hours, rel=0.35)


def test_money(tmp_path: Path) -> None:
    plan = fresh(tmp_path)
    parts = estimated(plan, open_store(str(tmp_path / "store")), hour)
    told = estimate_view(plan, parts, TWO_CPUS, Prices("EUR", {"CPU": 0.5}))
    assert "In all about 47.00 CPU hours, without the lines that have none" in told
    assert "In money: at least 23.50 EUR." in told
    assert "In money: at least 0 EUR." in estimate_view(plan, parts, TWO_CPUS, Prices("EUR", {}))
    on_gpus = [replace(part, resources=Resources(gpu=0.25)) for part in parts]
    mixed = Devices("there", 2.0, ("NVIDIA H200", "Tesla T4"), nodes=((8.0, 2.0),))
    dearest = Prices("USD", {"h200": 4.0, "T4": 1.0})
    assert "In money: at least 47.00 USD." in estimate_view(plan, on_gpus, mixed, dearest)
    assert "11.75 GPU hours" in estimate_view(plan, on_gpus, mixed, None)


def test_the_longest_name_that_fits_has_the_price() -> None:
    prices = Prices("USD", {"A100": 1.0, "A100-SXM4-80GB": 2.0, "CPU": 0.1})
    assert prices.of("NVIDIA A100-SXM4-80GB") == 2.0
    assert prices.of("NVIDIA A100-PCIE-40GB") == 1.0
    assert prices.of("CPU") == 0.1
    assert prices.of("NVIDIA H200") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hour: {T4: 0.35}\n", None),
        ("currency: EUR\nhour: {}\n", None),
        ("currency: EUR\n", "hour: required, but missing"),
        ("hour: {T4: -1}\n", "must be greater than or equal to 0"),
        ("hour: {T4: cheap}\n", "must be a valid number"),
        ("hours: {T4: 1}\n", "unknown field"),
        ("hour: [T4\n", "prices.yaml"),
    ],
)
def test_price_files(tmp_path: Path, text: str, reason: str | None) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    if reason is None:
        assert read_prices(file).hour in ({"T4": 0.35}, {})
    else:
        with pytest.raises(ConfigError, match=reason):
            read_prices(file)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tiny.yaml").write_text(SWEEP)
    prices = tmp_path / "prices.yaml"
    prices.write_text("currency: EUR\nhour: {CPU: 0.04}\n")
    store = str(tmp_path / "store")
    command = ["plan", str(tmp_path / "tiny.yaml"), "--store", store]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "Computes on: " in out
    assert re.search(r"^pretrain for tuning +1 +1$", out, re.MULTILINE)
    assert main([*command, "--set=resources={training: {gpu: 0}, trial: {gpu: 0}}",
                 "--estimate", "--prices", str(prices)]) == 0  # fmt: skip
    told = capsys.readouterr()
    assert "timing pretrain (seed " in told.err
    assert "EUR" in told.out
    assert "CPU hours, without the lines that have none" in told.out
    assert not list((tmp_path / "store").glob("records/**/*.json"))
    assert main([*command, "--prices", str(prices)]) == 2
    assert "add --estimate" in capsys.readouterr().err


def test_a_part_without_duration_has_no_hours() -> None:
    assert Part("x", "x", 3, "", Resources()).hours is None
    assert Part("x", "x", 3, "", Resources(cpu=2), seconds=1800).hours == 3
