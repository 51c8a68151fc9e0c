"""A plan says what will be forgotten, so that a person can check it before anything is trained."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import SWEEP, tiny_sweep
from tests.words import coco_files
from unlearn_ray import sweep
from unlearn_ray.config.yaml_tree import ConfigErrors
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.splits import training_ids
from unlearn_ray.reporting.plan_view import plan_view
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan

RANDOM = "{random: {fraction: 0.1}}"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(tmp_path / "cache"))


def said(folder: Path, text: str) -> str:
    """What a plan says of it, in one line."""
    plan = make_plan(tiny_sweep(folder, text), open_store(str(folder / "store")))
    view = plan_view(plan, "here")
    return " | ".join(line.strip() for line in view.split("\n\n")[1].splitlines())


def numbered_folders(root: Path) -> Path:
    """Three training images of each of twelve classes that are called 1 to 12."""
    for part, count in (("train", 3), ("test", 1)):
        for name in range(1, 13):
            for number in range(count):
                path = root / part / str(name) / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (9, 9), (name * 20, number, 0)).save(path)
    return root


def folder_sweep(root: Path, forget_set: str) -> str:
    dataset = f"{{image_folder: {{path: {root}, image_size: 8}}}}"
    text = SWEEP.replace("{digits: {image_size: 8}}", dataset).replace(RANDOM, forget_set)
    return text.replace("validation: 0.5", "validation: 6")


def test_random_samples(tmp_path: Path) -> None:
    told = said(tmp_path, SWEEP)
    first = training_ids(1437, 0.5, 0)[:5].tolist()
    shown = ", ".join(f"sample {number}" for number in first)
    assert told == (
        "To be forgotten: | 71 of 719 samples that are trained on, 9.87 %, drawn per seed"
        f" | under seed 0: {shown} and 66 more"
    )


def test_classes(tmp_path: Path) -> None:
    told = said(tmp_path, SWEEP.replace(RANDOM, '{classes: {classes: ["7", 3]}}'))
    labels = Digits().known_labels()
    of = {n: [int((labels[training_ids(1437, 0.5, seed)] == n).sum()) for seed in (0, 1)]
          for n in (3, 7)}  # fmt: skip
    for number, counts in of.items():
        low, high = sorted(counts)
        assert f"class '{number}' (label {number}): {low} to {high} samples (by seed)" in told
    low, high = sorted(a + b for a, b in zip(of[3], of[7], strict=True))
    assert f"| {low} to {high} of 719 samples that are trained on (by seed), " in told


def test_folders_that_are_numbers(tmp_path: Path) -> None:
    root = numbered_folders(tmp_path / "images")
    told = said(tmp_path, folder_sweep(root, '{classes: {classes: ["2"]}}'))
    assert "class '2' (label 4): " in told
    assert re.search(r"under seed 0: (2/[0-2].png(, )?)+$", told)
    message = r'tiny.yaml:4: .*classes = 2: may be the class named "2" .* position 2, named "11"'
    with pytest.raises(ConfigError, match=message):
        said(tmp_path, folder_sweep(root, "{classes: {classes: [2]}}"))


def test_named_files(tmp_path: Path) -> None:
    root = numbered_folders(tmp_path / "images")
    (tmp_path / "ids.txt").write_text("12/1.png\n2/0.png\n7/2.png\n")
    told = said(tmp_path, folder_sweep(root, f"{{ids: {{file: {tmp_path}/ids.txt}}}}"))
    assert "3 samples, named one by one" in told
    first = re.search(r"under seed 0: ([^|]*)", told)
    assert first is not None
    assert set(first[1].strip().split(", ")) <= {"12/1.png", "2/0.png", "7/2.png"}


def test_captioned_images(tmp_path: Path) -> None:
    fields = coco_files(tmp_path / "photos", {"train": 6, "test": 3})
    dataset = json.dumps({"coco_captions": {**fields, "image_size": 8}})
    text = SWEEP.replace("{digits: {image_size: 8}}", dataset).replace("0.5", "0")
    text = text.replace("[retain_accuracy, test_accuracy]", "[emia_efficacy]")
    (tmp_path / "ids.txt").write_text("7\n000.jpg\n")
    told = said(tmp_path, text.replace(RANDOM, f"{{ids: {{file: {tmp_path}/ids.txt}}}}"))
    assert "2 samples, named one by one: none of them is held out" in told
    assert "validation | 2 of 6 samples that are trained on, 33.33 %" in told
    shown = told.split("under seed 0: ")[1].split(", ")
    assert sorted(shown) == ["000.jpg (id 12)", "005.jpg (id 7)"]


def test_what_is_not_decoded_yet(tmp_path: Path) -> None:
    """How many images of a class the training set has cannot be told before."""
    text = SWEEP.replace("{digits: {image_size: 8}}", "cifar10")
    told = said(tmp_path, text.replace(RANDOM, "{classes: {classes: [dog]}}"))
    assert "class 'dog' (label 5): all its samples | of 25,000 samples" in told
    assert "known once the dataset has been decoded on this machine" in told


def test_many_names_and_seeds_are_not_all_shown(tmp_path: Path) -> None:
    seeds = ", ".join(map(str, range(1, 300)))
    text = SWEEP.replace("[0]", f"[{seeds}]").replace("[1]", "[0]")
    (tmp_path / "ids.txt").write_text("".join(f"{number}\n" for number in range(400)))
    text = text.replace(RANDOM, f"{{ids: {{file: {tmp_path}/ids.txt}}}}")
    assert all(len(part) < 600 for part in said(tmp_path, text).split(" | "))
    assert "400 of 719 samples that are trained on" in said(tmp_path, text)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("08", "the number 8"),
        ("010", "the number 10"),
        ("1_0", "the number 10"),
        ("0x2", "the number 2"),
        ("+2", "the number 2"),
        ("-0", "the number 0"),
        ("2.0", "the number 2.0"),
        ("2e0", "the number 2.0"),
        (".inf", "the number inf"),
        ("true", "a truth value"),
        ("null", "no value at all"),
        ("~", "no value at all"),
    ],
)
def test_words_that_yaml_reads_otherwise(written: str, read: str, tmp_path: Path) -> None:
    root = numbered_folders(tmp_path / "images")
    text = folder_sweep(root, f"{{classes: {{classes: [{written}]}}}}")
    reason = f'{written} is read as {read}, and may be a name; write "{written}" in quotes'
    with pytest.raises(ConfigError, match=rf"classes\[0\] = .*: {re.escape(reason)}"):
        tiny_sweep(tmp_path, text)
    # In quotes it is a name, and no class has it.
    text = folder_sweep(root, f"{{classes: {{classes: ['{written}']}}}}")
    with pytest.raises(ConfigError, match="the dataset has no class of this name"):
        tiny_sweep(tmp_path, text)


@pytest.mark.parametrize("word", ["no", "off", "0o7", "12:30", "2020-01-01"])
def test_words_that_yaml_reads_as_text(word: str, tmp_path: Path) -> None:
    root = numbered_folders(tmp_path / "images")
    for part in ("train", "test"):
        (root / part / "3").rename(root / part / word)
    assert f"class '{word}' (label " in said(
        tmp_path, folder_sweep(root, f"{{classes: {{classes: [{word}]}}}}")
    )


def test_a_thousand_faults_of_a_file_are_not_all_shown(tmp_path: Path) -> None:
    fields = "".join(f"field{number}: 1\n" for number in range(1_000))
    with pytest.raises(ConfigErrors) as caught:
        tiny_sweep(tmp_path, SWEEP + fields)
    assert len(str(caught.value).splitlines()) == 21
    assert str(caught.value).endswith("and 980 more; fix these first")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", ["pipe", "~nosuchuser/a", '"a\\0b"', '"a\\ud800b"', "/dev/zero"])
def test_files_that_would_stop_a_plan(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    given = str(tmp_path / "pipe") if path == "pipe" else path
    file = tmp_path / "tiny.yaml"
    file.write_text(SWEEP.replace(RANDOM, f"{{ids: {{file: {given}}}}}"))
    assert sweep.main(["plan", str(file), "--store", str(tmp_path / "store")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file}:4: ")
    assert line.isprintable()


def test_counts_are_those_of_the_split(tmp_path: Path) -> None:
    text = SWEEP.replace(RANDOM, "{classes: {classes: [4]}}")
    taken = make_plan(tiny_sweep(tmp_path, text), open_store(str(tmp_path / "store"))).forgotten
    order = np.random.RandomState(1).permutation(1437)[718:]
    assert taken.counts[1] == int((Digits().known_labels()[order] == 4).sum())
    assert taken.classes[0].counts == taken.counts
