"""Replicates: models of one split that differ in their training seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from tests.tiny import SWEEP, finish, runtime, tiny_sweep, trial
from unlearn_ray.config.sweep_schema import Seeds, Sweep
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.keys import stable_seed
from unlearn_ray.core.runs import Run
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.steps.kinds.measure import measures
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.plan import make_plan

TEXT = SWEEP.replace("family: simclr", "family: supervised").replace(
    "[retain_accuracy, test_accuracy]", "[retain_accuracy, forget_accuracy, test_accuracy]"
)
SEARCHED = f"{TEXT}  tuning_replicates: 3\n  replicates: 2\nobjective: average_excess\n"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return tiny_sweep(tmp_path_factory.mktemp("sweep"), SEARCHED)


@pytest.fixture(scope="module")
def store(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with everything that the sweep wants."""
    folder = tmp_path_factory.mktemp("store")
    finish(sweep, runtime(folder))
    return open_store(str(folder))


def with_replicates(sweep: Sweep, replicates: int) -> Sweep:
    return replace(sweep, seeds=replace(sweep.seeds, replicates=replicates))


def missing(sweep: Sweep, store: Store) -> Counter[str]:
    plan = make_plan(sweep, store)
    steps = [*plan.references, *(each for study in plan.studies for each in study.reports)]
    return Counter(planned.step.name for planned in steps if not planned.stored)


def test_runs_are_every_replicate_of_every_seed() -> None:
    seeds = Seeds(tuning=(4, 5), reporting=(1, 2), replicates=2, tuning_replicates=3)
    assert seeds.runs == (Run(1, 0), Run(1, 1), Run(2, 0), Run(2, 1))
    assert seeds.tuning_runs == tuple(Run(seed, n) for seed in (4, 5) for n in range(3))
    assert Seeds().runs == tuple(Run(seed) for seed in Seeds().reporting)


def test_models_differ_by_replicate_and_their_samples_do_not(sweep: Sweep) -> None:
    setting, method = sweep.setting, sweep.studies[0].at({})
    for kind, fields in ((Pretrain, {}), (Retrain, {}), (Unlearn, {"method": method})):
        first, second = (kind(setting=setting, seed=1, replicate=n, **fields) for n in range(2))
        assert first.key != second.key
        assert first.training_seed == 1
        assert second.training_seed == stable_seed("replicate", 1, 1)
        assert (f"{second}".count("replicate 1"), f"{first}".count("replicate")) == (1, 0)
        measured = [measures(step, sweep.metrics)[0].key for step in (first, second)]
        assert measured[0] != measured[1]
    orders = {Samples(setting=setting, seed=1, replicate=n).key for n in range(2)}
    assert len(orders) == 1


def test_training_seeds_of_replicates_are_distinct(sweep: Sweep) -> None:
    setting = sweep.setting
    seeds = [Pretrain(setting=setting, seed=s, replicate=n).training_seed
             for s in range(20) for n in range(20)]  # fmt: skip
    assert len(set(seeds)) == 400


def test_every_run_has_a_row_of_its_own(sweep: Sweep, store: Store) -> None:
    rows = store.read_rows().to_pylist()
    runs = Counter((r["purpose"], r["study"], r["seed"], r["replicate"]) for r in rows)
    of_run = [("reporting", "finetune"), ("reference", "retrain"), ("reference", "original")]
    expected = {(*of, 1, replicate) for of in of_run for replicate in (0, 1)}
    assert set(runs) == expected | {("tuning", "finetune", 0, 0)}
    assert set(runs.values()) == {1}
    assert len({row["row"] for row in rows}) == len(rows)
    reported = [row for row in rows if row["purpose"] == "reporting"]
    assert len({row["key_unlearn"] for row in reported}) == 2
    assert len({row["key_original"] for row in reported}) == 2
    for row in reported:
        name = trial(sweep, sweep.studies[0], 1, row["replicate"]).row_name
        assert row["row"] == name
        assert name.endswith(f"-1-{row['replicate']}")


def test_a_tuning_row_holds_floors_and_excess_as_loops_compute_them(
    sweep: Sweep, store: Store
) -> None:
    (row,) = (r for r in store.read_rows().to_pylist() if r["purpose"] == "tuning")
    excesses = []
    for number, column in enumerate(("retain_accuracy", "forget_accuracy", "test_accuracy")):
        retrained = []
        for replicate in range(3):
            model = Retrain(setting=sweep.setting, seed=0, replicate=replicate)
            step = measures(model, sweep.metrics)[number]
            record = store.record(step.name, step.key)
            assert record is not None
            retrained.append(record.value("values", dict[str, float])[column])
        pairs = [abs(a - b) for a, b in combinations(retrained, 2)]
        floor = sum(pairs) / 3
        assert row[f"{column}_floor"] == pytest.approx(floor)
        distance = sum(abs(row[column] - each) for each in retrained) / 3
        excesses.append(distance / max(floor, 0.1))
        assert row[f"{column}_excess"] == pytest.approx(excesses[-1])
        assert row[f"{column}_retrained"] == retrained[0]
    assert row["average_excess"] == pytest.approx(sum(excesses) / 3)
    assert row["score"] == row["average_excess"]


def test_tuning_replicates_need_no_originals(sweep: Sweep, store: Store) -> None:
    of_tuning = [Pretrain(setting=sweep.setting, seed=0, replicate=n) for n in range(3)]
    assert [store.record(step.name, step.key) is not None for step in of_tuning] == [
        True, False, False,
    ]  # fmt: skip
    retrained = [step.same(Retrain) for step in of_tuning]
    assert all(store.record(step.name, step.key) is not None for step in retrained)


def test_more_replicates_later_train_only_the_new_ones(sweep: Sweep, store: Store) -> None:
    assert missing(sweep, store) == Counter()
    assert make_plan(sweep, store).complete
    more = missing(with_replicates(sweep, 5), store)
    # Three metrics of outputs of both reference models and of the unlearned one.
    assert more == {"pretrain": 3, "retrain": 3, "unlearn": 3, "observe": 9, "measure": 27}
    assert make_plan(with_replicates(sweep, 1), store).complete
    plan = make_plan(with_replicates(sweep, 5), store)
    assert not plan.complete
    assert "Reporting (seeds 1; 5 replicates each)" in plan_view(plan, "store")
    assert [study.left for study in plan.studies] == [0]


def test_replicates_are_positive(tmp_path: Path) -> None:
    for field in ("replicates", "tuning_replicates"):
        with pytest.raises(ConfigError, match=rf"tiny.yaml:\d+: seeds.{field} = 0"):
            tiny_sweep(tmp_path, f"{TEXT}  {field}: 0\n")
