"""Steps: what names them, and what they leave, run in this process on a tiny setting."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.metrics.evidence import metrics_of
from tests.tiny import SWEEP, graph, run, run_references, runtime, tiny_sweep, trial
from unlearn_ray import results
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import StopRequested
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import find, parts
from unlearn_ray.data.base import Dataset, ForgetSet
from unlearn_ray.data.datasets.captioned_digits import CaptionedDigits
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.families.base import Family
from unlearn_ray.layouts.brought import Original, Planned
from unlearn_ray.measure.probe import Probe
from unlearn_ray.methods.base import Method
from unlearn_ray.methods.finetune import Finetune
from unlearn_ray.metrics.base import Metric
from unlearn_ray.models.base import Model
from unlearn_ray.quantities.outputs import Outputs
from unlearn_ray.quantities.view_similarity import ViewSimilarity
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.graph import batches
from unlearn_ray.steps.kinds.measure import measures
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.runtime import Runtime
from unlearn_ray.steps.setting import Setting
from unlearn_ray.storage.store import Store, open_store, unpack_tensors
from unlearn_ray.studies.plan import reference_steps
from unlearn_ray.studies.study import study_key
from unlearn_ray.studies.trial import score
from unlearn_ray.testing import toy
from unlearn_ray.train.loop import Progress
from unlearn_ray.train.sparsity import Sparsity


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return tiny_sweep(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def trained(tiny: Sweep, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with both reference models of seed 0 and their evaluations."""
    folder = tmp_path_factory.mktemp("trained")
    run_references(tiny, 0, runtime(folder))
    return open_store(str(folder))


def tensors(step: Step, store: Store) -> dict[str, torch.Tensor]:
    record = store.record(step.name, step.key)
    assert record is not None
    return unpack_tensors(store.read_artifact(record, "model.safetensors"))[0]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# Keys


def steps(setting: Setting, seed: int = 0, **method: Any) -> dict[str, Step]:
    original, retrained = Pretrain(setting=setting, seed=seed), Retrain(setting=setting, seed=seed)
    unlearn = Unlearn(setting=setting, seed=seed, method=find(Method, "finetune")(**method))
    return {
        "pretrain": original,
        "retrain": retrained,
        "unlearn": unlearn,
        "samples": Samples(setting=setting, seed=seed),
        "outputs": Observe(setting=setting, seed=seed, model=unlearn, quantity=Outputs()),
        "views": Observe(setting=setting, seed=seed, model=unlearn, quantity=ViewSimilarity()),
        "reference": measures(retrained, METRICS)[0],
        "measure": measures(unlearn, METRICS)[0],
        "emia": measures(unlearn, METRICS)[1],
    }


def brought() -> Original:
    """A model that planning has read."""
    original = Original(checkpoint="theirs.pt")
    original.planned[0, 0] = Planned(digest="0" * 64, seconds=None, scored=True)
    return original


PROBED = {"outputs", "reference", "measure"}
OBSERVED = PROBED | {"views", "emia"}
TRAINED = {"pretrain", "retrain", "unlearn"} | OBSERVED
ALL = TRAINED | {"samples"}
# Every field of a setting, and the steps whose numbers depend on it.
DEPENDS: dict[str, tuple[Any, set[str]]] = {
    "dataset": (find(Dataset, "digits")(image_size=16), ALL),
    "validation": (0.25, ALL),
    "forget_set": (find(ForgetSet, "random")(fraction=0.2), ALL - {"pretrain"}),
    "model": (find(Model, "resnet8")(width=8), TRAINED),
    "family": (find(Family, "simclr")(temperature=0.7), TRAINED),
    "training": (Recipe(epochs=1, batch_size=64), TRAINED),
    "sparsity": (Sparsity(method="synflow", fraction=0.5), TRAINED),
    "probe": (Probe(epochs=3), PROBED),
    # Steps of trained models are those that the sweep does not bring.
    "original": (brought(), {"unlearn", "outputs", "views", "measure", "emia"}),
    "retrained": ("none", set()),
}
METRICS = (find(Metric, "retain_accuracy")(), find(Metric, "emia_efficacy")())


