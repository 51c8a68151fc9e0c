"""Sweep files: what they say, and every way to say it wrong."""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import Field

from tests.words import coco_files
from unlearn_ray.config.describe import describe_parts
from unlearn_ray.config.fields import label, schema_fields
from unlearn_ray.config.ranges import read_range
from unlearn_ray.config.sweep_file import TABLE_1, load_sweep
from unlearn_ray.config.sweep_schema import (
    Budget,
    Resources,
    ResourcesByStep,
    Search,
    Seeds,
    Sweep,
)
from unlearn_ray.config.yaml_file import override, read_tree
from unlearn_ray.config.yaml_tree import ConfigErrors, Value
from unlearn_ray.core.errors import ConfigError, listed
from unlearn_ray.core.gaps import counted_columns
from unlearn_ray.core.keys import content_key, plain
from unlearn_ray.core.ranges import Range
from unlearn_ray.core.recipe import Recipe
from unlearn_ray.core.registry import parts
from unlearn_ray.core.schema import field_values
from unlearn_ray.data.base import Dataset
from unlearn_ray.evidence.populations import replicates_needed
from unlearn_ray.families.base import Family
from unlearn_ray.measure.probe import Probe
from unlearn_ray.methods.base import Method
from unlearn_ray.metrics.base import Metric
from unlearn_ray.steps.setting import Setting
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan

SWEEPS = Path(__file__).parents[2] / "sweeps"
GOOD = """\
name: small
dataset: digits
validation: 0.2
forget_set: {random: {fraction: 0.1}}
model: {resnet8: {width: 8}}
family:
  simclr:
    temperature: 0.4
    augmentation: {flip: 0, crop_scale: [0.5, 1]}
training: {epochs: 3, batch_size: 64, weight_decay: 1e-3}
methods:
  finetune:
    epochs: 5
    learning_rate: {log_uniform: [3e-3, 0.03]}
  alignment_calibration:
    alpha: 1
    beta: {uniform: [0, 20]}
    epochs: {int: [1, 4]}
    positive_similarity: {choice: [tempered, cosine]}
  gradient_ascent:
search: {trials: 6}
seeds:
  tuning: [0, 1]
  reporting: [2, 3]
resources: {trial: {gpu: 0.5}}
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "x.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file_says_what_it_says(write: Write) -> None:
    sweep = load_sweep(write(GOOD))
    setting = sweep.setting
    assert sweep.name == "small"
    assert label(setting.dataset) == "digits"
    assert label(setting.forget_set) == "random(fraction=0.1)"
    assert label(setting.model) == "resnet8(width=8)"
    assert setting.validation == 0.2
    assert setting.training.weight_decay == 1e-3  # 1e-3 is text to YAML 1.1
    assert setting.training.momentum == 0.9
    assert sweep.search.trials == 6
    assert (sweep.seeds.tuning, sweep.seeds.reporting) == ((0, 1), (2, 3))
    assert sweep.resources.trial.gpu == 0.5
    assert sweep.resources.training.gpu == "auto"
    finetune, alignment, ascent = sweep.studies
    assert finetune.fixed == {"epochs": 5}
    assert finetune.space == {"learning_rate": Range(kind="log_uniform", low=0.003, high=0.03)}
    assert alignment.space["epochs"] == Range(kind="int", low=1, high=4)
    assert alignment.space["positive_similarity"].choices == ("tempered", "cosine")
    assert (ascent.name, ascent.fixed, ascent.space) == ("gradient_ascent", {}, {})
    assert (sweep.trials(finetune), sweep.trials(ascent)) == (6, 1)
    assert field_values(finetune.at({"learning_rate": 0.01}))["epochs"] == 5


def test_an_augmentation_overrides_the_fields_of_its_family(write: Write) -> None:
    family = load_sweep(write(GOOD)).setting.family
    default = parts(Family)["simclr"]().augmentation
    assert (family.augmentation.flip, family.augmentation.crop_scale) == (0, (0.5, 1.0))
    assert family.augmentation.hue == default.hue != 0
    assert family.temperature == 0.4  # type: ignore[attr-defined]


def test_metrics_default_to_mucs_with_those_of_table_1_first(write: Write) -> None:
    names = [metric.name for metric in load_sweep(write(GOOD)).metrics]
    assert tuple(names[:5]) == TABLE_1
    assert sorted(names) == [name for name, metric in parts(Metric).items() if metric.by_default]
    assert counted_columns(load_sweep(write(GOOD)).metrics) == list(TABLE_1)
    chosen = load_sweep(write(GOOD + "metrics: [test_accuracy, {emia_efficacy: {views: 4}}]\n"))
    assert [label(m) for m in chosen.metrics] == [
        "test_accuracy",
        "emia_efficacy(views=4)",
    ]


def test_the_name_defaults_to_the_stem(write: Write) -> None:
    assert load_sweep(write(GOOD.replace("name: small\n", ""))).name == "x"


def test_overrides_are_dotted_yaml_and_come_last(write: Write) -> None:
    sweep = load_sweep(
        write(GOOD),
        [
            "methods.finetune.epochs=7",
            "methods.finetune.learning_rate=1e-2",
            "methods.gradient_ascent.epochs=1",
            "methods.neggrad={epochs: 2}",
            "seeds.tuning=[9]",
            "model=resnet18",
            "model.resnet18.width=16",
            "resources.training.workers=2",
            "search.trials=3",
            "search.trials=4",
        ],
        store="s3://bucket/prefix",
    )
    by_name = {study.name: study for study in sweep.studies}
    assert by_name["finetune"].fixed == {"epochs": 7, "learning_rate": 0.01}
    assert by_name["gradient_ascent"].fixed == {"epochs": 1}
    assert by_name["neggrad"].fixed == {"epochs": 2}
    assert sweep.seeds.tuning == (9,)
    assert label(sweep.setting.model) == "resnet18(width=16)"
    assert sweep.resources.training.workers == 2
    assert sweep.search.trials == 4
    assert sweep.store == "s3://bucket/prefix"


NAMED = GOOD.replace(
    "  gradient_ascent:",
    """\
  ascent_0.5: {gradient_ascent: {learning_rate: {log_uniform: [1e-4, 0.5]}}}
  again: gradient_ascent
  gradient_ascent:
  Still-2_:
    finetune:
      epochs: 1""",
)


def test_a_sweep_holds_several_studies_of_a_method(write: Write) -> None:
    sweep = load_sweep(write(NAMED))
    assert [(study.name, study.method.name) for study in sweep.studies] == [
        ("finetune", "finetune"),
        ("alignment_calibration", "alignment_calibration"),
        ("ascent_0.5", "gradient_ascent"),
        ("again", "gradient_ascent"),
        ("gradient_ascent", "gradient_ascent"),
        ("Still-2_", "finetune"),
    ]
    _, _, half, again, plain, still = sweep.studies
    assert half.space == {"learning_rate": Range(kind="log_uniform", low=1e-4, high=0.5)}
    assert (again.fixed, again.space) == (plain.fixed, plain.space) == ({}, {})
    assert still.fixed == {"epochs": 1}
    assert [sweep.trials(study) for study in (half, again)] == [6, 1]


def test_overrides_reach_into_studies_of_own_names(write: Write) -> None:
    sweep = load_sweep(
        write(NAMED),
        [
            "methods.ascent_0.5.gradient_ascent.learning_rate=0.5",
            "methods.ascent_0.5.gradient_ascent.epochs=2",
            "methods.again.gradient_ascent.epochs=3",
            "methods.Still-2_=neggrad",
            "methods.new.neggrad.epochs=4",
        ],
    )
    by_name = {study.name: study for study in sweep.studies}
    assert by_name["ascent_0.5"].fixed == {"learning_rate": 0.5, "epochs": 2}
    assert by_name["ascent_0.5"].space == {}
    assert by_name["again"].fixed == {"epochs": 3}
    assert by_name["gradient_ascent"].fixed == {}
    assert (by_name["Still-2_"].method.name, by_name["Still-2_"].fixed) == ("neggrad", {})
    assert (by_name["new"].method.name, by_name["new"].fixed) == ("neggrad", {"epochs": 4})


# Each: what to replace in GOOD, by what, then the subject after `x.yaml:`, reason, remedy.
BAD = {
    "unknown field of a method": (
        "    epochs: 5",
        "    lerning_rate: 5",
        "13: methods.finetune.lerning_rate",
        "unknown field",
        "did you mean learning_rate?",
    ),
    "unknown field of the file": (
        "search:",
        "serch:",
        "21: serch",
        "unknown field",
        "did you mean search?",
    ),
    "unknown field of a nested schema": (
        "{flip: 0,",
        "{flop: 0,",
        "9: family.simclr.augmentation.flop",
        "unknown field",
        "did you mean flip?",
    ),
    "unknown method": (
        "  finetune:",
        "  finetun:",
        "12: methods.finetun = {epochs: 5, learning_rate: {log_uniform: [0.003, 0.03]}}",
        "unknown method",
        "did you mean finetune?",
    ),
    "unknown dataset": (
        "dataset: digits",
        "dataset: digit",
        "2: dataset = digit",
        "unknown dataset",
        "did you mean digits?",
    ),
    "two models": (
        "model: {resnet8: {width: 8}}",
        "model: {resnet8: {}, resnet18: {}}",
        "5: model = {resnet8: {}, resnet18: {}}",
        "one model is expected",
        "write a name, or {name: {field: value}}; known are",
    ),
    "text for a number": (
        "    epochs: 5",
        "    epochs: five",
        "13: methods.finetune.epochs = five",
        "must be a valid integer",
        "give a whole number >= 0",
    ),
    "quoted number": (
        "    epochs: 5",
        "    epochs: '5'",
        '13: methods.finetune.epochs = "5"',
        "must be a valid integer",
        "give a whole number >= 0",
    ),
    "true for a number": (
        "{trials: 6}",
        "{trials: true}",
        "21: search.trials = true",
        "must be a valid integer",
        "give a whole number > 0",
    ),
    "fraction for a whole number": (
        "{trials: 6}",
        "{trials: 2.5}",
        "21: search.trials = 2.5",
        "must be a valid integer",
        "give a whole number > 0",
    ),
    "out of bounds": (
        "{epochs: 3,",
        "{epochs: -3,",
        "10: training.epochs = -3",
        "must be greater than or equal to 0",
        "give a whole number >= 0",
    ),
    "not finite": (
        "temperature: 0.4",
        "temperature: .inf",
        "8: family.simclr.temperature = inf",
        "must be a finite number",
        "give a number > 0",
    ),
    "validation above 1": (
        "validation: 0.2",
        "validation: 1.5",
        "3: validation = 1.5",
        "must be a valid integer",
        "give a whole number >= 0 or number > 0 and < 1",
    ),
    "wrong choice of a literal": (
        "{epochs: 3,",
        "{schedule: cosin,",
        "10: training.schedule = cosin",
        "must be 'cosine' or 'constant'",
        "did you mean cosine?",
    ),
    "a list too short": (
        "crop_scale: [0.5, 1]",
        "crop_scale: [0.5]",
        "9: family.simclr.augmentation.crop_scale = [0.5]",
        "field required",
        "give [number, number] or null",
    ),
    "workers on parts of a gpu": (
        "{trial: {gpu: 0.5}}",
        "{trial: {workers: 2, gpu: 0.5}}",
        "25: resources.trial = {workers: 2, gpu: 0.5}",
        "workers that share one training need a whole gpu each, or none",
        "change one of its fields",
    ),
    "graphs without a gpu": (
        "{trial: {gpu: 0.5}}",
        "{trial: {gpu: 0, graphs: true}}",
        "25: resources.trial = {gpu: 0, graphs: true}",
        "graphs are captured on a GPU, and gpu: 0 requests none",
        "change one of its fields",
    ),
    "graphs of several workers": (
        "{trial: {gpu: 0.5}}",
        "{trial: {workers: 2, gpu: 1, graphs: true}}",
        "25: resources.trial = {workers: 2, gpu: 1, graphs: true}",
        "graphs need workers: 1; what several workers share is not captured",
        "change one of its fields",
    ),
    "range where none is allowed": (
        "{epochs: 3,",
        "{epochs: {int: [1, 3]},",
        "10: training.epochs = {int: [1, 3]}",
        "only fields of methods can be searched",
        "write one value",
    ),
    "unknown kind of range": (
        "{log_uniform:",
        "{loguniform:",
        "14: methods.finetune.learning_rate = {loguniform: [0.003, 0.03]}",
        "unknown kind of range",
        "did you mean log_uniform?",
    ),
    "range of two kinds": (
        "{uniform: [0, 20]}",
        "{uniform: [0, 20], choice: [1, 2]}",
        "17: methods.alignment_calibration.beta",
        "exactly one kind",
        "write {uniform: [low, high]}",
    ),
    "empty range": (
        "{uniform: [0, 20]}",
        "{uniform: [20, 0]}",
        "17: methods.alignment_calibration.beta.uniform = [20, 0]",
        "empty range: 20 is not below 0",
        "put the lower end first",
    ),
    "range of one point": (
        "{int: [1, 4]}",
        "{int: [4, 4]}",
        "18: methods.alignment_calibration.epochs.int = [4, 4]",
        "empty range",
        "write the value itself",
    ),
    "log range through zero": (
        "{uniform: [0, 20]}",
        "{log_uniform: [0, 20]}",
        "17: methods.alignment_calibration.beta.log_uniform = [0, 20]",
        "a logarithmic range reaches zero",
        "raise the lower end, or use uniform",
    ),
    "range beyond the field's bounds": (
        "{uniform: [0, 20]}",
        "{uniform: [-1, 20]}",
        "17: methods.alignment_calibration.beta.uniform[0] = -1",
        "must be greater than or equal to 0",
        "give a number >= 0",
    ),
    "range with one end": (
        "{uniform: [0, 20]}",
        "{uniform: [20]}",
        "17: methods.alignment_calibration.beta.uniform = [20]",
        "a range has two ends",
        "write {uniform: [low, high]}",
    ),
    "range with an end of text": (
        "{uniform: [0, 20]}",
        "{uniform: [0, many]}",
        "17: methods.alignment_calibration.beta.uniform[1] = many",
        "must be a valid number",
        "give a number",
    ),
    "range to infinity": (
        "{uniform: [0, 20]}",
        "{uniform: [0, .inf]}",
        "17: methods.alignment_calibration.beta.uniform[1] = inf",
        "must be a finite number",
        "give a number",
    ),
    "int range of a real field": (
        "{uniform: [0, 20]}",
        "{int: [0, 20]}",
        "17: methods.alignment_calibration.beta.int = [0, 20]",
        "the field takes real numbers",
        "use uniform or log_uniform",
    ),
    "real range of a whole field": (
        "{int: [1, 4]}",
        "{uniform: [1, 4]}",
        "18: methods.alignment_calibration.epochs.uniform = [1, 4]",
        "the field takes whole numbers",
        "use int",
    ),
    "range of words": (
        "{choice: [tempered, cosine]}",
        "{uniform: [0, 1]}",
        "19: methods.alignment_calibration.positive_similarity.uniform = [0, 1]",
        "tempered | cosine has no numeric range",
        "use {choice: [...]}",
    ),
    "no choices": (
        "{choice: [tempered, cosine]}",
        "{choice: []}",
        "19: methods.alignment_calibration.positive_similarity.choice = []",
        "no choices",
        "list at least two",
    ),
    "an invalid choice": (
        "{choice: [tempered, cosine]}",
        "{choice: [tempered, cosin]}",
        "19: methods.alignment_calibration.positive_similarity.choice[1] = cosin",
        "must be 'tempered' or 'cosine'",
        "did you mean cosine?",
    ),
    "a choice of lists": (
        "{choice: [tempered, cosine]}",
        "{choice: [tempered, [cosine]]}",
        "19: methods.alignment_calibration.positive_similarity.choice[1] = [cosine]",
        "each choice must be a single value",
        "give tempered | cosine",
    ),
    "a choice twice": (
        "{choice: [tempered, cosine]}",
        "{choice: [tempered, tempered]}",
        "19: methods.alignment_calibration.positive_similarity.choice[1] = tempered",
        "listed twice",
        "list every choice once",
    ),
    "seeds that overlap": (
        "reporting: [2, 3]",
        "reporting: [1, 3]",
        "24: seeds.reporting = [1, 3]",
        "1 also among the tuning seeds [0, 1]",
        "make tuning and reporting seeds disjoint",
    ),
    "no seeds": (
        "tuning: [0, 1]",
        "tuning: []",
        "23: seeds.tuning = []",
        "no seeds",
        "give at least one",
    ),
    "a seed twice": (
        "tuning: [0, 1]",
        "tuning: [0, 0]",
        "23: seeds.tuning = [0, 0]",
        "a seed is listed twice",
        "list every seed once",
    ),
    "a negative seed": (
        "tuning: [0, 1]",
        "tuning: [-1, 1]",
        "23: seeds.tuning = [-1, 1]",
        "must be greater than or equal to 0",
        "give a list of whole number >= 0",
    ),
    "a forget set that the data cannot give": (
        "fraction: 0.1",
        "fraction: 1.5",
        "4: forget_set",
        "must be less than",
        "give",
    ),
    "other images of another size": (
        "  gradient_ascent:",
        "  gradient_penalty: {non_members: {digits: {image_size: 8}}}",
        "20: methods.gradient_penalty = {non_members: {digits: {image_size: 8}}}",
        "gradient_penalty with digits: its images have 8 pixels, those of the sweep's dataset 16",
        "name a dataset with images of the same size",
    ),
    "other images that are the same": (
        "  gradient_ascent:",
        "  gradient_penalty: {non_members: digits}",
        "20: methods.gradient_penalty = {non_members: digits}",
        "gradient_penalty with digits: the models are already trained on these images",
        "name another dataset",
    ),
    "other images in a folder that is missing": (
        "  gradient_ascent:",
        "  gradient_penalty: {non_members: {image_folder: {path: no-such-folder}}}",
        "20: methods.gradient_penalty = {non_members: {image_folder",
        "no-such-folder",
        "lay it out as",
    ),
    "another dataset that does not exist": (
        "  gradient_ascent:",
        "  gradient_penalty: {non_members: {digit: {image_size: 8}}}",
        "20: methods.gradient_penalty.non_members.digit = {image_size: 8}",
        "unknown dataset",
        "did you mean digits?",
    ),
    "an unknown field of another dataset": (
        "  gradient_ascent:",
        "  gradient_penalty: {non_members: {digits: {image_sze: 8}}}",
        "20: methods.gradient_penalty.non_members.digits.image_sze",
        "unknown field",
        "did you mean image_size?",
    ),
    "neither a word nor a dataset": (
        "  gradient_ascent:",
        "  gradient_penalty: {non_members: valdation}",
        "20: methods.gradient_penalty.non_members = valdation",
        "must be 'validation'",
        "give validation or a dataset",
    ),
    "a dataset to be chosen": (
        "  gradient_ascent:",
        "  gradient_penalty: {non_members: {choice: [validation, {digits: {}}]}}",
        "20: methods.gradient_penalty.non_members.choice[1] = {digits: {}}",
        "each choice must be a single value",
        "give validation or a dataset",
    ),
    "a range of datasets": (
        "  gradient_ascent:",
        "  gradient_penalty: {non_members: {uniform: [0, 1]}}",
        "20: methods.gradient_penalty.non_members.uniform = [0, 1]",
        "validation or a dataset has no numeric range",
        "use {choice: [...]}",
    ),
    "validation that takes all": (
        "validation: 0.2",
        "validation: 100000",
        "3: validation = 100000",
        "leaves nothing to train on",
        "hold out fewer than",
    ),
    "a class that does not exist": (
        "{random: {fraction: 0.1}}",
        "{classes: {classes: [3, 10]}}",
        "4: forget_set = {classes: {classes: [3, 10]}}",
        "classes = 10: the dataset has 10 classes",
        "give a class's name, or a label number from 0 to 9",
    ),
    "more to forget than there is": (
        "{random: {fraction: 0.1}}",
        "{random: {count: 5000}}",
        "4: forget_set = {random: {count: 5000}}",
        "count = 5000: leaves nothing to retain",
        "forget fewer than",
    ),
    "three classes that are confused": (
        "{random: {fraction: 0.1}}",
        "{confusion: {classes: [3, 4, 5], count: 5}}",
        "4: forget_set.confusion.classes = [3, 4, 5]",
        "",
        "",
    ),
    "confusion of no number": (
        "{random: {fraction: 0.1}}",
        "{confusion: {classes: [3, 4]}}",
        "4: forget_set.confusion = {classes: [3, 4]}",
        "give count or fraction, one of both",
        "",
    ),
    "labels that training does not read": (
        "{random: {fraction: 0.1}}",
        "{confusion: {classes: [3, 4], count: 5}}",
        "4: forget_set",
        "confusion changes labels, and simclr trains without them",
        "train a classifier (supervised), or forget other samples",
    ),
    "confusion where no labels are swapped": (
        "search: {trials: 6}",
        "metrics: [test_accuracy, confusion]",
        "21: metrics",
        "confusion is for swapped labels; random swaps none",
        "remove the metric, or change the forget set",
    ),
    "estimates in a file that is missing": (
        "{random: {fraction: 0.1}}",
        "{memorised: {file: no-such-file.csv, group: high, count: 5}}",
        "4: forget_set = {memorised: {file: no-such-file.csv",
        "no-such-file.csv",
        "write the file with python -m unlearn_ray.results STORE memorisation FILE",
    ),
    "a group of memorisation that does not exist": (
        "{random: {fraction: 0.1}}",
        "{memorised: {file: a.csv, group: hihg, count: 5}}",
        "4: forget_set.memorised.group = hihg",
        "must be 'low', 'mid' or 'high'",
        "did you mean high?",
    ),
    "fields that exclude each other": (
        "{fraction: 0.1}",
        "{fraction: 0.1, count: 5}",
        "4: forget_set.random = {fraction: 0.1, count: 5}",
        "",
        "change one of its fields",
    ),
    "ids in a file that is missing": (
        "{random: {fraction: 0.1}}",
        "{ids: {file: no-such-file.txt}}",
        "4: forget_set = {ids: {file: no-such-file.txt}}",
        "no-such-file.txt",
        "",
    ),
    "images in a folder that is missing": (
        "dataset: digits",
        "dataset: {image_folder: {path: no-such-folder}}",
        "2: dataset = {image_folder: {path: no-such-folder}}",
        "no-such-folder",
        "",
    ),
    "a metric twice": (
        "search: {trials: 6}",
        "metrics: [test_accuracy, test_accuracy]",
        "21: metrics[1] = test_accuracy",
        "listed twice",
        "name every metric once",
    ),
    "no metric that counts": (
        "search: {trials: 6}",
        "metrics: [forgetting_score]",
        "21: metrics = [forgetting_score]",
        "none counts in the average gap",
        "add one of",
    ),
    "a metric of forgotten classes for forgotten samples": (
        "search: {trials: 6}",
        "metrics: [test_accuracy, test_accuracy_remaining]",
        "21: metrics",
        "test_accuracy_remaining needs whole classes to be forgotten; random forgets samples",
        "remove the metric, or change the forget set",
    ),
    "metrics not a list": (
        "search: {trials: 6}",
        "metrics: test_accuracy",
        "21: metrics = test_accuracy",
        "a list of metrics is expected",
        "write [retain_accuracy, ...]",
    ),
    "a name with spaces": (
        "name: small",
        "name: very small",
        "1: name = very small",
        "a sweep's name has only letters from a to z, digits",
        "choose another name",
    ),
    "a missing field": (
        "dataset: digits\n",
        "",
        "1: dataset",
        "required, but missing",
        "add `dataset: ...`; known are",
    ),
    "a field twice": (
        "search:",
        "validation: 0.1\nsearch:",
        "21: validation",
        "given twice, first on line 3",
        "keep one of them",
    ),
    "a value for a mapping": (
        "search: {trials: 6}",
        "search: 6",
        "21: search = 6",
        "a mapping of fields is expected",
        "write `field: value` lines under it",
    ),
    "fields for a method": (
        "  gradient_ascent:",
        "  gradient_ascent: [1]",
        "20: methods.gradient_ascent = [1]",
        "a mapping of fields is expected",
        "write `field: value` lines under it",
    ),
    "a method's name for its fields": (
        "  gradient_ascent:",
        "  gradient_ascent: finetune",
        "20: methods.gradient_ascent = finetune",
        "gradient_ascent has no ranges of this name",
        "write {field: value}, recommended, muc, muc_clip, or a sweep file",
    ),
    "a slip in a method's name above one field": (
        "  gradient_ascent:",
        "  gradient_acsent: {epochs: 1}",
        "20: methods.gradient_acsent = {epochs: 1}",
        "unknown method",
        "did you mean gradient_ascent?",
    ),
    "a slip in a method's name above a field that is like another's": (
        "  gradient_ascent:",
        "  neggradd: {finetun: 1}",
        "20: methods.neggradd = {finetun: 1}",
        "unknown method",
        "did you mean neggrad?",
    ),
    "a name of one's own without a method": (
        "  gradient_ascent:",
        "  my.own: {epochs: 1}",
        "20: methods.my.own = {epochs: 1}",
        "unknown method",
        f"known are {listed(parts(Method), 20)}; a study of your own name is "
        "my.own: {method: {field: value}}",
    ),
    "a name of one's own with nothing": (
        "  gradient_ascent:",
        "  my.own:",
        "20: methods.my.own = null",
        "unknown method",
        "known are",
    ),
    "a slip in the method of a name": (
        "  gradient_ascent:",
        "  my.own:\n    gradient_acsent: {epochs: 1}",
        "21: methods.my.own.gradient_acsent = {epochs: 1}",
        "unknown method",
        "did you mean gradient_ascent?",
    ),
    "a slip in the only word of a name": (
        "  gradient_ascent:",
        "  my.own: gradient_acsent",
        "20: methods.my.own = gradient_acsent",
        "unknown method",
        "did you mean gradient_ascent?",
    ),
    "a name of two methods": (
        "  gradient_ascent:",
        "  my.own: {neggrad: , gradient_ascent: }",
        "20: methods.my.own = {neggrad: null, gradient_ascent: null}",
        "one method is expected",
        "write a name, or {name: {field: value}}; known are",
    ),
    "unknown field of a method of a name": (
        "  gradient_ascent:",
        "  my.own:\n    neggrad:\n      epocs: 1",
        "22: methods.my.own.neggrad.epocs",
        "unknown field",
        "did you mean epochs?",
    ),
    "a study of a reference model's name": (
        "  gradient_ascent:",
        "  retrain: {neggrad: {epochs: 1}}",
        "20: methods.retrain = {neggrad: {epochs: 1}}",
        "this is the name of a reference model",
        "choose another name",
    ),
    "a study's name with a space": (
        "  gradient_ascent:",
        "  my own: neggrad",
        "20: methods.my own = neggrad",
        "a study's name has only letters, digits, `_`, `-` and `.`",
        "choose another name",
    ),
    "a study's name that a folder cannot have": (
        "  gradient_ascent:",
        "  ..: neggrad",
        "20: methods... = neggrad",
        "the last two not at the start",
        "choose another name",
    ),
    "a study's name twice": (
        "  gradient_ascent:",
        "  own: neggrad\n  own: finetune",
        "21: methods.own",
        "given twice, first on line 20",
        "keep one of them",
    ),
    "a tag": (
        "{trials: 6}",
        "{trials: !!python/name:os.system 6}",
        '21: search.trials = "6"',
        "unknown tag",
        "write it without the tag",
    ),
    "a tab": (
        "    epochs: 5",
        "\tepochs: 5",
        "13:1",
        "not YAML: found character '\\t'",
        "indent with spaces, not tabs",
    ),
    "a bracket left open": (
        "search: {trials: 6}",
        "search: {trials: 6",
        "22:6",
        "not YAML:",
        "correct the YAML at that place",
    ),
    "an alias that contains itself": (
        "search: {trials: 6}",
        "search: &a {trials: *a}",
        "21: search.trials",
        "an alias that contains itself",
        "write the value out",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_with_line_field_reason_and_remedy(case: str, write: Write) -> None:
    old, new, subject, reason, remedy = BAD[case]
    assert GOOD.count(old) == 1
    path = write(GOOD.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    error = caught.value
    assert not isinstance(error, ConfigErrors), str(error)
    assert error.subject.startswith(f"{path}:{subject}")
    assert reason in error.reason
    assert error.remedy.startswith(remedy)
    assert "\n" not in str(error)
    assert error.reason
    assert error.remedy


@pytest.mark.parametrize(
    ("text", "subject", "reason"),
    [
        ("", "", "empty"),
        ("# only this\n", "", "empty"),
        ("- 1\n- 2\n", ":1", "a sweep file is a mapping of fields"),
        ("just words\n", ":1", "a sweep file is a mapping of fields"),
        ("a: 1\n---\nb: 2\n", ":2:1", "not YAML"),
        ("a: 1\nb: \x00\n", ":2", "a NUL character"),
        ("? [a]\n: 1\n", ":1", "a field without a name"),
    ],
)
def test_a_file_that_is_no_sweep(text: str, subject: str, reason: str, write: Write) -> None:
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    assert caught.value.subject.split(" = ")[0] == f"{path}{subject}"
    assert reason in caught.value.reason


def test_a_file_that_cannot_be_read(tmp_path: Path, write: Write) -> None:
    near = write(GOOD)
    with pytest.raises(ConfigError, match=rf"no such file; did you mean {near}\?"):
        load_sweep(near.with_name("xx.yaml"))
    with pytest.raises(ConfigError, match="is a folder"):
        load_sweep(tmp_path)
    near.write_bytes(b"name: a\nstore: \xff\n")
    with pytest.raises(ConfigError, match=r"x.yaml:2: not UTF-8 text"):
        load_sweep(near)


def test_several_errors_are_told_at_once(write: Write) -> None:
    text = GOOD.replace("epochs: 5", "epocs: 5").replace("trials: 6", "trials: 0")
    text = text.replace("dataset: digits", "dataset: digit")
    with pytest.raises(ConfigErrors) as caught:
        load_sweep(write(text))
    lines = str(caught.value).splitlines()
    assert [line.split("x.yaml:")[1].split(":")[0] for line in lines] == ["2", "13", "21"]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_no_methods(write: Write) -> None:
    text = GOOD[: GOOD.index("methods:")] + "methods: {}\n"
    with pytest.raises(ConfigError, match=r"x.yaml:11: methods: no methods; name some"):
        load_sweep(write(text))


def test_an_override_that_may_mean_two_studies(write: Write) -> None:
    text = NAMED.replace("  again:", "  again.more: {finetune: {epochs: 1}}\n  again:")
    option = "--set methods.again.more.finetune.epochs=2"
    reason = rf"{option}: ambiguous: methods.again or methods.again.more"
    with pytest.raises(ConfigError, match=reason):
        load_sweep(write(text), ["methods.again.more.finetune.epochs=2"])


def test_an_override_is_named_in_its_error(write: Write) -> None:
    path = write(GOOD)
    cases = {
        "methods.finetune.epochs=x": "--set methods.finetune.epochs=x: must be a valid integer",
        "methods.finetune={epocs: 2}": "--set methods.finetune={epocs: 2}: "
        "methods.finetune.epocs: unknown field; did you mean epochs?",
        "serch.trials=3": "--set serch.trials=3: unknown field; did you mean search?",
        "search.trials": "--set search.trials: not of the form key=value",
        "=3": "--set =3: not of the form key=value",
        "seeds..tuning=3": "--set seeds..tuning=3: not of the form key=value",
        "search.trials.more=3": "--set search.trials.more=3: search.trials has no fields",
        "seeds.tuning=[2]": f"{path}:24: seeds.reporting = [2, 3]: 2 also among",
        "seeds.tuning=[0": "--set seeds.tuning=[0: not YAML:",
        "methods.own.finetune.epochs=x": "--set methods.own.finetune.epochs=x: must be a valid",
        "methods.own.finetun.epochs=1": "--set methods.own.finetun.epochs=1: unknown method; did",
        "methods.original=finetune": "--set methods.original=finetune: this is the name of a",
    }
    for assignment, message in cases.items():
        with pytest.raises(ConfigError) as caught:
            load_sweep(path, [assignment])
        assert str(caught.value).startswith(message)


def test_a_method_that_the_family_cannot_do(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = load_sweep(write(GOOD))
    alignment = sweep.studies[1].method
    reason = "alignment_calibration needs a contrastive family; byol has no negatives"
    monkeypatch.setattr(alignment, "unsupported", classmethod(lambda *_: reason))
    with pytest.raises(ConfigError) as caught:
        load_sweep(write(GOOD))
    assert "x.yaml:15: methods.alignment_calibration: " + reason in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        load_sweep(write(GOOD.replace("  gradient_ascent:", "  own: alignment_calibration")))
    assert "x.yaml:20: methods.own: " + reason in str(caught.value)


READS = "x.yaml:20: methods.gradient_penalty"


def penalised(write: Write, fields: str, validation: str = "0.2") -> Sweep:
    text = GOOD.replace("  gradient_ascent:", f"  gradient_penalty: {fields}")
    text = text.replace("dataset: digits", "dataset: cifar10")
    return load_sweep(write(text.replace("validation: 0.2", f"validation: {validation}")))


@pytest.mark.parametrize("fields", ["", "{beta: {uniform: [0, 1]}}", "{non_members: validation}"])
def test_a_method_that_reads_an_empty_validation_set(fields: str, write: Write) -> None:
    assert penalised(write, fields).studies[2].extra_data() == ("validation",)
    with pytest.raises(ConfigError) as caught:
        penalised(write, fields, validation="0")
    told = str(caught.value)
    assert READS in told
    assert told.endswith(
        "gradient_penalty: it reads the validation set, which is empty; "
        "set validation to 0.1, or remove the method"
    )


@pytest.mark.parametrize("fields", ["{beta: 0}", "{interpolation: members}"])
def test_a_method_that_reads_nothing_else(fields: str, write: Write) -> None:
    assert penalised(write, fields, validation="0").studies[2].extra_data() == ()


@pytest.mark.parametrize("named", ["svhn", "{svhn: {}}", "{svhn: }"])
def test_another_dataset_is_named_as_the_sweeps_own(named: str, write: Write) -> None:
    svhn = parts(Dataset)["svhn"]()
    sweep = penalised(write, f"{{non_members: {named}}}", validation="0")
    assert sweep.studies[2].fixed == {"non_members": svhn}
    assert sweep.studies[2].extra_data() == (svhn,)
    method = sweep.studies[2].at({})
    assert label(method) == "gradient_penalty(non_members=svhn)"
    assert plain(method)["non_members"]["name"] == "svhn"
    usual = penalised(write, "")
    assert content_key(method) != content_key(usual.studies[2].at({}))


CU = sorted(SWEEPS.glob("cu_*.yaml"))
GP = sorted(SWEEPS.glob("gp_*.yaml"))
DAU = sorted(SWEEPS.glob("dau_*.yaml"))
CLIP = sorted(SWEEPS.glob("clip_*.yaml"))
QUICKSTART = SWEEPS / "quickstart.yaml"
MUC = sorted(set(SWEEPS.glob("*.yaml")) - {*CU, *GP, *DAU, *CLIP, QUICKSTART})
# How the methods of the paper's tables are searched, in the order of its columns.
BASELINES = {
    "class": ["boundary_shrink", "boundary_expanding", "scrub", "unsir"],
    "sample": ["finetune", "gradient_ascent", "fisher", "lcodec"],
    "count": ["fisher"],
}


@pytest.mark.parametrize("path", MUC, ids=lambda path: path.stem)
def test_every_sweep_of_muc_loads(path: Path) -> None:
    sweep = load_sweep(path)
    assert sweep.name == path.stem
    names = [study.name for study in sweep.studies]
    assert names[:4] == ["finetune", "gradient_ascent", "neggrad", "l1_sparsity"]
    assert names[4:] == ["alignment_calibration"]
    assert all(study.space for study in sweep.studies)
    assert path.read_text().startswith("# MUC")


def test_the_quickstart_has_replicates_enough_for_verdicts() -> None:
    sweep = load_sweep(QUICKSTART)
    assert sweep.name == "quickstart"
    assert all(study.space for study in sweep.studies)
    seeds = sweep.seeds
    assert seeds.replicates >= replicates_needed(len(seeds.reporting), 0.05)
    assert sweep.objective.uses_floor()
    assert seeds.tuning_replicates > 1


@pytest.mark.parametrize("path", [*GP, *DAU], ids=lambda path: path.stem)
def test_every_sweep_of_attacked_models_loads_and_plans(path: Path, tmp_path: Path) -> None:
    sweep = load_sweep(path)
    assert sweep.name == path.stem
    kind, *what = path.stem.split("_")
    paper, method = {
        "gp": ("Gradient-penalty unlearning (2405.07317)", "gradient_penalty"),
        "dau": ("Discriminative adversarial unlearning (2402.06864)", "adversarial"),
    }[kind]
    assert path.read_text().startswith(f"# {paper}")
    assert sweep.studies[0].method.name == method
    assert all(study.space for study in sweep.studies)
    assert any(metric.name.endswith("_attack") for metric in sweep.metrics)
    assert (sweep.setting.sparsity is not None) == ("sparse" in what)
    if kind == "dau":
        assert sweep.setting.forget_set.whole_classes == ("class" in what)
    plan = make_plan(sweep, open_store(str(tmp_path / "store")))
    assert sum(study.wanted for study in plan.studies) == sweep.search.trials * len(sweep.studies)


def test_the_ablation_names_every_combination_of_terms() -> None:
    (path,) = [path for path in GP if path.stem == "gp_ablation"]
    terms = {
        tuple(
            name in study.space or bool(study.fixed.get(name))
            for name in ("alpha", "beta", "gamma")
        )
        for study in load_sweep(path).studies
    }
    assert terms == {*product((False, True), repeat=3)} - {(False,) * 3, (True, False, False)}


def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def mini_imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred classes of files that nobody decodes."""
    root, image = tmp_path_factory.mktemp("mini"), _jpeg()
    for part, count in (("train", 8), ("test", 1)):
        for name in range(100):
            folder = root / part / f"n{name:08}"
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.jpg").write_bytes(image)
    return root


