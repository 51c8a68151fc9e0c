"""Any dataset of torchvision, read by its own classes from small files in their formats."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.tiny import tiny_sweep
from unlearn_ray.core.errors import ConfigError, DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data import loaded
from unlearn_ray.data.datasets.torchvision import Torchvision

PIXELS, LABELS = load_digits(return_X_y=True)
IMAGES = np.round(PIXELS * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(cache))
    # Nothing listens on port 9: every request is refused at once.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return cache


def write_idx(file: Path, array: np.ndarray) -> None:
    """The format of MNIST's files."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    file.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())


def fashion(root: Path, count: int = 60, test: int = 20) -> Path:
    """Digits in FashionMNIST's files."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, rows in (("train", slice(count)), ("t10k", slice(count, count + test))):
        write_idx(raw / f"{name}-images-idx3-ubyte", IMAGES[rows])
        write_idx(raw / f"{name}-labels-idx1-ubyte", LABELS[rows])
    return root


def countries(root: Path) -> Path:
    """Digits of several sizes in Country211's folders, as PNG files."""
    for part, rows in (("train", range(12)), ("valid", range(12, 18)), ("test", range(18, 24))):
        for row in rows:
            folder = root / "country211" / part / ("AD" if LABELS[row] < 5 else "AE")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(IMAGES[row]).resize((8 + row, 12)).save(folder / f"{row:02}.png")
    return root


def test_images_labels_and_classes_are_those_of_the_files(tmp_path: Path) -> None:
    dataset = Torchvision(dataset="FashionMNIST", folder=str(fashion(tmp_path)))
    info = dataset.info()
    assert (info.train_size, info.test_size, info.image_size) == (60, 20, 8)
    assert info.class_names[:2] == ("T-shirt/top", "Trouser")
    data = dataset.load(tmp_path / "cache")
    for channel in range(3):
        assert np.array_equal(data.train_images[..., channel], IMAGES[:60])
        assert np.array_equal(data.test_images[..., channel], IMAGES[60:80])
    assert data.train_labels.tolist() == LABELS[:60].tolist()
    assert data.test_labels.tolist() == LABELS[60:80].tolist()
    assert np.array_equal(dataset.known_labels(), data.train_labels)
    assert dataset.prompts()[1] == ("a photo of a Trouser.",)


def test_a_class_that_hands_arguments_on(tmp_path: Path) -> None:
    """EMNIST's `split` is no part of its data: `train` is, which its base takes."""
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, rows in (("train", slice(40)), ("test", slice(40, 60))):
        write_idx(raw / f"emnist-letters-{name}-images-idx3-ubyte", IMAGES[rows])
        write_idx(raw / f"emnist-letters-{name}-labels-idx1-ubyte", LABELS[rows] + 1)
    options = {"split": "letters"}
    dataset = Torchvision(dataset="EMNIST", folder=str(tmp_path), options=options)
    info = dataset.info()
    assert (info.train_size, info.test_size) == (40, 20)
    assert info.class_names[1:3] == ("a", "b")
    with pytest.raises(DataError, match="EMNIST, training set: cannot be downloaded"):
        Torchvision(dataset="EMNIST", options={"split": "digits"}).info()


def test_the_key_is_that_of_the_content(tmp_path: Path) -> None:
    root = fashion(tmp_path / "one")
    first = Torchvision(dataset="FashionMNIST", folder=str(root))
    key = content_key(first)
    other = Torchvision(dataset="FashionMNIST", folder=str(fashion(tmp_path / "two")))
    assert content_key(other) == key
    assert content_key(Torchvision(dataset="FashionMNIST", folder=str(root), image_size=8)) == key
    assert content_key(Torchvision(dataset="FashionMNIST", folder=str(root), image_size=9)) != key
    swapped = LABELS[:60].copy()
    swapped[:2] = swapped[1::-1]
    write_idx(root / "FashionMNIST" / "raw" / "train-labels-idx1-ubyte", swapped)
    assert content_key(Torchvision(dataset="FashionMNIST", folder=str(root))) != key
    assert str(root) not in repr(first.content())


