"""Samples that a person names: trained on, all forgotten, and in keys only where they matter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import SWEEP, run, runtime, tiny_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.data.forget_sets.ids import Ids
from unlearn_ray.data.splits import Masks, training_ids, validation_ids
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.steps.setting import BankSetting, Setting

SIZE = 1437
HELD_OUT = validation_ids(SIZE, 0.5, 0).tolist()
TRAINED_ON = training_ids(SIZE, 0.5, 0).tolist()


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return tiny_sweep(tmp_path, SWEEP)


def naming(sweep: Sweep, folder: Path, *samples: int) -> Setting:
    file = folder / f"{'-'.join(map(str, samples))}.txt"
    file.write_text("\n".join(map(str, samples)))
    forget_set = Ids(file=str(file))
    forget_set.check(sweep.setting.dataset.info(), 0)
    return replace(sweep.setting, forget_set=forget_set)


def test_an_original_is_shared_unless_its_validation_set_differs(
    sweep: Sweep, tmp_path: Path
) -> None:
    usual = Pretrain(setting=sweep.setting, seed=0).key
    first, second, last = HELD_OUT[0], HELD_OUT[1], TRAINED_ON[-1]

    def key(*samples: int) -> str:
        return Pretrain(setting=naming(sweep, tmp_path, *samples), seed=0).key

    assert key(last) == usual
    assert key(first) != usual
    assert key(first) == key(first, last)
    assert len({usual, key(first), key(second), key(first, second)}) == 4
    # The sample drawn in place of the first one is named, too: another is.
    assert key(first, TRAINED_ON[0]) != key(first)
    without = replace(naming(sweep, tmp_path, first), validation=0)
    assert Pretrain(setting=without, seed=0).key == (
        Pretrain(setting=replace(sweep.setting, validation=0), seed=0).key
    )


def test_a_bank_does_not_depend_on_who_is_named(sweep: Sweep, tmp_path: Path) -> None:
    masks = Masks(samples=100)
    keys = {
        Pretrain(setting=BankSetting.of(setting, masks), seed=0).key
        for setting in (sweep.setting, naming(sweep, tmp_path, HELD_OUT[0]))
    }
    assert len(keys) == 1


def sets(setting: Setting, here: Runtime) -> dict[str, set[int]]:
    step = Samples(setting=setting, seed=0)
    run(step, here)
    ids, _ = here.samples(step)
    return {part: set(of_set.tolist()) for part, of_set in ids.items()}


def test_models_are_trained_on_named_samples(sweep: Sweep, tmp_path: Path) -> None:
    here, named = runtime(tmp_path / "store"), (*HELD_OUT[:3], TRAINED_ON[0])
    found = sets(naming(sweep, tmp_path, *named), here)
    assert found["forget"] == set(named)
    assert not found["validation"] & set(named)
    assert len(found["validation"]) == len(HELD_OUT)
    assert found["forget"] | found["retain"] | found["validation"] == set(range(SIZE))
    # Three others are held out in their place: the model is another one.
    original, same = (
        Pretrain(setting=naming(sweep, tmp_path, *ids), seed=0)
        for ids in (named, (*named, TRAINED_ON[-1]))
    )
    assert original.key == same.key
    assert original.same(Retrain).key != same.same(Retrain).key
    assert run(original, here).ran
    assert not run(same, here).ran