def test_every_field_of_a_setting_is_tested(tiny: Sweep) -> None:
    assert set(DEPENDS) == set(tiny.setting.__dataclass_fields__)


@pytest.mark.parametrize("field", DEPENDS)
def test_a_step_is_named_by_what_its_numbers_depend_on(field: str, tiny: Sweep) -> None:
    value, dependent = DEPENDS[field]
    before, after = steps(tiny.setting), steps(replace(tiny.setting, **{field: value}))
    assert {name for name in before if before[name].key != after[name].key} == dependent


def test_no_probe_where_none_is_trained(tiny: Sweep) -> None:
    """A classifier's outputs are its own."""
    classifier = replace(tiny.setting, family=find(Family, "supervised")())
    other = replace(classifier, probe=Probe(epochs=3))
    assert {n: s.key for n, s in steps(classifier).items()} == {
        n: s.key for n, s in steps(other).items()
    }


def test_a_metric_names_its_measurement_and_no_study(tiny: Sweep) -> None:
    """What is measured beside the objective changes nothing but that it is to be measured."""
    unlearn = steps(tiny.setting)["unlearn"]
    one, other = measures(unlearn, METRICS)
    assert one.key != other.key
    assert one.key == measures(unlearn, METRICS[:1])[0].key
    beside = (*tiny.metrics, find(Metric, "forgetting_score")())
    more = replace(tiny, metrics=beside)
    (study,) = tiny.studies
    assert study_key(more, study) == study_key(tiny, study)
    assert (more.scored_by, more.metrics) == (tiny.metrics, beside)
    counted = replace(tiny, metrics=(*tiny.metrics, find(Metric, "forget_accuracy")()))
    assert study_key(counted, study) != study_key(tiny, study)


