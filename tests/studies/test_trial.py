"""One trial under one seed: what it asks of the store, and what its row says that it cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.tiny import SWEEP, graph, run, run_references, runtime, tiny_sweep, trial
from unlearn_ray.config.sweep_schema import Resources, Sweep
from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.quantities.outputs import Outputs
from unlearn_ray.steps.kinds.measure import measures
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.trial import TrialSeed, reference_row, score
from unlearn_ray.train.compute import Compute, Machine

SEARCHED = SWEEP.replace("0.01", "{log_uniform: [0.001, 1.0e+30]}")
COLUMNS = ("accelerator_hours_unlearn", "accelerator_hours_measure")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return tiny_sweep(tmp_path_factory.mktemp("sweep"), SEARCHED)


@pytest.fixture(scope="module")
def store(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("store")
    run_references(sweep, 0, runtime(folder))
    return str(folder)


def at(whole: Sweep, learning_rate: float, number: int, **changes: Any) -> TrialSeed:
    (study,) = whole.studies
    fixed = replace(study, fixed={**study.fixed, "learning_rate": learning_rate}, space={})
    return replace(trial(whole, fixed, 0), number=number, **changes)


def hours(row: dict[str, Any]) -> list[Any]:
    return [row[column] for column in COLUMNS]


def test_a_trial_under_one_seed_costs_19_requests(sweep: Sweep, store: str) -> None:
    asked: list[tuple[str, str]] = []

    class Counting:
        def __getattr__(self, verb: str) -> Any:
            found = getattr(beneath, verb)
            if not callable(found):
                return found

            def ask(name: str, *data: bytes) -> Any:
                asked.append((verb, name.split("/")[0]))
                return found(name, *data)

            return ask

    beneath = open_store(store).objects
    here = Runtime(Store(Counting(), 30.0), Compute.cpu(), 600)  # type: ignore[arg-type]
    for number in (10, 11):  # the first reads records that the others know
        asked.clear()
        score(at(sweep, 0.001 * number, number), here)
    # Of the unlearned model, and of its outputs.
    both = [("read", "records"), ("create", "leases"), ("read", "records")]
    both += [("write", "artifacts"), ("create", "records"), ("delete", "leases")]
    metrics = [("read", "records"), ("create", "records")] * len(sweep.scored_by)
    once = [("write", "artifacts"), ("names", "checkpoints"), ("create", "rows")]  # loss curves
    assert Counter(asked) == Counter([*both, *both, *metrics, *once])


def test_a_row_counts_the_steps_that_were_run_for_it(sweep: Sweep, store: str) -> None:
    gpus = Resources(gpu=0.5, cpu=4)
    first = score(at(sweep, 0.02, 20, resources=gpus), runtime(store))
    opened = open_store(store)
    unlearn = Unlearn(setting=sweep.setting, seed=0, method=at(sweep, 0.02, 20).method)
    outputs = Observe(setting=sweep.setting, seed=0, model=unlearn, quantity=Outputs())
    steps = [unlearn, outputs, *measures(unlearn, sweep.scored_by)]
    records = [opened.record(step.name, step.key) for step in steps]
    seconds = [record.seconds for record in records if record is not None]
    assert len(seconds) == len(steps)
    both = seconds[0], sum(seconds[1:])
    assert hours(first.row) == pytest.approx([0.5 * each / 3600 for each in both])
    assert first.row["evaluation_seconds"] == pytest.approx(both[1])
    assert first.accelerator_hours == pytest.approx(sum(hours(first.row)))
    # As after a crash, in a process that ran nothing of it.
    assert score(at(sweep, 0.02, 20), runtime(store)).row == first.row
    # The same hyperparameters again, and the same trial in another sweep: nothing was run.
    for other in (at(sweep, 0.02, 21), at(sweep, 0.02, 20, sweep="other")):
        scored = score(other, runtime(store))
        assert hours(scored.row) == [0.0, 0.0]
        assert scored.accelerator_hours == 0.0
        assert scored.score == first.score


def test_a_row_says_what_every_step_behind_it_was_made_on(sweep: Sweep, store: str) -> None:
    trial = at(sweep, 0.02, 40)
    mine = score(trial, runtime(store)).row
    machine = runtime(store).compute.machine
    assert (mine["device"], mine["threads"], mine["kernels"]) == tuple(machine.facts().values())
    assert mine["made_on"] == str(machine)
    # The same again from a store whose retrained model came from another machine.
    opened = open_store(store)
    retrained = opened.record("retrain", str(mine["key_retrained"]))
    assert retrained is not None
    elsewhere = {**machine.facts(), "threads": 64}
    here = runtime(store)
    here.known.keep(replace(retrained, result={**retrained.result, **elsewhere}))
    other = score(at(sweep, 0.02, 41), here).row
    assert (other["device"], other["threads"]) == (machine.device, machine.threads)
    assert other["made_on"] == f"{machine}; {Machine(**elsewhere)}"


@pytest.mark.parametrize(("method", "other"), [(ORIGINAL, Retrain), (RETRAIN, Pretrain)])
def test_so_does_the_row_of_a_reference_model(
    sweep: Sweep, store: str, method: str, other: type[Pretrain]
) -> None:
    """The original's gap is to the retrained model; metrics compare that with the original."""
    whole = replace(sweep, metrics=sweep.scored_by)
    here = runtime(store)
    for step in measures(Pretrain(setting=sweep.setting, seed=0), whole.metrics):
        run(step, here)
    machine, known = here.compute.machine, here.known.of(other(setting=sweep.setting, seed=0))
    elsewhere = {**machine.facts(), "threads": 64}
    here.known.keep(replace(known, result={**known.result, **elsewhere}))
    row = reference_row(whole, 0, method, graph(here))[1]
    assert row["threads"] == machine.threads
    assert row["made_on"] == f"{machine}; {Machine(**elsewhere)}"


def test_a_failed_trial_has_its_price(sweep: Sweep, store: str) -> None:
    scored = score(at(sweep, 1e30, 30), runtime(store))
    assert scored.failure is not None
    assert scored.row["accelerator_hours_unlearn"] == scored.accelerator_hours > 0
    assert open_store(store).objects.names("leases/") == []
