"""Sparse sweeps: the file, the steps and their keys, the plan, and a whole one that runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.steps.test_steps import StopAt, equal, tensors
from tests.tiny import SWEEP, graph, run, runtime, tiny_sweep, trial
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import BadInput, ConfigError, StopRequested
from unlearn_ray.core.runs import ORIGINAL, RETRAIN
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.steps.setting import Setting
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.plan import make_plan, reference_steps
from unlearn_ray.studies.trial import reference_row, score
from unlearn_ray.train.sparsity import Sparsity


def sweep_of(folder: Path, sparsity: str, text: str = SWEEP) -> Sweep:
    folder.mkdir(exist_ok=True)
    return tiny_sweep(folder, f"{text}sparsity: {sparsity}\n")


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return tiny_sweep(tmp_path).setting


def sparse(setting: Setting, method: Any, fraction: float = 0.5) -> Setting:
    return replace(setting, sparsity=Sparsity(method=method, fraction=fraction))


def chain(step: Pretrain) -> list[Pretrain]:
    """A step, and the trainings before it, the first one first."""
    return [step] if step.ranked is None else [*chain(step.ranked), step]


def run_with_inputs(step: Step, runtime: Runtime) -> None:
    for wanted in step.inputs().values():
        run_with_inputs(wanted, runtime)
    run(step, runtime)


def masks_and_weights(state: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Each mask with its weight, by name: a file has them in any order."""
    found = [
        (kept, state[f"backbone.{name.removeprefix('sparsity.').replace('/', '.')}"])
        for name, kept in sorted(state.items())
        if name.startswith("sparsity.")
    ]
    assert len(found) == 1 + 3 * 2 + 2
    return found


def pruned_share(state: dict[str, Tensor]) -> float:
    masks = [kept for kept, _ in masks_and_weights(state)]
    return sum(int((~kept).sum()) for kept in masks) / sum(kept.numel() for kept in masks)


# The file


def test_a_sweep_file_says_what_is_sparse(tmp_path: Path) -> None:
    found = sweep_of(tmp_path, "{method: imp, fraction: 0.9}").setting.sparsity
    assert found == Sparsity(method="imp", fraction=0.9)
    assert sweep_of(tmp_path, "null").setting == tiny_sweep(tmp_path).setting


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("{method: omp, fraction: 1}", "sparsity.fraction = 1: must be less than 1"),
        ("{method: omp, fraction: 0}", "sparsity.fraction = 0: must be greater than 0"),
        ("{method: snip, fraction: 0.5}", r"sparsity.method = snip: must be 'omp', 'imp' or"),
        ("{method: omp}", "sparsity.fraction: required, but missing"),
        ("{method: omp, fracton: 0.5}", r"sparsity.fracton: unknown field; did you mean fraction"),
        ("0.95", r"sparsity = 0.95: .*give \{method, fraction\} or null"),
    ],
)
def test_a_sparsity_that_is_none(given: str, error: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"tiny.yaml:\d+: {error}"):
        sweep_of(tmp_path, given)


def test_synflow_is_refused_where_paths_are_no_products(tmp_path: Path) -> None:
    text = SWEEP.replace("{resnet8: {width: 4}}", "{vit_small: {patch: 4, width: 12, layers: 1}}")
    sweep_of(tmp_path, "{method: omp, fraction: 0.5}", text)
    with pytest.raises(ConfigError, match=r"sparsity: synflow follows paths .* vit_small"):
        sweep_of(tmp_path, "{method: synflow, fraction: 0.5}", text)


# Keys


def test_what_is_trained_first_is_what_other_sweeps_train(setting: Setting) -> None:
    for kind in (Pretrain, Retrain):
        dense = kind(setting=setting, seed=0)
        assert dense.inputs() == {}
        omp = kind(setting=sparse(setting, "omp", 0.95), seed=0)
        assert [step.key for step in chain(omp)[:-1]] == [dense.key]
        rounds = chain(kind(setting=sparse(setting, "imp", 0.95), seed=0))
        assert len(rounds) == 1 + 14
        assert rounds[0].key == dense.key
        other = chain(kind(setting=sparse(setting, "imp", 0.5), seed=0))
        assert [step.key for step in other[:-1]] == [step.key for step in rounds[:4]]
        assert kind(setting=sparse(setting, "synflow", 0.95), seed=0).inputs() == {}
        assert all(type(step) is kind for step in rounds)