@pytest.mark.parametrize("path", CU, ids=lambda path: path.stem)
def test_every_sweep_of_contrastive_unlearning_loads_and_plans(
    path: Path, mini_imagenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(tmp_path / "cache"))
    _, data, what = path.stem.split("_")
    images = [f"dataset.mini_imagenet.path={mini_imagenet}"] if data == "mini" else []
    sweep = load_sweep(path, images)
    assert sweep.name == path.stem
    assert path.read_text().startswith("# Contrastive Unlearning (2401.10458), ")
    names = [study.name for study in sweep.studies]
    published = [name for name in BASELINES.get(what, []) if (data, name) != ("mini", "lcodec")]
    assert names == ["contrastive_unlearning", *published]
    assert all(study.space for study in sweep.studies)
    counted = counted_columns(sweep.metrics)
    # Of a class sweep both halves of the test accuracy count, and then not the whole.
    of_classes = {"test_accuracy_remaining", "test_accuracy_forgotten"}
    of_test = of_classes if what == "class" else {"test_accuracy"}
    assert set(counted) == {"forget_accuracy", "retain_accuracy", *of_test}
    plan = make_plan(sweep, open_store(str(tmp_path / "store")))
    assert not any(reference.stored for reference in plan.references)
    assert sum(study.wanted for study in plan.studies) == sweep.search.trials * len(names)


