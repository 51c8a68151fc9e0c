"""What is forgotten, and what is refused while planning."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data.base import DatasetInfo
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.ids import Ids
from unlearn_ray.data.forget_sets.random import Random
from unlearn_ray.data.sample_names import SampleNames, Unclear, quoted
from unlearn_ray.data.splits import split, validation_ids

NAMES = ("cat", "dog", "frog")
INFO = DatasetInfo(30, 9, NAMES, 8)
FILES = DatasetInfo(30, 9, NAMES, 8, tuple(f"cat/{number:02}.png" for number in range(30)))
LABELS = np.arange(30, dtype=np.int64) % 3


def ids_file(folder: Path, text: str | bytes, name: str = "ids.txt") -> Ids:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return Ids(file=str(path))


def looked_up(forget_set: Ids, info: DatasetInfo = INFO, validation: int = 0) -> list[int]:
    forget_set.check(info, validation)
    return forget_set.named_ids().tolist()


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
        (Random(fraction=0.01), r"fraction = 0.01: is less than one sample out of 27"),
        (
            Classes(classes=("dgo",)),
            r"dgo: the dataset has no class of this name; did you mean dog\?",
        ),
        (Classes(classes=(3,)), r"classes = 3: the dataset has 3 classes; .* from 0 to 2"),
        (Classes(classes=(-1,)), r"classes = -1: the dataset has 3 classes"),
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


# What one folder of each of 1, 2, ..., 12 is called, sorted as text: 1, 10, 11, 12, 2, ...
TWELVE = tuple(sorted(map(str, range(1, 13))))


@pytest.mark.parametrize(
    ("names", "given", "label"),
    [
        (TWELVE, "2", 4),
        (TWELVE, "11", 2),
        (TWELVE, 1, None),
        (TWELVE, 2, None),
        (TWELVE, 12, None),
        (TWELVE, 0, 0),
        (TWELVE, 13, None),
        (("0", "1", "2"), 2, 2),
        (("0", "1", "2"), "2", 2),
        (("00", "01", "02"), 2, 2),
        (("01", "02", "03"), 2, None),
        (("01", "02", "03"), 0, 0),
        (("class 1", "class 2", "class 3"), 1, None),
        (("class_1", "class_10", "class_2"), 2, 2),
        (("2", "two", "2b"), 2, None),
        (("a", "b", "2 b", "2"), 3, 3),
        (("a", "b", "2"), 2, 2),
        (("a", "b", "2", "of 2"), 2, 2),
        (("-1", "a"), -1, None),
        (("n01532829", "n01558993"), 1, 1),
        (("cat", "Cat"), "Cat", 1),
        (("cat", "dog"), "Cat", None),
        (("cat", "dog"), " cat", None),
        (("cat", "dog"), "cat ", None),
        (("caf\u00e9", "tea"), "cafe\u0301", None),
        (("caf\u00e9", "cafe\u0301"), "cafe\u0301", 1),
        (("cat", "cat"), "cat", None),
        (("a", "1", "1"), 1, None),
        (("a 3", "b 3", "c 3", "d"), 3, None),
        (("cat", "dog"), "1", None),
        (("cat", "dog"), "", None),
        (("no", "yes"), "no", 0),
        (("true", "1"), 1, 1),
        (("1", "true"), 1, None),
    ],
)
def test_a_class_is_what_it_is_called(
    names: tuple[str, ...], given: int | str, label: int | None
) -> None:
    """A name is that class's; a number is refused where it may also be another class's name."""
    info = DatasetInfo(60, 9, names, 8)
    forget_set = Classes(classes=(given,))
    if label is None:
        with pytest.raises(DataError, match=r"^classes = "):
            forget_set.check(info, 0)
    else:
        forget_set.check(info, 0)
        assert forget_set.named_classes() == (label,)


@given(
    st.lists(st.from_regex(r"[0-9]{1,2}", fullmatch=True), min_size=2, max_size=30, unique=True),
    st.integers(-1, 100),
)
@example(["0", "00"], 0)
@example(["00", "01"], 0)
def test_a_number_is_never_another_class(names: list[str], number: int) -> None:
    forget_set = Classes(classes=(number,))
    try:
        forget_set.check(DatasetInfo(60, 9, tuple(sorted(names)), 8), 0)
    except DataError:
        return
    (label,) = forget_set.named_classes()
    assert label == number
    found = sorted(names)[label]
    if found != str(number):  # where it is, both readings agree
        assert all(int(name) != number for name in names if name != found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            2,
            r'classes = 2: may be the class named "2" \(label 4\) or the class at position 2, '
            r'named "11"; write "2" or "11", in quotes, to say which',
        ),
        (3, r"classes = 3: .* or the class at position 3, named"),
        (12, r'classes = 12: is no label number; write "12", in quotes, to say which'),
        (
            "0",
            r'classes = 0: .* no class of this name; without quotes it is label number 0, .* "1"',
        ),
        ("\uff12", r'classes = .: .* did you mean "2"\? Some characters only look alike'),
        (10**400, r"classes = 1000000\d*\.\.\.: the dataset has 12 classes"),
    ],
)
def test_both_readings_of_a_number_are_told(given: int | str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Classes(classes=(given,)).check(DatasetInfo(60, 9, TWELVE, 8), 0)


@pytest.mark.parametrize("odd", [True, False, 2.0, None, b"cat", 1.5])
def test_nothing_but_names_and_whole_numbers(odd: object) -> None:
    with pytest.raises(ValueError, match="valid"):
        Classes(classes=(odd,))  # type: ignore[arg-type]


def test_messages_do_not_list_every_class() -> None:
    many = DatasetInfo(60_000, 9, tuple(f"class {'x' * 60} {n}" for n in range(5_000)), 8)
    each = (("nothing like it",), tuple(range(6_000, 9_000)), tuple(map(str, range(5_000))))
    for classes in each:
        with pytest.raises(DataError) as caught:
            Classes(classes=classes).check(many, 0)
        assert len(str(caught.value)) < 1_500


@pytest.mark.timeout(30)
def test_thousands_of_classes_are_found_at_once() -> None:
    many = DatasetInfo(60_000, 9, tuple(f"n{10**7 + number}" for number in range(20_000)), 8)
    by_number, by_name = (
        Classes(classes=tuple(range(5_000))),
        Classes(classes=many.class_names[:5_000]),
    )
    for forget_set in (by_number, by_name):
        forget_set.check(many, 0)
        assert forget_set.named_classes() == tuple(range(5_000))


def test_ids_from_a_file(tmp_path: Path) -> None:
    forget_set = ids_file(tmp_path, "# request 12\n7\n\n 3\t\n  # twice\n7\n29\n")
    assert looked_up(forget_set) == [3, 7, 29]
    order = np.array([29, 1, 7, 5])
    assert forget_set.select(order, LABELS).tolist() == [29, 7]


def test_ids_are_named_by_content(tmp_path: Path) -> None:
    one = ids_file(tmp_path, "3\n7\n", "one.txt")
    other = ids_file(tmp_path, "7\n# again\n3\n7", "other.txt")
    files = ids_file(tmp_path, "cat/07.png\ncat/03.png\n", "files.txt")
    third = ids_file(tmp_path, "3\n8\n", "third.txt")
    with pytest.raises(DataError, match=r"one.txt: its samples are not known .*; call check\(\)"):
        content_key(one)
    for forget_set in (one, other, third):
        forget_set.check(INFO, 0)
    files.check(FILES, 0)
    assert content_key(one) == content_key(other) == content_key(files)
    assert content_key(one) != content_key(third)


def test_ids_travel_without_their_file(tmp_path: Path) -> None:
    forget_set = ids_file(tmp_path, "cat/02.png\ncat/11.png\n")
    forget_set.check(FILES, 0)
    key, travelled = content_key(forget_set), pickle.loads(pickle.dumps(forget_set))
    assert b"cat/02" not in pickle.dumps(forget_set)
    (tmp_path / "ids.txt").unlink()
    assert content_key(travelled) == key
    assert travelled.select(np.arange(30), LABELS).tolist() == [2, 11]


# Image ids and file names as COCO has them: ids from 1, none of them a position.
COCO = DatasetInfo(
    5, 2, (), 8, ("000.jpg", "001.jpg", "12", "#1.jpg", " a.jpg"), ("2", "1", "7", "12", "004")
)


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        ("1", 1),
        ("2", 0),
        ("7", 2),
        ("004", 4),
        ("000.jpg", 0),
        ('"#1.jpg"', 3),
        ('"\\u0023\\u0031.jpg"', 3),
        (" a.jpg", 4),
        ('" a.jpg"', 4),
        ("0", None),  # a position
        ("4", None),
        ("12", None),  # the file of one image, the id of another
        ("#1.jpg", None),  # a comment or a file
        ("a.jpg", None),
        ("000.JPG", None),
        ('"1', None),
        ('"1" "2"', None),
        ("1 2", None),
        ("1,2", None),
        ("1 # the first", None),
        ("01", None),
        ("+1", None),
        ("1.0", None),
        ("\uff11", None),
        ("1\u20282", None),
    ],
)
def test_a_line_is_one_sample_or_refused(line: str, sample: int | None, tmp_path: Path) -> None:
    forget_set = ids_file(tmp_path, f"{line}\n")
    if sample is None:
        with pytest.raises(DataError, match="1 of 1 lines do not name one training sample: line 1"):
            forget_set.check(COCO, 0)
    else:
        assert looked_up(forget_set, COCO) == [sample]


def test_both_readings_of_a_line_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        ids_file(tmp_path, "12\n#1.jpg\n").check(COCO, 0)
    told = str(caught.value)
    assert (
        "line 1: '12' may be the image with the id 12 (write \"#1.jpg\") or the file named 12 "
        "(write 7)"
    ) in told
    assert "line 2: '#1.jpg' may be a comment or a sample (write \"#1.jpg\")" in told
    assert told.endswith("; write an image's id or file name, as in the caption file")


@pytest.mark.parametrize("line", ["3", "0", "29", "02.png", "train/cat/02.png", "cat\\02.png"])
def test_files_are_never_named_by_position(line: str, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"names, relative to train/ .* train_files.txt .* position"
    ):
        ids_file(tmp_path, line).check(FILES, 0)


@pytest.mark.parametrize("line", ["007", "1_0", "+3", "-0", "3.0", "0x3", "1e1", "٣", "9" * 5_000])
def test_a_position_is_written_in_digits(line: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="write positions in the training set, from 0 to 29") as e:
        ids_file(tmp_path, f"{line}\n1\n").check(INFO, 0)
    assert len(str(e.value)) < 500


@given(
    st.lists(
        st.text(st.characters(codec=None, exclude_characters="/"), min_size=1, max_size=6),
        min_size=3,
        max_size=8,
        unique=True,
    )
)
def test_what_train_files_says_is_read_as_that_file(names: list[str]) -> None:
    """Whatever a file is called: blanks, quotes, #, line breaks, no text at all."""
    info = DatasetInfo(len(names), 1, (), 8, tuple(names))
    found = SampleNames(info)
    for sample, name in enumerate(names):
        line = quoted(name)
        assert line.isprintable()
        try:
            assert found.find_line(line) == sample
        except Unclear:
            # Another file is called as this one is written in quotes.
            assert line in names