def test_another_machine_must_have_the_same_files(tmp_path: Path) -> None:
    root = fashion(tmp_path / "one")
    planned = Torchvision(dataset="FashionMNIST", folder=str(root))
    key = content_key(planned)
    sent = pickle.loads(pickle.dumps(planned))
    assert loaded.load(sent, tmp_path / "elsewhere").train_labels.tolist() == LABELS[:60].tolist()
    write_idx(root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte", 255 - IMAGES[:60])
    assert content_key(sent) == key
    with pytest.raises(DataError, match="other images than when the sweep was planned"):
        loaded.load(sent, tmp_path / "elsewhere")


def test_folders_of_images_of_any_size(tmp_path: Path) -> None:
    root = str(countries(tmp_path))
    with pytest.raises(DataError, match=r"of the train set of Country211 has .* set image_size"):
        Torchvision(dataset="Country211", folder=root).info()
    cropped = Torchvision(dataset="Country211", folder=root, image_size=6)
    data = cropped.load(tmp_path / "cache")
    assert data.train_images.shape == (12, 6, 6, 3)
    assert cropped.info().class_names == ("AD", "AE")
    stretched = Torchvision(dataset="Country211", folder=root, image_size=6, resize="stretch")
    assert not np.array_equal(stretched.load(tmp_path / "cache").train_images, data.train_images)
    # A class whose test set has another name, or a set that is named.
    valid = Torchvision(
        dataset="Country211", folder=root, image_size=6, test={"split": "valid"}
    ).load(tmp_path / "cache")
    from torchvision.datasets import Country211

    wanted = [label for _, label in Country211(root, split="valid")]
    assert valid.test_labels.tolist() == wanted


def test_a_synthetic_one_needs_no_folder(tmp_path: Path) -> None:
    options: dict[str, Any] = {"image_size": (3, 8, 8), "num_classes": 3}
    dataset = Torchvision(
        dataset="FakeData",
        options=options,
        train={"size": 20},
        test={"size": 6, "random_offset": 20},
    )
    assert dataset.load(tmp_path / "cache").train_images.shape == (20, 8, 8, 3)
    assert dataset.info().class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "FashionMnist"}, "no dataset of this name; did you mean FashionMNIST"),
        ({"dataset": "VisionDataset"}, "no dataset of this name"),
        ({"dataset": "FashionMNIST"}, "training set: .*ownload.*copy its files into"),
        ({"dataset": "EuroSAT"}, "not divided into training and test set; name the arguments"),
        ({"dataset": "ImageNet"}, "training set: .*archive.*copy its files into"),
        (
            {"dataset": "FashionMNIST", "options": {"subset": 1}},
            "unexpected keyword argument 'subset'; it takes root, train",
        ),
        (
            {"dataset": "Food101", "train": {"split": "all"}},
            "Unknown value 'all' for argument split",
        ),
        (
            {
                "dataset": "FakeData",
                "options": {"image_size": (3, 8, 8)},
                "train": {"size": 0},
                "test": {"size": 0},
            },
            "it is empty",
        ),
    ],
)
def test_errors(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        Torchvision(**fields).info()


def test_a_path_is_no_name() -> None:
    with pytest.raises(ValueError, match="should match pattern"):
        Torchvision(dataset="../../etc")


def test_other_targets_than_a_label_are_refused(tmp_path: Path) -> None:
    from torchvision.datasets import VOCDetection

    voc = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (voc / folder).mkdir(parents=True)
    for name in ("train", "val"):
        (voc / "ImageSets" / "Main" / f"{name}.txt").write_text("a\n")
    Image.fromarray(IMAGES[0]).save(voc / "JPEGImages" / "a.jpg")
    (voc / "Annotations" / "a.xml").write_text("<annotation><object/></annotation>")
    sets: dict[str, Any] = {
        name: {"image_set": part} for name, part in (("train", "train"), ("test", "val"))
    }
    assert len(VOCDetection(str(tmp_path), image_set="val")) == 1
    dataset = Torchvision(
        dataset="VOCDetection", folder=str(tmp_path), options={"download": False}, **sets
    )
    with pytest.raises(DataError, match=r"no image classification: a sample is \(Image, dict\)"):
        dataset.info()


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    root = countries(tmp_path)
    (root / "country211" / "train" / "AD" / "00.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="training set: image 0 cannot be read"):
        Torchvision(dataset="Country211", folder=str(root), image_size=6).info()


SWEEP = """\
name: fashion
dataset: {{torchvision: {{dataset: {dataset}, folder: "{folder}"}}}}
validation: 10
forget_set: {{classes: {{classes: [Trouser]}}}}
model: {{resnet8: {{width: 4}}}}
family: supervised
training: {{epochs: 1, batch_size: 16}}
methods: {{finetune: {{epochs: 1, learning_rate: 0.01}}}}
"""


def test_in_a_sweep_file(tmp_path: Path) -> None:
    text = SWEEP.format(dataset="FashionMNIST", folder=fashion(tmp_path / "files"))
    assert tiny_sweep(tmp_path, text).setting.forget_set.named_classes() == (1,)
    with pytest.raises(ConfigError, match=r"tiny.yaml:2: dataset.*did you mean FashionMNIST"):
        tiny_sweep(tmp_path, SWEEP.format(dataset="FashionMnist", folder=tmp_path))
