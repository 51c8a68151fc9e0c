"""Confusion and memorised samples in a sweep file: what a plan says, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.config.test_forgotten import RANDOM, said
from tests.tiny import SWEEP, tiny_sweep
from unlearn_ray.core.errors import ConfigError, DataError

CLASSIFIER = SWEEP.replace("family: simclr", "family: supervised")
CONFUSION = "{confusion: {classes: [3, %s], count: %s}}"


def estimates(folder: Path, samples: int = 1437) -> Path:
    frame = pd.DataFrame({"sample": range(samples)})
    frame["memorisation"] = frame["sample"] / 2000
    frame.to_csv(folder / "estimates.csv", index=False)
    return folder / "estimates.csv"


@pytest.mark.parametrize(
    ("forget_set", "reason"),
    [
        (CONFUSION % ('"3"', 5), "classes = [3, 3]: both are the same class; name two classes"),
        (CONFUSION % (10, 5), "classes = 10: the dataset has 10 classes; give a class's name"),
        (
            CONFUSION % (4, 400),
            "count = 400: leaves nothing to retain: models are trained on 719 samples, and 800 "
            "would be forgotten; swap fewer labels",
        ),
    ],
)
def test_confusion_is_refused_at_its_line(forget_set: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"tiny\.yaml:4: .*{re.escape(reason)}"):
        tiny_sweep(tmp_path, CLASSIFIER.replace(RANDOM, forget_set))


def test_memorised_is_refused_at_its_line(tmp_path: Path) -> None:
    """Also where the file stands in the line, but names what the dataset does not have."""
    given = f"{{memorised: {{file: {estimates(tmp_path, 2000)}, group: low, count: 5}}}}"
    reason = r"563 of 2,000 rows do not name one training sample: line 1439: '1437', "
    with pytest.raises(ConfigError, match=rf"tiny\.yaml:4: .*{reason}"):
        tiny_sweep(tmp_path, SWEEP.replace(RANDOM, given))
    given = f"{{memorised: {{file: {estimates(tmp_path, 30)}, group: low, count: 11}}}}"
    reason = r"count = 11: .*estimates.csv holds estimates of 30 samples, .*from 1 to 10"
    with pytest.raises(ConfigError, match=rf"tiny\.yaml:4: .*{reason}"):
        tiny_sweep(tmp_path, SWEEP.replace(RANDOM, given))


def test_a_plan_shows_swapped_labels(tmp_path: Path) -> None:
    told = said(tmp_path, CLASSIFIER.replace(RANDOM, CONFUSION % ('"8"', 20)))
    assert told.startswith(
        "To be forgotten: | class '3' (label 3): 20 samples | class '8' (label 8): 20 samples"
        " | the original is trained on these samples with the label of the other class"
        " | 40 of 719 samples that are trained on, 5.56 %, drawn per seed | under seed 0: "
    )


def test_a_plan_shows_them_before_the_dataset_is_decoded(tmp_path: Path) -> None:
    text = CLASSIFIER.replace("{digits: {image_size: 8}}", "cifar10")
    told = said(tmp_path, text.replace(RANDOM, "{confusion: {classes: [cat, dog], count: 9}}"))
    assert "class 'cat' (label 3): some of its samples | class 'dog' (label 5): some of" in told
    assert "with the label of the other class | of 25,000 samples" in told


def test_a_plan_shows_a_group_of_memorisation(tmp_path: Path) -> None:
    given = f"{{memorised: {{file: {estimates(tmp_path)}, group: high, count: 3}}}}"
    told = said(tmp_path, SWEEP.replace(RANDOM, given))
    assert told.startswith(
        "To be forgotten: | samples of high memorisation, of 1,437 with estimates"
        " | 3 of 719 samples that are trained on, 0.42 %, drawn per seed | under seed 0: sample 14"
    )


def test_a_seed_with_too_few_true_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"forget_set confusion: count = 90: leaves no true label"):
        said(tmp_path, CLASSIFIER.replace(RANDOM, CONFUSION % (8, 90)))
