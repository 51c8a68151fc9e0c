"""What would fail once models were trained is refused while a sweep is planned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import numpy as np
import pytest
import torch
from pydantic.fields import FieldInfo

from unlearn_ray.config.describe import CONTRACTS
from unlearn_ray.config.fields import field_type, schema_fields
from unlearn_ray.config.model_size import check_copies, check_images, check_size
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.keys import plain
from unlearn_ray.core.registry import find, parts
from unlearn_ray.core.runs import LONGEST_NAME
from unlearn_ray.core.schema import LARGEST_COUNT
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.families.base import Family
from unlearn_ray.measure.probe import Probe
from unlearn_ray.models.base import Model
from unlearn_ray.steps.setting import Setting
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.study import reference_row_name
from unlearn_ray.studies.trial import TrialSeed, lost_row

TEXT = """\
name: small
dataset: digits
forget_set: random
model: resnet8
family: simclr
methods:
  finetune: {learning_rate: 0.01}
"""


def planned(folder: Path, *sets: str) -> Sweep:
    path = folder / "x.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return load_sweep(path, sets)


@pytest.mark.parametrize(
    "assignment",
    [
        "seeds.tuning=[4294967295]",
        "seeds.reporting=[0, 4294967295]\tseeds.tuning=[1]",
        "search.seed=4294967295",
        "search.trials=100000",
        f"name={'x' * LONGEST_NAME}",
        "resources.trial.cpu=0.0001",
        "resources.trial.cpu=2.5",
        "resources.trial.gpu=0.0001",
        "resources.trial.gpu=0.3333",
        "resources.trial.gpu=8",
        "training.epochs=10000000",
        "training.batch_size=10000000",
        "dataset.digits.image_size=1",
        "methods.finetune.epochs={int: [1, 10000000]}",
        "methods.finetune.learning_rate={uniform: [1e-300, 1e300]}",
    ],
)
def test_the_largest_that_is_taken(assignment: str, tmp_path: Path) -> None:
    """Rows of it can be written and read, and its samples drawn."""
    sweep = planned(tmp_path, *assignment.split("\t"))
    store = open_store(str(tmp_path / "store"))
    (study,) = sweep.studies
    for seed in (*sweep.seeds.tuning[-1:], *sweep.seeds.reporting[-1:]):
        number = sweep.trials(study) - 1
        for point in study.corners():
            trial = TrialSeed.of(sweep, study, number, point, seed, "tuning")
            assert store.write_row(trial.row_name, lost_row(trial, "why"))
            row = store.row(trial.row_name)
            assert row is not None
            assert (row["seed"], row["trial"], row["sweep"]) == (seed, number, sweep.name)
        np.random.RandomState(seed).permutation(3)
        name = reference_row_name(sweep, "retrain", seed)
        assert store.write_row(name, lost_row(trial, "why"))


REFUSED = {
    "a seed of 33 bits": ("seeds.tuning=[4294967296]", "must be less than 4294967296"),
    "a reporting seed of 64 bits": (
        "seeds.reporting=[9223372036854775807]",
        "must be less than 4294967296",
    ),
    "a search's seed": ("search.seed=4294967296", "must be less than 4294967296"),
    "many seeds": (f"seeds.tuning=[{', '.join(map(str, range(10, 1100)))}]", "at most 1000"),
    "trials": ("search.trials=100001", "must be less than or equal to 100000"),
    "startup": ("search.startup=100001", "must be less than or equal to 100000"),
    "window": ("search.window=1000000000000", "must be less than or equal to 100000"),
    "concurrent": ("search.concurrent=1000000000000", "must be less than or equal to 100000"),
    "a long name": (f"name={'x' * 101}", "a sweep's name has 100 characters at most"),
    "a name of a row's own name": ("name=a/b", "has only letters from a to z, digits"),
    "a name with an umlaut": ("name=größe", "has only letters from a to z, digits"),
    "a name with a line break": ('name="x\\n"', "has only letters from a to z, digits"),
    "no name": ('name=""', "has only letters from a to z, digits"),
    "a long name of a study": (
        f"methods.{'x' * 101}=finetune",
        "a study's name has 100 characters at most",
    ),
    "cpu below Ray's unit": (
        "resources.trial.cpu=1e-5",
        "must be a multiple of 0.0001, the unit Ray counts in",
    ),
    "cpu between Ray's units": (
        "resources.trial.cpu=0.00015",
        "must be a multiple of 0.0001, the unit Ray counts in",
    ),
    "cpu next to nothing": (
        "resources.trial.cpu=1e-320",
        "must be a multiple of 0.0001, the unit Ray counts in",
    ),
    "gpu below Ray's unit": (
        "resources.trial.gpu=1e-5",
        "must be a multiple of 0.0001, the unit Ray counts in",
    ),
    "gpu between Ray's units": (
        "resources.trial.gpu=0.33333",
        "must be a multiple of 0.0001, the unit Ray counts in",
    ),
    "parts of several gpus": (
        "resources.trial.gpu=1.5",
        "more than one gpu must be a whole number",
    ),
    "gpus of a million": ("resources.training.gpu=1000000", "must be less than or equal to 1000"),
    "cpus of a million": ("resources.training.cpu=1e15", "must be less than or equal to 10000"),
    "workers": ("resources.training.workers=1000000000", "must be less than or equal to 10000"),
    "elastic workers": (
        "resources.training.workers={min: 1, max: 1000000000}",
        "must be less than or equal to 10000",
    ),
    "threads": ("resources.trial.threads=100000", "must be less than or equal to 10000"),
    "retries": ("resources.trial.retries=100000", "must be less than or equal to 1000"),
    "epochs": ("training.epochs=10000001", "must be less than or equal to 10000000"),
    "epochs of 65 bits": ("training.epochs=9223372036854775808", "does not fit in 64 bits"),
    "a batch": ("methods.finetune.batch_size=4294967296", "less than or equal to 10000000"),
    "a searched batch": (
        "methods.finetune.batch_size={int: [1, 4294967296]}",
        "must be less than or equal to 10000000",
    ),
    "a range beyond floats": (
        "methods.gradient_penalty={alpha: {uniform: [0, 1.7e308]}}\t"
        "methods.finetune.weight_decay={uniform: [0, 1e400]}",
        "beyond the largest 64-bit float",
    ),
    "many choices": (
        f"methods.finetune.epochs={{choice: [{', '.join(map(str, range(1001)))}]}}",
        "more than 1,000 choices",
    ),
    "a wide model": ("model.resnet8.width=100000", "10,000,000,000"),
    "a model too wide to count": ("model.resnet8.width=10000000", "10,000,000,000"),
    "a deep model": ("model={vit: {layers: 1001, patch: 4}}", "less than or equal to 1000"),
    "a wide transformer": ("model={vit: {width: 98304, patch: 4}}", "10,000,000,000"),
    "a wide projection": ("family={simsiam: {projection_size: 200000}}", "10,000,000,000"),
    "a long queue": ("family={moco: {queue_size: 10000000, projection_size: 2048}}", "10,000,000"),
    "large images": ("dataset.digits.image_size=100000", "must be less than or equal to 2048"),
    "validation": ("validation=9223372036854775807", "must be less than or equal to 10000000"),
    "validation of 65 bits": ("validation=9223372036854775808", "does not fit in 64 bits"),
    "padding": (
        "family.simclr.augmentation={crop_scale: null, padding: 1000000}",
        "must be less than or equal to 1024",
    ),
    "views": ("metrics=[test_accuracy, {emia_efficacy: {views: 100000}}]", "equal to 1000"),
    "checkpoints": ("checkpoint_minutes=1e300", "must be less than or equal to"),
    "a null of a mapping": ("sparsity=x", "the field takes another kind of value"),
    "null where a number is meant": ("methods.alignment_calibration={epsilon: x}", "valid number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    assignments, reason = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, *assignments.split("\t"))
    assert reason in str(caught.value)


def test_a_range_whose_width_is_no_number(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the range is too wide for 64-bit numbers"):
        planned(tmp_path, "family.simclr.temperature=1", "methods.finetune.epochs=1",
                "methods.finetune.learning_rate={uniform: [-1.7e308, 1.7e308]}")  # fmt: skip


def test_models_are_counted_as_they_are_built() -> None:
    info = DatasetInfo(100, 10, ("a", "b"), 16)
    largest = {"vit": {"patch": 4, "layers": 40, "width": 2880, "heads": 12}}
    for name, family in parts(Family).items():
        check_size(find(Model, "resnet8")(width=32), family(), info)
        for model, fields in largest.items():
            check_size(find(Model, model)(**fields), family(), info)
            wide = find(Model, model)(**{**fields, "width": 2 * fields["width"]})
            with pytest.raises(ConfigError, match="at most 10,000,000,000"):
                check_size(wide, family(), info)
        assert name
    assert torch.get_default_device().type == "cpu"


def test_copies_of_features_are_counted_in_bytes() -> None:
    imagenet = DatasetInfo(1_281_167, 50_000, (), 224)
    model, simclr = find(Model, "vit")(width=384), find(Family, "simclr")()
    views = Probe(features="cached_views", copies=20)
    check_copies(views, model, simclr, replace(imagenet, train_size=50_000))
    check_copies(views, model, simclr, imagenet)
    check_copies(views, model, find(Family, "supervised")(), imagenet)
    with pytest.raises(ConfigError, match=r"384 features of .* 41 GB; at most 40 .* 20 or"):
        check_copies(replace(views, copies=21), model, simclr, imagenet)


def test_images_are_counted_in_bytes() -> None:
    check_images(DatasetInfo(1_281_167, 50_000, (), 224))
    with pytest.raises(ConfigError, match=r"1,331,167 images then take 1,047 GB"):
        check_images(DatasetInfo(1_281_167, 50_000, (), 512))


def test_every_whole_number_has_an_upper_bound() -> None:
    """Of every field of a sweep file; names of classes, samples and users are looked up."""
    found = {
        f"{cls.__name__}.{name}"
        for cls in _schemas()
        for name, field in schema_fields(cls).items()
        for bounds in _ints(field_type(field))
        if not any(_is_upper(bound) for bound in bounds)
    }
    of_classes = {f"{name}.classes" for name in ("Classes", "Confusion", "Checkpoint", "Original")}
    assert found == {*of_classes, "Ids.users", "PairAlignmentMatrices.ids"}


def test_the_bound_that_all_counts_have_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"or equal to 10000000; give a whole number > 0$"):
        planned(tmp_path, f"training.batch_size={LARGEST_COUNT + 1}")


def _schemas() -> Iterator[type]:
    todo: list[Any] = [Setting, Sweep, *(part for of in CONTRACTS for part in parts(of).values())]
    seen: set[type] = set()
    while todo:
        cls = todo.pop()
        if cls in seen or not hasattr(cls, "__pydantic_fields__"):
            continue
        seen.add(cls)
        yield cls
        for field in schema_fields(cls).values():
            todo += [hint for hint in _inner(field_type(field)) if is_dataclass(hint)]


def _inner(hint: Any) -> Iterator[Any]:
    yield hint
    for inner in get_args(hint):
        yield from _inner(inner)


def _ints(hint: Any, bounds: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The bounds of every whole number that a type may hold."""
    if get_origin(hint) is Annotated:
        inner, *own = get_args(hint)
        yield from _ints(inner, (*bounds, *own))
    elif get_origin(hint) in (Union, UnionType, tuple, list):
        for inner in get_args(hint):
            yield from _ints(inner, bounds)
    elif hint is int:
        yield bounds


def _is_upper(bound: Any) -> bool:
    each = bound.metadata if isinstance(bound, FieldInfo) else [bound]
    return any(getattr(one, name, None) is not None for one in each for name in ("le", "lt"))


def test_text_that_a_row_shows_is_as_yaml_writes_it(tmp_path: Path) -> None:
    sweep = planned(tmp_path, "forget_set={classes: {classes: [1, 2]}}")
    (study,) = sweep.studies
    row = lost_row(TrialSeed.of(sweep, study, 0, {}, 0, "tuning"), "why")
    assert row["forget_set"] == "classes(classes=[1, 2])"
    assert plain(sweep.setting)["forget_set"]["labels"] == [1, 2]