def test_seed_method_and_revision_name_a_step(tiny: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    first = steps(tiny.setting)

    def differ(other: dict[str, Step]) -> set[str]:
        return {name for name in first if first[name].key != other[name].key}

    assert differ(steps(tiny.setting)) == set()
    assert differ(steps(tiny.setting, seed=1)) == ALL
    assert differ(steps(tiny.setting, learning_rate=0.5)) == {"unlearn"} | OBSERVED - {"reference"}
    # Defaults are written out.
    default = Finetune().learning_rate
    assert differ(steps(tiny.setting, learning_rate=default)) == set()
    assert len({step.key for step in first.values()}) == len(first)
    monkeypatch.setattr(Retrain, "revision", Retrain.revision + 1)
    assert differ(steps(tiny.setting)) == {"retrain", "reference"}


def test_no_place_enters_a_key(tmp_path: Path) -> None:
    """Neither a store, nor workers, nor the folder of a dataset, nor the path of a file."""

    def keys(folder: str, **places: str) -> list[str]:
        (tmp_path / folder).mkdir()
        ids = tmp_path / folder / "some-ids"
        ids.write_text("1\n2\n3\n")
        text = SWEEP.replace("{digits: {image_size: 8}}", f"{{cifar10: {{folder: {folder}}}}}")
        text = text.replace("{random: {fraction: 0.1}}", f"{{ids: {{file: {ids}}}}}")
        sweep = tiny_sweep(tmp_path, text + "".join(f"{k}: {v}\n" for k, v in places.items()))
        return [step.key for step in steps(sweep.setting).values()]

    places = {
        "store": "s3://bucket/p",
        "resources": "{training: {workers: 8, gpu: 1}, trial: {cpu: 3}}",
        "checkpoint_minutes": "1",
    }
    assert keys("here") == keys("there", **places)


# Runs


def test_the_store_is_asked_before_anything_runs(tiny: Sweep, trained: Store) -> None:
    step = Retrain(setting=tiny.setting, seed=0)
    names = trained.objects.names("")
    again = run(step, runtime(trained.url))
    assert not again.ran
    assert again.record.config == step.config
    assert again.record.inputs == {}
    assert trained.objects.names("") == names


def test_two_processes_train_the_same_bits(tiny: Sweep, trained: Store, tmp_path: Path) -> None:
    for step in (Pretrain(setting=tiny.setting, seed=0), Retrain(setting=tiny.setting, seed=0)):
        run(step, runtime(tmp_path))
        assert equal(tensors(step, open_store(str(tmp_path))), tensors(step, trained))


def test_weights_are_drawn_once_and_then_loaded(
    tiny: Sweep, trained: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    built = Runtime.new_model

    def noted(self: Runtime, setting: Setting, seed: int) -> nn.Module:
        drawn.append(seed)
        return built(self, setting, seed)

    monkeypatch.setattr(Runtime, "new_model", noted)
    here, before = runtime(trained.url), torch.get_rng_state()
    steps = [step(setting=tiny.setting, seed=0) for step in (Pretrain, Retrain, Pretrain)]
    models = [here.model(step) for step in steps]
    assert len(drawn) == 1
    assert torch.equal(torch.get_rng_state(), before)
    for step, model in zip(steps, models, strict=True):
        assert equal(model.state_dict(), tensors(step, trained))
    # They share nothing.
    weights = [weight for model in models for weight in model.state_dict().values()]
    assert len({weight.data_ptr() for weight in weights if weight.numel()}) == len(weights)


def test_retraining_is_no_pretraining(tiny: Sweep, trained: Store) -> None:
    """Equal at the start, by the same initial weights; different in the end, by the data."""
    original, retrained = (
        tensors(step(setting=tiny.setting, seed=0), trained) for step in (Pretrain, Retrain)
    )
    assert original.keys() == retrained.keys()
    trainable = [name for name in original if name.endswith("conv1.weight")]
    assert trainable
    assert not any(torch.equal(original[name], retrained[name]) for name in trainable)


def test_weights_are_safetensors_alone(tiny: Sweep, trained: Store) -> None:
    names = trained.objects.names("artifacts/")
    kept = {"model.safetensors", "samples.parquet"}
    assert {name.rsplit("/", 1)[1] for name in names} == kept
    for name in (name for name in names if name.endswith("safetensors")):
        data = trained.objects.read(name)
        assert data[8:9] == b"{"  # the header, behind its length
        assert all(value.isfinite().all() for value in unpack_tensors(data)[0].values())
    assert trained.objects.names("checkpoints/") == []


@pytest.mark.parametrize("family", list(parts(Family)))
def test_idle_methods_leave_the_original_bit_for_bit(
    family: str, tiny: Sweep, tmp_path: Path
) -> None:
    criterion = toy.tiny(find(Family, family))
    setting = replace(
        tiny.setting,
        dataset=(CaptionedDigits if criterion.reads_captions else Digits)(image_size=8),
        family=criterion,
        training=Recipe(epochs=1, batch_size=256),
    )
    here = runtime(tmp_path)
    original = Pretrain(setting=setting, seed=0)
    run(original, here)
    expected = tensors(original, here.store)
    supported = 0
    for name, method in parts(Method).items():
        if method.idle is None or method.unsupported(criterion, setting.forget_set) is not None:
            continue
        unlearn = Unlearn(setting=setting, seed=0, method=method(**method.idle))
        done = run(unlearn, here)
        assert equal(tensors(unlearn, here.store), expected), name
        assert done.record.result["iterations"] == 0
        assert done.record.result["loss"] is None
        supported += 1
    assert supported


def test_every_value_of_an_evaluation_is_finite(trained: Store, tiny: Sweep) -> None:
    every = tuple(part() for part in metrics_of("samples", captions=False).values())
    model = Retrain(setting=tiny.setting, seed=0)

    def measured(metrics: tuple[Metric, ...]) -> dict[str, float]:
        done = graph(runtime(trained.url)).ensure(*measures(model, metrics))
        return {c: value for one in done for c, value in one.record.result["values"].items()}

    values = measured(every)
    assert set(values) == {column for metric in every for column in metric.columns}
    assert all(isinstance(value, float) and math.isfinite(value) for value in values.values())
    counted = [c for metric in every if metric.in_average_gap for c in metric.columns]
    assert all(0 <= values[column] <= 100 for column in counted)
    for name in trained.objects.names("records/measure/"):
        trained.objects.delete(name)
    assert measured(every[::-1]) == values


def test_a_trial_is_scored_once(tiny: Sweep, trained: Store) -> None:
    wanted = trial(tiny, tiny.studies[0], 0)
    first, again = (score(wanted, runtime(trained.url)) for _ in range(2))
    unlearned = Unlearn(setting=tiny.setting, seed=0, method=wanted.method)
    uploaded = trained.objects.names(f"artifacts/unlearn/{unlearned.key}/")
    assert sorted(name.rpartition("/")[2] for name in uploaded) == [
        "model.safetensors",
        "samples.parquet",
    ]
    assert first.row == again.row
    (read,) = trained.read_rows(wanted.row_name).to_pylist()
    assert read == {"row": wanted.row_name, **first.row}
    gaps = [first.row[f"{name}_gap"] for name in ("retain_accuracy", "test_accuracy")]
    assert first.score == pytest.approx(np.mean(np.array(gaps, dtype=float)))
    for step in measures(unlearned, tiny.scored_by):
        assert first.row[f"key_measure_{step.metric.name}"] == step.key


# Interruptions


class StopAt:
    """Stops a step at its n-th word of progress; 1 is after its first iterations."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, key: str, name: str, progress: Progress) -> bool:
        self.left -= 1
        if self.left == 0:
            raise StopRequested(name, "the sweep is being stopped", "run it again to resume")
        return False


def test_an_interrupted_pretraining_ends_with_the_same_bits(
    tiny: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unlearn_ray.train.loop.PROGRESS_SECONDS", 0.0)
    setting = replace(
        tiny.setting, family=find(Family, "moco")(), training=Recipe(epochs=2, batch_size=128)
    )
    step = Pretrain(setting=setting, seed=0)
    run(step, runtime(tmp_path / "whole"))
    iterations = 2 * (719 // 128)
    store = open_store(str(tmp_path / "parts"))
    reached = []
    for words in (1, 4, 3):  # each time a new process
        stopped = runtime(store.url)
        stopped.on_progress = StopAt(words)
        with pytest.raises(StopRequested):
            run(step, stopped)
        found = store.latest_checkpoint(step.key)
        assert found is not None
        reached.append(found[0])
        assert store.record(step.name, step.key) is None
    assert 0 < reached[0] < reached[1] < reached[2] < iterations
    done = run(step, runtime(store.url))
    assert done.ran
    assert done.record.result["iterations"] == iterations
    assert equal(tensors(step, store), tensors(step, open_store(str(tmp_path / "whole"))))
    assert store.objects.names("checkpoints/") == []


# Batches


def test_what_is_missing_is_run_by_some_batch(tiny: Sweep) -> None:
    """Each step once per model, behind the samples that it needs; these alone, if nothing else."""
    everything = reference_steps(tiny, 1)
    found = batches(everything)
    small = [step for step in everything if step.batch is None]
    assert len(small) == 1
    for steps in found.values():
        assert small[0] in steps
        assert len({step.key for step in steps}) == len(steps)
    run_there = {step.key for steps in found.values() for step in steps}
    assert run_there == {step.key for step in everything if step.asks != "training"}
    assert batches(small) == {small[0].key: small}


# What else is asked of steps


def test_diff_explains_two_keys(
    tiny: Sweep, trained: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [Pretrain(setting=tiny.setting, seed=0).key, Retrain(setting=tiny.setting, seed=0).key]
    assert results.main([trained.url, "diff", *keys, "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"field,{keys[0]},{keys[1]}"
    fields = [line.split(",")[0] for line in lines[1:]]
    assert fields[0] == "kind"
    assert all(field.startswith("forget_set.") for field in fields[1:])
    assert fields[1:]
