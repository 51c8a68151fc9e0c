"""Sweep files that bring models: what planning reads, and what it refuses, at its line."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.s3_server import S3Server
from tests.theirs import saved
from tests.tiny import SWEEP, runtime
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.core.keys import canonical
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.layouts.brought import NORMALISATIONS
from unlearn_ray.models.resnet8 import ResNet8
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.steps.kinds.unlearn import Unlearn
from unlearn_ray.steps.references import reference
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.study import study_identity, study_key

TEXT = SWEEP.replace("family: simclr", "family: supervised")
EXTERNAL = "finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}"


@cache
def weights(seed: int = 0) -> dict[str, Tensor]:
    """Of the sweep's model, under the names of other code."""
    torch.manual_seed(seed)
    model = Supervised().build(ResNet8(width=4).build(8), 10)
    return {
        name.removeprefix("backbone.").replace("classifier.", "fc."): value
        for name, value in model.state_dict().items()
    }


def loaded(folder: Path, more: str, text: str = TEXT) -> Sweep:
    path = folder / "tiny.yaml"
    path.write_text(text + more)
    return load_sweep(path)


def refused(folder: Path, more: str, text: str = TEXT) -> str:
    with pytest.raises(ConfigError) as error:
        loaded(folder, more, text)
    return str(error.value)


def brought(folder: Path, file: str = "a.pt", more: str = "") -> str:
    return f'original: {{checkpoint: "{folder / file}"{more}}}\n'


def test_keys_cover_the_weights_and_never_the_path(tmp_path: Path) -> None:
    saved(weights(), tmp_path / "a.pt", "module.")
    saved(weights(), tmp_path / "other" / "b.safetensors", "model.backbone.")
    saved(weights(1), tmp_path / "c.pt")
    keys = {}
    for file in ("a.pt", "other/b.safetensors", "c.pt"):
        sweep = loaded(tmp_path, brought(tmp_path, file))
        original = reference("original", sweep.setting, 0)
        assert str(tmp_path) not in canonical(original.config)
        assert original.key == reference("original", sweep.setting, 1).key
        keys[file] = original.key, study_key(sweep, sweep.studies[0])
    assert keys["a.pt"] == keys["other/b.safetensors"]
    assert not set(keys["a.pt"]) & set(keys["c.pt"])


def test_a_file_of_each_seed(tmp_path: Path) -> None:
    for seed in (0, 1):
        saved(weights(seed), tmp_path / f"{seed}.pt")
    sweep = loaded(tmp_path, brought(tmp_path, "{seed}.pt"))
    assert (
        reference("original", sweep.setting, 0).key != reference("original", sweep.setting, 1).key
    )
    saved(weights(2), tmp_path / "1.pt")
    other = loaded(tmp_path, brought(tmp_path, "{seed}.pt"))
    # The scores of trials do not depend on a reporting seed's model.
    assert study_key(other, other.studies[0]) == study_key(sweep, sweep.studies[0])
    assert (
        reference("original", other.setting, 1).key != reference("original", sweep.setting, 1).key
    )


def test_what_a_setting_leaves_out_changes_no_key(tmp_path: Path) -> None:
    plain, given = loaded(tmp_path, ""), loaded(tmp_path, "original: null\nretrained: train\n")
    assert canonical(plain.setting) == canonical(given.setting)
    assert "original" not in canonical(plain.setting)


def test_retrained_models_do_not_depend_on_a_brought_original(tmp_path: Path) -> None:
    saved(weights(), tmp_path / "a.pt")
    plain, given = loaded(tmp_path, ""), loaded(tmp_path, brought(tmp_path))
    keys = {reference("retrained", sweep.setting, 1).key for sweep in (plain, given)}
    assert len(keys) == 1
    finetune = given.studies[0].at({})
    assert (
        len({Unlearn(setting=s.setting, seed=1, method=finetune).key for s in (plain, given)}) == 2
    )


