"""Whole sweeps of a family that reads captions, and of unlabelled images."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.tiny import SWEEP, finish, runtime, tiny_sweep
from tests.words import Words, coco_files
from unlearn_ray.config.data_check import check_data
from unlearn_ray.core import registry
from unlearn_ray.core.registry import parts
from unlearn_ray.data.datasets.captioned_digits import CaptionedDigits
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.datasets.prompted import Prompted
from unlearn_ray.families.base import Family
from unlearn_ray.families.simclr import SimCLR
from unlearn_ray.families.supervised import Supervised
from unlearn_ray.metrics.base import Metric
from unlearn_ray.reporting.render import plain_text
from unlearn_ray.reporting.table import comparison
from unlearn_ray.storage.store import open_store, unpack_tensors
from unlearn_ray.storage.tensors import ARRAYS


@pytest.fixture(autouse=True)
def words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(tmp_path / "cache"))
    registry.parts(Family)
    monkeypatch.setitem(registry._REGISTERED["family"], "words", Words)


def coco_sweep(folder: Path, family: str) -> str:
    fields = coco_files(folder / "photos", {"train": 60, "test": 12})
    dataset = json.dumps({"coco_captions": {**fields, "image_size": 8}})
    text = SWEEP.replace("{digits: {image_size: 8}}", dataset).replace("0.5", "0.1")
    text = text.replace("[retain_accuracy, test_accuracy]", "[emia_efficacy, view_similarity]")
    return text.replace("128", "16").replace("simclr", family)


CLASS = SWEEP.replace(
    "{digits: {image_size: 8}}", "{prompted: {dataset: {digits: {image_size: 8}}}}"
).replace("{random: {fraction: 0.1}}", "{classes: {classes: [3]}}")


def run(folder: Path, text: str) -> None:
    sweep = tiny_sweep(folder, text)
    check_data(sweep)
    (tuning, reporting) = finish(sweep, runtime(folder / "store"))
    for scored in (tuning, reporting):
        assert scored.failure is None
        assert math.isfinite(scored.row["average_gap"])


@pytest.mark.parametrize("family", ["words", "simclr"])
def test_pairs_are_forgotten(family: str, tmp_path: Path) -> None:
    run(tmp_path, SWEEP.replace("digits", "captioned_digits").replace("simclr", family))


def test_a_class_is_forgotten_with_its_prompts(tmp_path: Path) -> None:
    run(tmp_path, CLASS.replace("simclr", "words"))


def test_pairs_are_measured(tmp_path: Path) -> None:
    metrics = ", ".join(name for name, metric in parts(Metric).items() if metric.needs_captions)
    text = coco_sweep(tmp_path, "words").replace("emia_efficacy, view_similarity", metrics)
    store = runtime(tmp_path / "store")
    (_, reporting) = finish(tiny_sweep(tmp_path, text), store)
    row = reporting.row
    gaps = [row[f"pair_similarity_{part}_gap"] for part in ("retain", "forget")]
    assert row["average_gap"] == pytest.approx(sum(gaps) / 2)
    record = store.store.record("measure", row["key_measure_pair_alignment_matrices"])
    assert record is not None
    arrays, _ = unpack_tensors(store.store.read_artifact(record, ARRAYS))
    assert arrays["forget_agm"].shape == (5, 5)
    table = plain_text(comparison(pd.DataFrame([row])))
    counted, further = table.split("Not in the average gap")
    assert re.search("Pair similarity, forget +Pair similarity, retain +Avg. Gap", counted)
    assert re.search("(?s)Image to text, R@1.*Text to image, R@5", further)
    assert "R@10" not in table
    assert "stored and not printed: " in further


def test_named_pairs_that_a_set_has_none_of(tmp_path: Path) -> None:
    metrics = "[pair_similarity_forget, {pair_alignment_matrices: {ids: [1]}}]"
    text = SWEEP.replace("{digits: {image_size: 8}}", "{captioned_digits: {image_size: 8}}")
    text = text.replace("[retain_accuracy, test_accuracy]", metrics).replace("simclr", "words")
    sweep = tiny_sweep(tmp_path, text)
    finish(sweep, runtime(tmp_path / "store"))
    store = open_store(str(tmp_path / "store"))
    shapes = set()
    for key in store.records("measure"):
        record = store.record("measure", key)
        assert record is not None
        if ARRAYS in record.files:
            arrays, _ = unpack_tensors(store.read_artifact(record, ARRAYS))
            shapes.add(tuple(arrays[f"{part}_agm"].shape[0] for part in ("forget", "retain")))
    assert shapes <= {(1, 0), (0, 1), (0, 0)}
    assert shapes


@pytest.mark.parametrize("family", ["words", "simclr"])
def test_images_of_no_classes(family: str, tmp_path: Path) -> None:
    run(tmp_path, coco_sweep(tmp_path, family))


def test_a_process_keeps_what_it_tokenised(tmp_path: Path) -> None:
    process = runtime(tmp_path / "store")
    digits = CaptionedDigits(image_size=8)
    read = process.data(digits, Words())
    assert process.data(CaptionedDigits(image_size=8), Words()) is read
    assert read.train_texts is not None
    assert read.test_texts is not None
    assert len(read.train_texts.begins) == 1438
    plain = process.data(digits, SimCLR())
    assert plain.train_texts is None
    assert process.data(digits, Supervised()) is plain
    # A prompt is kept once for all images of its class.
    prompts = process.data(Prompted(dataset=Digits(image_size=8)), Words()).train_texts
    assert prompts is not None
    assert len(prompts.tokens) == 10
    assert len(prompts.rows) == 1437