WORDS = (*COCO.sample_names, *COCO.sample_ids, "0", "3", "#", '"', " ", "\t", "\ufeff", "a", ".jpg")


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=3).map("".join), max_size=4))
def test_what_is_accepted_is_what_was_written(written: list[str]) -> None:
    """Whatever the lines are, a sample is found only by what it is called."""
    names = SampleNames(COCO)
    for line in written:
        try:
            sample = names.find_line(line)
        except Unclear:
            continue
        if sample is None:
            assert line.strip()[:1] in ("", "#")
        else:
            called = {COCO.sample_names[sample], COCO.sample_ids[sample]}
            assert called & {line, line.strip(), line.strip().strip('"')}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.one_of(
        st.binary(max_size=60),
        st.text(max_size=30).map(lambda text: text.encode("utf-16")),
        st.lists(st.integers(-2, 31), max_size=9).map(lambda n: "\n".join(map(str, n)).encode()),
    )
)
def test_any_bytes_are_samples_or_refused_in_one_line(data: bytes, tmp_path: Path) -> None:
    for info in (INFO, FILES, COCO):
        told = ""
        try:
            found = looked_up(ids_file(tmp_path, data), info)
        except DataError as error:
            told, found = str(error), []
        assert told.isprintable()
        assert set(found) < set(range(info.train_size))