@pytest.mark.parametrize("name", [*NORMALISATIONS, "{mean: [0.1, 0.2, 0.3], std: [1, 2, 3]}"])
def test_normalisation_becomes_the_familys(name: str, tmp_path: Path) -> None:
    saved(weights(), tmp_path / "a.pt")
    sweep = loaded(tmp_path, brought(tmp_path, more=f", normalise: {name}"))
    given = sweep.setting.original
    assert given is not None
    assert given.normalisation is not None
    found = sweep.setting.family.augmentation
    assert (found.mean, found.std) == (given.normalisation.mean, given.normalisation.std)
    assert found == replace(Supervised().augmentation, mean=found.mean, std=found.std)


def test_two_normalisations_are_refused(tmp_path: Path) -> None:
    saved(weights(), tmp_path / "a.pt")
    text = TEXT.replace("supervised", "{supervised: {augmentation: {mean: [0.1, 0.2, 0.3]}}}")
    told = refused(tmp_path, brought(tmp_path, more=", normalise: half"), text)
    assert "original.normalise = half: family supervised has another mean and std" in told


def test_the_plan_says_what_is_brought(tmp_path: Path) -> None:
    saved(weights(), tmp_path / "a.pt")
    sweep = loaded(tmp_path, brought(tmp_path, more=", normalise: half, expect: 0.9"))
    store = runtime(tmp_path / "store").store
    told = plan_view(make_plan(sweep, store), store.url)
    assert "bring original (all seeds)" in told
    assert "its test accuracy is to be 0.9 within 0.005, before any trial" in told
    assert "2 expect" in told
    assert "normalised by mean [0.5, 0.5, 0.5] and std [0.5, 0.5, 0.5]" in told
    assert "one model for all seeds: where it was trained on their validation sets" in told
    assert "pretrain" not in told
    assert "2 retrain" in told


LINE = TEXT.count("\n") + 1


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (", classes: [0, 1]", r"2 classes: are not the dataset's 10"),
        (", classes: [01, 1]", r"01 is read as the number 1, and may be a name"),
        (", layout: onnx", r"original.layout = onnx: must be 'auto'"),
        (", layout: torchvision", r"resnet8 with family supervised in torchvision: it has no"),
        (", normalise: imagnet", r"original.normalise = imagnet: "),
        (", normalise: {mean: [0, 0, 0], std: [1, 0, 1]}", r"std must be positive"),
        (", expect: 93", r"original.expect = 93: must be less than or equal to 1"),
        (", tolerence: 0.1", r"unknown field; did you mean tolerance\?"),
    ],
)
def test_fields_that_cannot_be(more: str, told: str, tmp_path: Path) -> None:
    saved(weights(), tmp_path / "a.pt")
    found = refused(tmp_path, brought(tmp_path, more=more))
    assert f"tiny.yaml:{LINE}: original" in found
    assert re.search(told, found), found


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("missing.pt", "cannot be read: No such file or directory"),
        ("{sed}.pt", "{sed} is unknown; did you mean seed?"),
        (".", "is a folder"),
        ("text.pt", "neither safetensors nor a checkpoint of torch"),
        ("nan.pt", "tensor conv1.weight: 1 of its 108 numbers are NaN or infinite"),
        ("headless.pt", "2 missing"),
        ("wide.pt", "of another shape or type"),
    ],
)  # fmt: skip
def test_checkpoints_that_cannot_be(file: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    broken = {name: value.clone() for name, value in weights().items()}
    broken["conv1.weight"][0, 0, 0, 0] = torch.inf
    saved(broken, tmp_path / "nan.pt")
    saved({n: v for n, v in weights().items() if n[:2] != "fc"}, tmp_path / "headless.pt")
    saved({**weights(), "fc.weight": torch.zeros(100, 16)}, tmp_path / "wide.pt")
    found = refused(tmp_path, brought(tmp_path, file))
    assert f"tiny.yaml:{LINE}: original.checkpoint" in found
    assert told in found
    assert "internal" not in found


def test_what_does_not_fit_is_a_table(tmp_path: Path) -> None:
    saved({**weights(), "fc.weight": torch.zeros(100, 16)}, tmp_path / "a.pt", "net.")
    first, *table = refused(tmp_path, brought(tmp_path)).splitlines()
    assert "1 of another shape or type; set model, family" in first
    assert [line.split() for line in table][1:] == [["net.fc.weight", "100x16", "10x16"]]


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        (TEXT, "sparsity: {method: omp, fraction: 0.5}\n", "sparsity: original bring weights"),
        (
            TEXT.replace("{random: {fraction: 0.1}}", "{confusion: {classes: [3, 5], count: 20}}"),
            "",
            "forget_set: confusion changes the labels",
        ),
    ],
)
def test_what_a_brought_original_excludes(text: str, more: str, told: str, tmp_path: Path) -> None:
    saved(weights(), tmp_path / "a.pt")
    assert told in refused(tmp_path, more + brought(tmp_path), text)


