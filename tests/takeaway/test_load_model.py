"""`load_model`: the stored weights, fed as in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.takeaway.conftest import Finished
from tests.tiny import run, runtime, tiny_sweep
from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.errors import BadInput, ConfigError, CorruptObject, MissingObject
from unlearn_ray.core.registry import find, parts
from unlearn_ray.data.datasets.captioned_digits import CaptionedDigits
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.families.base import Family
from unlearn_ray.quantities.outputs import Outputs
from unlearn_ray.steps.base import Step
from unlearn_ray.steps.kinds.observe import Observe
from unlearn_ray.steps.kinds.pretrain import Pretrain
from unlearn_ray.steps.kinds.retrain import Retrain
from unlearn_ray.steps.kinds.samples import Samples
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.storage.records import record_name, to_bytes
from unlearn_ray.storage.store import Record, Store
from unlearn_ray.takeaway.stored_model import load_model
from unlearn_ray.testing import toy
from unlearn_ray.train.sparsity import Sparsity


def models(sevens: Finished, seed: int = 1) -> list[Step]:
    original = Pretrain(setting=sevens.sweep.setting, seed=seed)
    methods = [study.at({}) for study in sevens.sweep.studies]
    unlearned = [original.same(Unlearn, method=method) for method in methods]
    return [original, original.same(Retrain), *unlearned]


def record_of(step: Step, store: Store) -> Record:
    record = store.record(step.name, step.key)
    assert record is not None
    return record


@pytest.mark.parametrize("number", range(4))
def test_its_logits_are_those_that_were_observed(number: int, sevens: Finished) -> None:
    """Same classes, same normalisation: the outputs that the sweep itself stored."""
    step = models(sevens)[number]
    model = load_model(sevens.store, step.key)
    here = runtime(sevens.store.url)
    observed = here.observation(step.same(Observe, model=step, quantity=Outputs()))
    images = torch.from_numpy(Digits(image_size=8).load(cache_folder()).test_images)
    with torch.no_grad():
        logits = model(images)
    assert not model.training
    torch.testing.assert_close(logits, observed.samples["test"], rtol=1e-4, atol=1e-4)
    assert model.class_names == tuple("0123456789")
    assert model.description.output == "logits"
    assert model.description.image_size == 8


def test_images_come_as_bytes_or_floats(sevens: Finished) -> None:
    model = load_model(sevens.store.url, models(sevens)[0].key[:10])
    last = torch.randint(256, (5, 8, 8, 3), dtype=torch.uint8)
    first = last.permute(0, 3, 1, 2)
    floats = (first / 255).requires_grad_()
    for images in (last, first):
        torch.testing.assert_close(model(images), model(floats))
    model(floats).sum().backward()
    assert floats.grad.abs().sum() > 0
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.4])
    by_hand = ((last / 255 - mean) / std).permute(0, 3, 1, 2)
    torch.testing.assert_close(model.network(by_hand), model(last))


@pytest.mark.parametrize(
    ("shape", "dtype", "reason"),
    [
        ((2, 3, 9, 8), torch.uint8, "takes (n, 3, 8, 8)"),
        ((3, 8, 8), torch.uint8, "takes (n, 3, 8, 8)"),
        ((2, 8, 8, 3), torch.float32, "takes (n, 3, 8, 8)"),
        ((2, 3, 8, 8), torch.int64, "uint8 from 0 to 255"),
    ],
)
def test_other_images_are_refused(
    shape: tuple[int, ...], dtype: torch.dtype, reason: str, sevens: Finished
) -> None:
    model = load_model(sevens.store, models(sevens)[0].key)
    with pytest.raises(BadInput, match="images of") as refused:
        model(torch.zeros(shape, dtype=dtype))
    assert reason in refused.value.reason


@pytest.mark.parametrize("family", list(parts(Family)))
def test_every_family_is_built_again(family: str, tmp_path: Path) -> None:
    """With the weights that training left, the state dict is the stored one, bit for bit."""
    criterion = toy.tiny(find(Family, family))
    dataset = (CaptionedDigits if criterion.reads_captions else Digits)(image_size=8)
    sweep = tiny_sweep(tmp_path)
    setting = replace(sweep.setting, dataset=dataset, family=criterion)
    here = runtime(tmp_path / "store")
    step = Pretrain(setting=setting, seed=0)
    run(step, here)
    model = load_model(here.store, step.key)
    stored = here.model(step).state_dict()
    assert model.network.state_dict().keys() == stored.keys()
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, stored[name])
    outputs = model(torch.zeros(2, 8, 8, 3, dtype=torch.uint8))
    assert outputs.shape[0] == 2
    assert outputs.isfinite().all()


def test_a_sparse_model_keeps_its_masks(tmp_path: Path) -> None:
    sweep = tiny_sweep(tmp_path)
    sparse = replace(sweep.setting, sparsity=Sparsity(method="synflow", fraction=0.5))
    here = runtime(tmp_path / "store")
    step = Pretrain(setting=sparse, seed=0)
    run(step, here)
    model = load_model(here.store, step.key)
    masks = [value for name, value in model.network.state_dict().items() if "sparsity" in name]
    assert masks
    assert not all(mask.all() for mask in masks)


@pytest.fixture
def own(tmp_path: Path) -> tuple[Store, Pretrain]:
    """A store to damage, with one original."""
    step = Pretrain(setting=tiny_sweep(tmp_path).setting, seed=0)
    here = runtime(tmp_path / "store")
    run(step, here)
    return here.store, step


def rewrite(store: Store, record: Record, **changes: Any) -> None:
    store.objects.write(record_name(record.kind, record.key), to_bytes(replace(record, **changes)))


def test_a_store_of_an_earlier_version(own: tuple[Store, Pretrain]) -> None:
    """Records did not name classes; those of this dataset are known without its files."""
    store, step = own
    record = record_of(step, store)
    short = {
        name: of for name, of in record.result.items() if name not in ("class_names", "image_size")
    }
    assert len(short) == len(record.result) - 2
    rewrite(store, record, result=short)
    assert load_model(store, step.key).class_names == tuple("0123456789")


def test_a_part_that_is_not_loaded_is_named(own: tuple[Store, Pretrain]) -> None:
    store, step = own
    record = record_of(step, store)
    model = {"name": "their_net", "revision": 1, "code": "0123", "width": 3}
    rewrite(store, record, config={**record.config, "model": model})
    with pytest.raises(ConfigError, match=r"model their_net.*plug-in"):
        load_model(store, step.key)


def test_code_that_was_changed_since_is_told(
    own: tuple[Store, Pretrain], caplog: pytest.LogCaptureFixture
) -> None:
    store, step = own
    record = record_of(step, store)
    family = {**record.config["family"], "revision": 99}
    rewrite(store, record, config={**record.config, "family": family})
    load_model(store, step.key)
    assert "family simclr: its revision is 1, and was 99" in caplog.text


def test_weights_that_do_not_fit(own: tuple[Store, Pretrain]) -> None:
    store, step = own
    record = record_of(step, store)
    model = {**record.config["model"], "width": 5}
    rewrite(store, record, config={**record.config, "model": model})
    with pytest.raises(CorruptObject, match=f"{step.key}: do not fit the model.*size mismatch"):
        load_model(store, step.key)


def test_weights_that_are_gone(own: tuple[Store, Pretrain]) -> None:
    store, step = own
    store.objects.delete(record_of(step, store).files["model.safetensors"].name)
    with pytest.raises(MissingObject, match="the step is run again"):
        load_model(store, step.key)


def test_steps_without_a_model(sevens: Finished) -> None:
    original = models(sevens)[0]
    observed = original.same(Observe, model=original, quantity=Outputs())
    with pytest.raises(BadInput, match=f"leaves no model.*{original.key}"):
        load_model(sevens.store, observed.key)
    samples = Samples(setting=sevens.sweep.setting, seed=1)
    with pytest.raises(BadInput, match="give the key of a step that trains"):
        load_model(sevens.store, samples.key)


@pytest.mark.parametrize(
    ("key", "reason"), [("", "several keys start with it"), ("xyz", "no key starts with it")]
)
def test_keys_that_name_nothing(key: str, reason: str, sevens: Finished) -> None:
    with pytest.raises(BadInput, match=reason):
        load_model(sevens.store, key)