def test_sparsity_names_every_model(setting: Setting) -> None:
    settings = [
        setting,
        *(sparse(setting, method, f) for method in ("omp", "imp", "synflow") for f in (0.5, 0.9)),
    ]
    for kind in (Pretrain, Retrain):
        assert len({kind(setting=each, seed=0).key for each in settings}) == len(settings)


# Plans


def test_a_plan_names_what_is_trained_first(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    plan = make_plan(sweep_of(tmp_path, "{method: imp, fraction: 0.4}"), store)
    lines = [re.split(r"  +", line.strip()) for line in plan_view(plan, store.url).splitlines()]
    named = [line[0] for line in lines if len(line) == 3 and not line[0].startswith("samples")]
    rounds = ["", ", 20 % sparse by imp", ", 36 % sparse by imp", ", 40 % sparse by imp"]
    expected = []
    for seed in (0, 1):
        expected += [f"pretrain (seed {seed}){each}" for each in rounds]
        expected += [f"retrain (seed {seed}){each}" for each in rounds]
        expected.append(f"measure retrain (seed {seed}){rounds[-1]}")
    expected.append(f"measure pretrain (seed 1){rounds[-1]}")
    assert named == expected
    assert f"To run: {len(plan.references)} of {len(plan.references)} ref" in plan_view(plan, "")
    position = {planned.step.key: i for i, planned in enumerate(plan.references)}
    for planned in plan.references:
        for wanted in planned.step.inputs().values():
            assert position[wanted.key] < position[planned.step.key]


def test_a_dense_plan_is_what_it_was(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path)
    names = [str(step) for step in reference_steps(sweep, 1)]
    assert names[:2] == ["pretrain (seed 1)", "retrain (seed 1)"]
    assert not any("sparse" in name for name in names)


# Runs


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Setting, Store]:
    """A store with 40 % sparse originals and retrained models by every method, of seed 0."""
    folder = tmp_path_factory.mktemp("pruned")
    dense = tiny_sweep(folder).setting
    here = runtime(folder / "store")
    for method in ("omp", "imp", "synflow"):
        for kind in (Pretrain, Retrain):
            run_with_inputs(kind(setting=sparse(dense, method, 0.4), seed=0), here)
    return dense, here.store


@pytest.mark.parametrize("method", ["omp", "imp", "synflow"])
@pytest.mark.parametrize("kind", [Pretrain, Retrain])
def test_a_pruned_model_is_zero_where_its_masks_say_so(
    method: str, kind: type[Pretrain], pruned: tuple[Setting, Store]
) -> None:
    dense, store = pruned
    step = kind(setting=sparse(dense, method, 0.4), seed=0)
    state = tensors(step, store)
    assert pruned_share(state) == pytest.approx(0.4, abs=1e-3)
    for kept, weight in masks_and_weights(state):
        assert torch.equal(weight != 0, kept)
    for before in chain(step)[1:-1]:
        assert before.setting.sparsity is not None
        earlier = tensors(before, store)
        assert pruned_share(earlier) == pytest.approx(before.setting.sparsity.fraction, abs=1e-3)
        for (kept, _), (kept_earlier, _) in zip(
            masks_and_weights(state), masks_and_weights(earlier), strict=True
        ):
            assert not bool((kept & ~kept_earlier).any())


