"""Mini-ImageNet from both layouts, in miniature."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data.datasets.image_folder import ImageFolder
from unlearn_ray.data.datasets.mini_imagenet import MiniImageNet
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.ids import Ids

# Few-shot splits divide classes: each stands in one file alone.
SPLITS = {"train": ("n03", "n01", "n07"), "val": ("n02",), "test": ("n05", "n04")}
CLASSES = ("n01", "n02", "n03", "n04", "n05", "n07")
PER_CLASS = 5


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(cache))
    return cache


def colour(label: str, number: int) -> tuple[int, int, int]:
    return 30 * int(label[1:]), 40 * number, 7


def draw(path: Path, label: str, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12 + number, 10), colour(label, number)).save(path)


def write_rows(path: Path, rows: list[tuple[str, str]], head: str = "filename,label") -> None:
    with path.open("w", newline="") as file:
        file.write(f"{head}\n")
        csv.writer(file).writerows(rows)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The layout with split files; their rows are in no order."""
    root = tmp_path / "mini"
    for split, labels in SPLITS.items():
        rows = []
        for number in (3, 0, 4, 1, 2):
            for label in labels:
                name = f"{label}0000000{number}.png"
                draw(root / "images" / name, label, number)
                rows.append((name, label))
        write_rows(root / f"{split}.csv", rows)
    return root


@pytest.mark.parametrize("kept", [1, 3, 4])
def test_split_files_become_a_classification_dataset(
    root: Path, own_cache: Path, kept: int
) -> None:
    dataset = MiniImageNet(path=str(root), image_size=6, train_per_class=kept)
    info = dataset.info()
    assert info.class_names == CLASSES
    assert (info.train_size, info.test_size) == (6 * kept, 6 * (PER_CLASS - kept))
    data = dataset.load(own_cache)
    # Image by image: of every class the first by name are trained on, the rest tested.
    train = [(label, number) for label in CLASSES for number in range(kept)]
    test = [(label, number) for label in CLASSES for number in range(kept, PER_CLASS)]
    for expected, images, labels in (
        (train, data.train_images, data.train_labels),
        (test, data.test_images, data.test_labels),
    ):
        assert images.shape == (len(expected), 6, 6, 3)
        assert images.dtype == np.uint8
        for (label, number), image, found in zip(expected, images, labels, strict=True):
            assert info.class_names[found] == label
            assert np.array_equal(image, np.broadcast_to(colour(label, number), (6, 6, 3)))


def test_it_is_84_pixels_and_500_a_class(root: Path) -> None:
    dataset = MiniImageNet(path=str(root))
    assert (dataset.image_size, dataset.train_per_class) == (84, 500)
    with pytest.raises(DataError, match=r"6 classes have no test image left: n01 \(5 images\)"):
        dataset.info()


def test_samples_and_classes_can_be_named(root: Path, tmp_path: Path) -> None:
    info = MiniImageNet(path=str(root), train_per_class=4).info()
    assert info.sample_names[4] == "n02/n0200000000.png"
    (tmp_path / "request.txt").write_text("n02/n0200000000.png\n")
    request = Ids(file=str(tmp_path / "request.txt"))
    request.check(info, 0)
    assert request.named_ids().tolist() == [4]
    by_name = Classes(classes=("n07",))
    by_name.check(info, 0)
    assert by_name.identity()["labels"] == [5]


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_split_files_made_elsewhere(root: Path, codec: str) -> None:
    info = MiniImageNet(path=str(root), train_per_class=3).info()
    for split in SPLITS:
        path = root / f"{split}.csv"
        path.write_bytes(path.read_text().replace("\n", "\r\n").encode(codec))
    assert MiniImageNet(path=str(root), train_per_class=3).info() == info


