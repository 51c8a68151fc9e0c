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
from unlearn_ray.storage.objects import ObjectStore
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


class Counting:
    """The objects of a store, and what is asked of them: verb and folder of each request."""

    def __init__(self, beneath: ObjectStore) -> None:
        self.beneath = beneath
        self.asked: Counter[tuple[str, str]] = Counter()

    def __getattr__(self, verb: str) -> Any:
        found = getattr(self.beneath, verb)
        if not callable(found):
            return found

        def ask(name: str | list[str], *data: bytes) -> Any:
            first = name if isinstance(name, str) else name[0]
            self.asked[verb, first.split("/")[0]] += 1
            return found(name, *data)

        return ask


def counted(url: str) -> tuple[Counting, Store]:
    objects = Counting(open_store(url).objects)
    return objects, Store(objects, 30.0)  # type: ignore[arg-type]


# Its lease, and whether a record appeared before that; weights and outputs, a record of all the
# steps, and the row: however many metrics there are.
OF_A_SEED = {
    ("create", "leases"): 1,
    ("read", "records"): 1,
    ("write", "artifacts"): 2,
    ("create", "records"): 1,
    ("create", "rows"): 1,
    ("delete", "leases"): 1,
}


def test_a_trial_under_one_seed_costs_seven_requests(sweep: Sweep, store: str) -> None:
    objects, opened = counted(store)
    here = Runtime(opened, Compute.cpu(), 600)
    for number in (10, 11):  # the first reads records that the others know
        objects.asked.clear()
        score(at(sweep, 0.001 * number, number), here)
    assert objects.asked == OF_A_SEED


def test_a_trial_of_two_seeds_costs_fifteen(
    sweep: Sweep, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With its claim, and its part in the merging of rows, which takes none for each of them."""
    objects, opened = counted(str(tmp_path_factory.mktemp("two")))
    here = Runtime(opened, Compute.cpu(), 600)
    for seed in (0, 1):
        run_references(sweep, seed, here)
    merged: dict[str, Any] = {}
    for number in range(3):
        if number == 1:
            objects.asked.clear()  # the first reads records that the others know
        opened.claims("study").take(number, {"x": number}, "driver", sweep.name)
        for seed in (0, 1):
            ran = at(sweep, 0.001 * (number + 1), number, seed=seed)
            merged[ran.row_name] = score(ran, here).row
    two_trials = {what: 4 * times for what, times in OF_A_SEED.items()}
    assert objects.asked == {("create", "claims"): 2, **two_trials}
    objects.asked.clear()
    assert opened.compact(merged) == 6
    assert {verb for verb, folder in objects.asked if folder == "rows"} == {"names", "delete_all"}
    assert objects.asked.total() <= 9
    assert opened.read_rows().num_rows == 6


def test_a_row_counts_the_steps_that_were_run_for_it(sweep: Sweep, store: str) -> None:
    gpus = Resources(gpu=0.5, cpu=4)
    first = score(at(sweep, 0.02, 20, resources=gpus), runtime(store))
    opened = open_store(store)
    unlearn = Unlearn(setting=sweep.setting, seed=0, method=at(sweep, 0.02, 20).method)
    outputs = Observe(setting=sweep.setting, seed=0, model=unlearn, quantity=Outputs())
    record = opened.record("unlearn", unlearn.key)
    assert record is not None
    steps = [outputs, *measures(unlearn, sweep.scored_by)]
    assert {one.key for one in record.sharing} == {step.key for step in steps}
    seconds = [each.seconds for each in (record, *record.sharing)]
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