def test_all_bad_lines_are_counted_and_nothing_is_guessed(tmp_path: Path) -> None:
    text = "".join(f"cat/{number:02}.jpg\n" for number in range(500)) + "cat/03.png\n"
    with pytest.raises(DataError) as caught:
        ids_file(tmp_path, text).check(FILES, 3)
    told = str(caught.value)
    assert ": 500 of 501 lines do not name one training sample: line 1: 'cat/00.jpg', " in told
    assert "line 5: 'cat/04.jpg' and 495 more; write names" in told
    assert "line 6" not in told
    assert "did you mean" not in told
    assert ".png" not in told
    assert len(told) < 700


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n\n", r"names no sample; write names"),
        ("\n".join(f"cat/{n:02}.png" for n in range(30)), r"names 30 samples: .*nothing to retain"),
    ],
)
def test_bad_ids(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ids_file(tmp_path, text).check(FILES, 3)


def test_names_that_a_dataset_of_ones_own_gives_to_some_or_twice(tmp_path: Path) -> None:
    some = replace(FILES, sample_names=FILES.sample_names[:4])
    with pytest.raises(DataError, match="4 of 30 training samples: the dataset must name all"):
        ids_file(tmp_path, "cat/01.png").check(some, 0)
    twice = replace(FILES, sample_names=("a", "a", *FILES.sample_names[2:]))
    with pytest.raises(DataError, match="'a' may be sample 1, one of several"):
        ids_file(tmp_path, "a").check(twice, 0)


def test_named_samples_are_never_in_validation(tmp_path: Path) -> None:
    kept_out = validation_ids(30, 5, seed=1).tolist()
    some = ids_file(tmp_path, "\n".join(map(str, kept_out)))
    some.check(INFO, 5)
    parts = split(LABELS, 5, some, seed=1)
    assert sorted(parts.forget.tolist()) == sorted(kept_out)
    assert len(parts.validation) == 5
    assert not set(kept_out) & set(parts.validation.tolist())
    most = ids_file(tmp_path, "\n".join(map(str, range(25))), "most.txt")
    with pytest.raises(DataError, match=r"25 samples: which leaves nothing to retain.* on 25"):
        most.check(INFO, 5)


def test_nothing_to_retain_under_a_seed() -> None:
    with pytest.raises(DataError, match=r"nothing is left to retain under seed 0"):
        split(np.zeros(30, dtype=np.int64), 5, Classes(classes=(0,)), seed=0)