def test_the_smallest_trained_weights_go(pruned: tuple[Setting, Store]) -> None:
    dense, store = pruned
    for kind in (Pretrain, Retrain):
        trained = tensors(kind(setting=dense, seed=0), store)
        state = tensors(kind(setting=sparse(dense, "omp", 0.4), seed=0), store)
        names = [n.removeprefix("sparsity.") for n in state if n.startswith("sparsity.")]
        weights = {name: trained[f"backbone.{name.replace('/', '.')}"].abs() for name in names}
        gone = torch.cat([weights[name][~state[f"sparsity.{name}"]] for name in names])
        stays = torch.cat([weights[name][state[f"sparsity.{name}"]] for name in names])
        assert float(gone.max()) <= float(stays.min())


def test_the_retrained_models_masks_are_its_own(pruned: tuple[Setting, Store]) -> None:
    dense, store = pruned

    def masks(kind: type[Pretrain], method: str) -> list[Tensor]:
        state = tensors(kind(setting=sparse(dense, method, 0.4), seed=0), store)
        return [kept for kept, _ in masks_and_weights(state)]

    for method in ("omp", "imp"):
        pairs = zip(masks(Pretrain, method), masks(Retrain, method), strict=True)
        assert any(not torch.equal(one, other) for one, other in pairs)
    # Without data and from the same initial weights, they are the same.
    pairs = zip(masks(Pretrain, "synflow"), masks(Retrain, "synflow"), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_an_interrupted_sparse_training_ends_with_the_same_bits(
    pruned: tuple[Setting, Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, whole = pruned
    monkeypatch.setattr("unlearn_ray.train.loop.PROGRESS_SECONDS", 0.0)
    here = runtime(tmp_path / "store")
    step = Pretrain(setting=sparse(dense, "omp", 0.4), seed=0)
    for number, one in enumerate(chain(step)):
        stopped = runtime(here.store.url)
        stopped.on_progress = StopAt(2 + number)
        with pytest.raises(StopRequested):
            run(one, stopped)
        found = here.store.latest_checkpoint(one.key)
        assert found is not None
        assert found[0] == 2 + number
        assert run(one, runtime(here.store.url)).ran
    assert equal(tensors(step, here.store), tensors(step, whole))


def test_too_few_weights_to_prune_say_so(setting: Setting, tmp_path: Path) -> None:
    said = r"sparsity.fraction = 0.99999: would leave none of the \d+ weights"
    with pytest.raises(BadInput, match=said):
        run(
            Pretrain(setting=sparse(setting, "synflow", 0.99999), seed=0),
            runtime(tmp_path / "store"),
        )


def test_a_whole_sparse_sweep(tmp_path: Path) -> None:
    """Every reference step in the order of the plan, trials, and rows; the dense steps shared."""
    sweep = sweep_of(tmp_path, "{method: omp, fraction: 0.9}")
    here = runtime(tmp_path / "store")
    dense = tiny_sweep(tmp_path)
    for seed in (0, 1):
        run(Pretrain(setting=dense.setting, seed=seed), here)
    for planned in make_plan(sweep, here.store).references:
        known = isinstance(planned.step, Pretrain) and planned.step.setting.sparsity is None
        known = known and planned.step.name == "pretrain"
        assert planned.stored == known
        assert run(planned.step, here).ran == (not known)
    for method in (RETRAIN, ORIGINAL):
        here.store.write_row(*reference_row(sweep, 1, method, graph(here)))
    for seed in (0, 1):
        scored = score(trial(sweep, sweep.studies[0], seed), here)
        assert scored.failure is None
        assert scored.row["model"] == "resnet8(width=4), 90 % sparse by omp"
        unlearned = Unlearn(setting=sweep.setting, seed=seed, method=sweep.studies[0].at({}))
        state = tensors(unlearned, here.store)
        original = tensors(unlearned.original, here.store)
        assert pruned_share(state) == pytest.approx(0.9, abs=1e-3)
        for (kept, weight), (before, old) in zip(
            masks_and_weights(state), masks_and_weights(original), strict=True
        ):
            assert torch.equal(kept, before)
            assert torch.equal(weight != 0, kept)
            assert not torch.equal(weight, old)
    assert make_plan(sweep, here.store).complete