@pytest.fixture(scope="module")
def brought(mini_imagenet: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What a person brings to the sweeps of CLIP: images, by overrides; no weights."""
    photos = coco_files(tmp_path_factory.mktemp("coco"), {"train": 20, "test": 4})
    folder = f"dataset.prompted.dataset.image_folder.path={mini_imagenet}"
    return {
        "clip_class": [folder, "family.clip.checkpoint=null"],
        "clip_coco": [f"dataset.coco_captions.{name}={path}" for name, path in photos.items()],
        "clip_digits": [],
    }


@pytest.mark.parametrize("path", CLIP, ids=lambda path: path.stem)
def test_every_sweep_of_clip_loads_and_plans(
    path: Path, brought: dict[str, list[str]], tmp_path: Path
) -> None:
    sweep = load_sweep(path, brought[path.stem])
    assert sweep.name == path.stem
    names = [study.name for study in sweep.studies]
    # In the order of MUC's Table 6.
    baselines = ["finetune", "gradient_ascent", "neggrad", "l1_sparsity"]
    of_classes = ["contrastive_unlearning"] if path.stem == "clip_class" else []
    assert names == [*baselines, "alignment_calibration", *of_classes]
    assert all(study.space for study in sweep.studies)
    assert all(study.fixed["optimizer"] == "adamw" for study in sweep.studies)
    counted = counted_columns(sweep.metrics)
    if path.stem == "clip_class":
        assert sweep.setting.forget_set.whole_classes
        assert {"test_accuracy_remaining", "test_accuracy_forgotten"} < set(counted)
    else:
        assert counted == ["pair_similarity_retain", "pair_similarity_forget"]
        calibration = sweep.studies[-1]
        assert calibration.space["beta"] == Range(kind="uniform", low=0, high=1)
        assert "gamma" not in calibration.fixed
        assert field_values(calibration.at({"alpha": 0.5, "beta": 1.0}))["learning_rate"] == 2e-4
    plan = make_plan(sweep, open_store(str(tmp_path / "store")))
    assert sum(study.wanted for study in plan.studies) == sweep.search.trials * len(names)


def test_clip_is_unlearned_as_in_mucs_table_6(brought: dict[str, list[str]]) -> None:
    """Appendix A.2."""
    sweep = load_sweep(SWEEPS / "clip_coco.yaml", brought["clip_coco"])
    assert label(sweep.setting.forget_set) == "random(fraction=0.1)"
    training = sweep.setting.training
    assert (training.epochs, training.batch_size, training.learning_rate) == (35, 256, 5e-4)
    assert training.schedule == "cosine"
    found = {
        study.name: (
            field_values(study.at(next(study.corners())))["epochs"],
            {name: (range_.low, range_.high) for name, range_ in study.space.items()},
        )
        for study in sweep.studies
    }
    assert found == {
        "finetune": (8, {"learning_rate": (5e-5, 5e-4)}),
        "gradient_ascent": (4, {"learning_rate": (5e-6, 5e-4)}),
        "neggrad": (8, {"learning_rate": (1e-5, 1e-4)}),
        "l1_sparsity": (8, {"coefficient": (1e-9, 1e-4)}),
        "alignment_calibration": (8, {"alpha": (0.5, 1), "beta": (0, 1)}),
    }
    methods = [study.at(next(study.corners())) for study in sweep.studies]
    assert {field_values(method)["schedule"] for method in methods} == {"constant"}


@pytest.mark.parametrize("path", [*CU, SWEEPS / "clip_class.yaml"], ids=lambda path: path.stem)
def test_every_sweep_of_contrastive_unlearning_runs_small(path: Path) -> None:
    """As its first lines say."""
    head = path.read_text().split("# Small, on a laptop")[1].split("\ndataset:")[0]
    sets = re.findall(r"--set ('[^']*'|\S+)", head)
    assert len(sets) >= 4
    sweep = load_sweep(path, [assignment.strip("'") for assignment in sets])
    assert sweep.setting.dataset.name in ("digits", "captioned_digits")
    assert sweep.resources.training.gpu == sweep.resources.trial.gpu == "auto"


def test_the_list_shows_every_part_with_its_fields() -> None:
    text = describe_parts()
    assert "  alignment_calibration  " in text
    assert "      coefficient: number >= 0 = 0.0001" in text
    assert "      width: whole number > 0 = 64" in text
    assert "      non_members: validation or a dataset = validation" in text
    assert "\n        hue: number >= 0" in text
    for name in (*parts(Metric), *parts(Family)):
        assert f"\n  {name} " in text


whole = st.integers(1 - 2**63, 2**63 - 1)
SCALAR = re.compile(r"^ *([a-z_]+): .* = (.*)$", re.MULTILINE)


def test_the_list_shows_every_field_of_a_sweep() -> None:
    text = describe_parts()
    sweep = text[: text.index("\ndataset\n")].splitlines()
    for cls in (Sweep, Setting, Search, Seeds, ResourcesByStep, Resources, Budget, Recipe, Probe):
        for name in schema_fields(cls):
            if name not in ("setting", "studies"):
                assert any(line.strip().startswith(f"{name}:") for line in sweep), name
    assert "  methods: {method: {field: value}}" in text
    assert "    tuning: list of whole number >= 0 and < 4294967296 = [0, 1, 2]" in sweep
    assert "    hours: number > 0 or null = null" in sweep
    assert "  sparsity: {method, fraction} or null = null" in sweep


def test_the_list_writes_defaults_as_a_sweep_file_does() -> None:
    text = describe_parts()
    assert "      epsilon: number >= 0 or null = null" in text
    assert "      through_sensitivity: true or false = true" in text
    assert '      templates: list of text = ["a photo of a {}."]' in text
    found = SCALAR.findall(text)
    assert len(found) > 300
    for name, default in found:
        if default != "that of the file":
            read = override(Value({}, "x", ""), f"{name}={default}").plain[name]
            assert not isinstance(read, str) or read == default, (name, default)
    for word in ("None", "True", "False"):
        assert word not in [default for _, default in found]


scalars = st.none() | st.booleans() | whole | st.floats(allow_nan=False)
finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)


@given(low=finite, high=finite, kind=st.sampled_from(["uniform", "log_uniform"]))
def test_a_range_is_taken_or_refused_as_its_ends_say(low: float, high: float, kind: str) -> None:
    ends = [Value(end, "x.yaml:1", "m.f") for end in (low, high)]
    value = Value({kind: Value(ends, "x.yaml:1", "m.f")}, "x.yaml:1", "m.f")
    if low < high and (kind == "uniform" or low > 0):
        assert read_range(value, float) == Range(kind=kind, low=low, high=high)  # type: ignore[arg-type]
    else:
        with pytest.raises(ConfigError, match=r"empty range|reaches zero"):
            read_range(value, float)


@given(low=st.integers(-9, 9), high=st.integers(-9, 9), floor=st.integers(-9, 9))
def test_both_ends_of_an_int_range_obey_the_field(low: int, high: int, floor: int) -> None:
    ends = [Value(end, "x.yaml:1", "m.f") for end in (low, high)]
    value = Value({"int": Value(ends, "x.yaml:1", "m.f")}, "x.yaml:1", "m.f")
    hint = Annotated[int, Field(ge=floor)]
    if floor <= low < high:
        assert read_range(value, hint) == Range(kind="int", low=low, high=high)
    else:
        with pytest.raises(ConfigError):
            read_range(value, hint)


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_survives_the_file(value: float) -> None:
    for text in (repr(value), f"{value:e}", f"{value:.17g}"):
        tree = override(Value({}, "x", ""), f"a={text}")
        assert math.isclose(tree.plain["a"], float(text), rel_tol=0, abs_tol=0)


@given(content=st.dictionaries(st.sampled_from("abcd"), scalars | st.lists(scalars), max_size=4))
def test_the_tree_reads_what_yaml_wrote(
    content: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_text(yaml.safe_dump(content))
    assert read_tree(path).plain == content


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("no", "no"), ("12:30", "12:30"), ("010", 10), ("0x1F", 31), ("1e-3", 1e-3)],
        *[("~", None), ("50_000", 50_000), (".5", 0.5), ("-.inf", -math.inf), ("1E5", 1e5)],
        *[("'1'", "1"), ("True", True), ("e", "e"), ("1.", 1.0), ("+3", 3), ("1e", "1e")],
        ("2026-01-01", "2026-01-01"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = override(Value({}, "x", ""), f"a={text}").plain["a"]
    assert found == value
    assert type(found) is type(value)


def test_the_readmes_sweep_loads(tmp_path: Path) -> None:
    blocks = (Path(__file__).parents[2] / "README.md").read_text().split("```")
    file = tmp_path / "readme.yaml"
    file.write_text(next(block for block in blocks if block.startswith("yaml\n"))[5:])
    sweep = load_sweep(file)
    names = [study.name for study in sweep.studies]
    assert names == ["finetune", "alignment_calibration", "strong"]
    assert sweep.setting.sparsity is not None
    assert sweep.resources.trial.gpu == 0.25