def test_class_folders_are_taken_as_they_are(tmp_path: Path, own_cache: Path) -> None:
    root = tmp_path / "folders"
    for part, numbers in (("train", (0, 1, 2)), ("val", (3,)), ("test", (4,))):
        for label in CLASSES:
            for number in numbers:
                draw(root / part / label / f"{number}.png", label, number)
    dataset = MiniImageNet(path=str(root), image_size=6)
    assert (dataset.info().train_size, dataset.info().test_size) == (18, 6)
    data, same = dataset.load(own_cache), ImageFolder(path=str(root), image_size=6).load(own_cache)
    assert np.array_equal(data.train_images, same.train_images)
    assert np.array_equal(data.test_labels, same.test_labels)
    assert len(list((own_cache / "decoded").glob("*/train_files.txt"))) == 2


def test_it_is_named_by_its_files_and_their_division(root: Path, tmp_path: Path) -> None:
    def key(path: Path, kept: int = 3) -> str:
        return content_key(MiniImageNet(path=str(path), train_per_class=kept))

    first = key(root)
    moved = root.rename(tmp_path / "elsewhere")
    assert key(moved) == first
    assert key(moved, 4) != first
    draw(moved / "images" / "n0100000000.png", "n01", 4)
    assert key(moved) != first


def no_column(root: Path) -> None:
    write_rows(root / "val.csv", [("a.png", "n02")], head="file,label")


def no_split(root: Path) -> None:
    (root / "val.csv").unlink()


def no_image(root: Path) -> None:
    (root / "images" / "n0100000002.png").unlink()


def short_row(root: Path) -> None:
    with (root / "test.csv").open("a") as file:
        file.write("n0100000009.png\n")


def listed_twice(root: Path) -> None:
    with (root / "test.csv").open("a") as file:
        file.write("n0100000001.png,n01\n")


def nothing_listed(root: Path) -> None:
    for split in SPLITS:
        write_rows(root / f"{split}.csv", [])


def of_two_classes(root: Path) -> None:
    """One picture would be forgotten as the one and retained as the other."""
    with (root / "test.csv").open("a") as file:
        file.write("./n0100000001.png,n04\n")


def label_with_blank(root: Path) -> None:
    """Another class than n04, and no person sees it."""
    with (root / "test.csv").open("a") as file:
        file.write("n0400000001.png,n04 \n")


def label_with_slash(root: Path) -> None:
    """Its images would count as those of a class n04."""
    with (root / "test.csv").open("a") as file:
        file.write("n0400000001.png,n04/a\n")


def all_images_gone(root: Path) -> None:
    for file in (root / "images").iterdir():
        file.unlink()


def pipe(root: Path) -> None:
    (root / "val.csv").unlink()
    os.mkfifo(root / "val.csv")


def no_text(root: Path) -> None:
    (root / "train.csv").write_bytes(b"filename,label\n\xff\xfe,n01\n")


def no_folder(root: Path) -> None:
    root.rename(root.with_name("other"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_column, r"val.csv: lacks the columns filename and label; put train.csv"),
        (no_split, r"val.csv: cannot be read: No such file"),
        (no_image, r"1 listed images .* read: images/n0100000002.png of class n01 \(No such file"),
        (
            all_images_gone,
            r"30 listed images cannot be read: images/n0100000000.png .* 25 more; put",
        ),
        (short_row, r"test.csv: 1 rows lack .*: n0100000009.png, '' \(test.csv:12\)"),
        (listed_twice, r"mini: 1 rows repeat an image: n0100000001.png \(test.csv:12\)"),
        (of_two_classes, r"mini: 1 rows repeat an image: ./n0100000001.png \(test.csv:12\)"),
        (label_with_blank, r"test.csv: 1 rows lack .*: n0400000001.png, 'n04 ' \(test.csv:12\)"),
        (label_with_slash, r"test.csv: 1 rows lack .*: label n04/a \(test.csv:12\)"),
        (pipe, r"val.csv: cannot be read: is a pipe"),
        (nothing_listed, r"mini: its split files list no image"),
        (no_text, r"train.csv:2: not UTF-8 text: byte 0xff; save it as UTF-8"),
        (no_folder, r"mini/train: No such file or directory; lay it out as train/CLASS"),
    ],
)
def test_bad_layouts(root: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(root)
    with pytest.raises(DataError, match=message):
        MiniImageNet(path=str(root), train_per_class=3).info()
