"""What is forgotten, and what is refused while planning."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.ids import Ids
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.data.splits import never_trained, split, validation_ids

NAMES = ("cat", "dog", "frog")
INFO = DatasetInfo(30, 9, NAMES, 8)
FILES = DatasetInfo(30, 9, NAMES, 8, tuple(f"cat/{number:02}.png" for number in range(30)))
LABELS = np.arange(30, dtype=np.int64) % 3


def ids_file(folder: Path, text: str, name: str = "ids.txt") -> Ids:
    (folder / name).write_text(text)
    return Ids(file=str(folder / name))


def test_random_takes_the_first_of_the_order() -> None:
    order = np.random.RandomState(0).permutation(30)
    assert np.array_equal(Random(fraction=0.25).select(order, LABELS), order[:7])
    assert np.array_equal(Random(count=4).select(order, LABELS), order[:4])
    assert content_key(Random()) == content_key(Random(fraction=0.1))


def test_random_is_a_fraction_or_a_count() -> None:
    with pytest.raises(ValueError, match="fraction or count, not both"):
        Random(fraction=0.1, count=5)


@pytest.mark.parametrize(
    ("forget_set", "message"),
    [
        (Random(count=27), r"count = 27: leaves nothing to retain.* trained on 27 samples"),
        (Random(count=99), r"count = 99: leaves nothing to retain"),
        (Random(fraction=0.01), r"fraction = 0.01: is less than one of 27 samples"),
        (Classes(classes=("dgo",)), r"'dgo': the dataset has no such class; did you mean dog\?"),
        (Classes(classes=(3,)), r"classes = 3: the dataset has 3 classes; .* from 0 to 2"),
        (Classes(classes=(-1,)), r"classes = -1"),
        (Classes(classes=("cat", 1, 2)), r"leaves nothing to retain"),
    ],
)
def test_what_the_dataset_cannot_give(forget_set: Random | Classes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        forget_set.check(INFO, 3)


def test_classes_by_name_or_number_are_the_same() -> None:
    by_name, by_number = Classes(classes=("frog", "cat")), Classes(classes=(0, 2))
    with pytest.raises(DataError, match="check"):
        by_name.identity()
    by_name.check(INFO, 3)
    assert content_key(by_name) == content_key(by_number)
    order = np.arange(29, 2, -1)
    travelled = pickle.loads(pickle.dumps(by_name))
    assert np.array_equal(travelled.select(order, LABELS), [i for i in order if i % 3 != 1])
    assert np.array_equal(by_number.select(order, LABELS), travelled.select(order, LABELS))


def test_ids_from_a_file(tmp_path: Path) -> None:
    forget_set = ids_file(tmp_path, "# request 12\n7\n\n 3  # twice\n7\n29\n")
    forget_set.check(INFO, 3)
    assert forget_set.named_ids().tolist() == [3, 7, 29]
    order = np.array([29, 1, 7, 5])
    assert forget_set.select(order, LABELS).tolist() == [29, 7]


def test_ids_are_named_by_content(tmp_path: Path) -> None:
    one = ids_file(tmp_path, "3\n7\n", "one.txt")
    other = ids_file(tmp_path, "7\n3 # again\n7", "other.txt")
    files = ids_file(tmp_path, "cat/07.png\n3\n", "files.txt")
    files.check(FILES, 0)
    assert content_key(one) == content_key(other) == content_key(files)
    assert content_key(one) != content_key(ids_file(tmp_path, "3\n8\n", "third.txt"))


def test_ids_travel_without_their_file(tmp_path: Path) -> None:
    forget_set = ids_file(tmp_path, "cat/02.png\ncat/11.png\n")
    forget_set.check(FILES, 0)
    key, travelled = content_key(forget_set), pickle.loads(pickle.dumps(forget_set))
    (tmp_path / "ids.txt").unlink()
    assert content_key(travelled) == key
    assert travelled.select(np.arange(30), LABELS).tolist() == [2, 11]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3\n30\n", r"ids.txt:2: 30: the training set has 30 samples; give ids from 0 to 29"),
        ("-1\n", r"ids.txt:1: -1: the training set has 30"),
        ("3.5\n", r"ids.txt:1: 3.5: neither a sample id nor the name of a training file"),
        ("cat/77.png\n", r"cat/77.png: neither .* did you mean cat/[0-9]7.png\?"),
        ("# nothing\n\n", r"names no sample"),
        ("\n".join(map(str, range(30))), r"names 30 samples: .*nothing to retain"),
    ],
)
def test_bad_ids(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ids_file(tmp_path, text).check(FILES, 3)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00\x81"])
def test_unreadable_ids(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ids.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"ids.txt: cannot be read"):
        Ids(file=str(path)).check(INFO, 3)


def test_validation_samples_were_never_trained_on(tmp_path: Path) -> None:
    kept_out = validation_ids(30, 5, seed=1).tolist()
    trained = next(number for number in range(30) if number not in kept_out)
    some = ids_file(tmp_path, "\n".join(map(str, [*kept_out[:2], trained])))
    assert never_trained(some, 30, 5, seed=1) == 2
    assert split(LABELS, 5, some, seed=1).forget.tolist() == [trained]
    none = ids_file(tmp_path, str(kept_out[0]), "none.txt")
    with pytest.raises(DataError, match=r"none of its samples was trained on under seed 1"):
        split(LABELS, 5, none, seed=1)


def test_nothing_to_retain_under_a_seed() -> None:
    with pytest.raises(DataError, match=r"nothing is left to retain under seed 0"):
        split(np.zeros(30, dtype=np.int64), 5, Classes(classes=(0,)), seed=0)