def test_retrained_models_must_differ_where_they_should(tmp_path: Path) -> None:
    saved(weights(), tmp_path / "a.pt")
    retrained = f"retrained: {{checkpoint: {tmp_path}/a.pt}}\n"
    assert "random forgets other samples under each seed" in refused(tmp_path, retrained)
    classes = TEXT.replace("{random: {fraction: 0.1}}", "{classes: {classes: [3]}}")
    assert loaded(tmp_path, retrained, classes).setting.brought("retrained") is not None
    several = classes.replace("reporting: [1]", "reporting: [1]\n  replicates: 2")
    assert "a noise floor of 0" in refused(tmp_path, retrained, several)
    assert "retrained = traim: must be 'train'" in refused(tmp_path, "retrained: traim\n")


def of_external(fields: str) -> str:
    return TEXT.replace(EXTERNAL, f"external: {{{fields}}}")


def test_external_weights(tmp_path: Path) -> None:
    for seed in (0, 1):
        saved(weights(seed), tmp_path / f"{seed}.safetensors", seconds="81.5")
        saved(weights(seed), tmp_path / f"{seed}.pt")
    files = (f"{tmp_path}/{{seed}}.safetensors", f"{tmp_path}/{{seed}}.pt")
    first, second = (
        loaded(tmp_path, "", of_external(f'weights: "{file}", seconds: {seconds}'))
        for file, seconds in zip(files, ("null", 81.5), strict=True)
    )
    assert str(tmp_path) not in canonical(study_identity(first, first.studies[0]))
    keys = [
        [Unlearn(setting=s.setting, seed=n, method=s.studies[0].at({})).key for n in (0, 1)]
        for s in (first, second)
    ]
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 2
    unlearn = Unlearn(setting=first.setting, seed=0, method=first.studies[0].at({}))
    assert str(tmp_path) not in canonical(unlearn.config)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("", "external needs weights"),
        ('weights: "{folder}/{{seed}}.pt"', "cannot be read: No such file or directory"),
        ('weights: "{folder}/{{sead}}.pt"', "{{sead}} is unknown; did you mean seed?"),
        ("weights: {folder}/0.pt", "nothing says how many seconds unlearning took"),
        ("weights: {folder}/0.pt, seconds: {{uniform: [1, 2]}}", "external has nothing to search"),
        ("weights: {{choice: [a, b]}}", "external has nothing to search"),
        ("weights: {folder}/bad.safetensors", "its metadata's seconds are soon"),
    ],
)
def test_external_weights_that_cannot_be(fields: str, told: str, tmp_path: Path) -> None:
    saved(weights(), tmp_path / "0.pt")
    saved(weights(), tmp_path / "bad.safetensors", seconds="soon")
    found = refused(tmp_path, "", of_external(fields.format(folder=tmp_path)))
    assert re.search(r"tiny.yaml:11: methods.external", found)
    assert told.replace("{{", "{").replace("}}", "}") in found


def test_checkpoints_in_a_bucket(tmp_path: Path, s3_server: S3Server) -> None:
    url = s3_server.store_url("models/a.pt")
    place, _, options = url.partition("?")
    bucket = place.split("/")[2]
    file = saved(weights(), tmp_path / "a.pt")
    s3_server.client.upload_file(str(file), bucket, "models/a.pt")
    here = loaded(tmp_path, brought(tmp_path))
    there = loaded(tmp_path, f'original: {{checkpoint: "{url}"}}\n')
    keys = {reference("original", sweep.setting, 0).key for sweep in (here, there)}
    assert len(keys) == 1
    missing = url.replace("a.pt", "b.pt")
    assert "there is no such object" in refused(
        tmp_path, f'original: {{checkpoint: "{missing}"}}\n'
    )
    assert options
