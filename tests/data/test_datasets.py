"""Datasets: decoded as they should be, once, and clear about what is missing."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import unlearn_ray.core.torchvision_import  # noqa: F401
from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data.base import Dataset, ImageData
from unlearn_ray.data.cache import decoded
from unlearn_ray.data.datasets.cifar10 import Cifar10
from unlearn_ray.data.datasets.cifar100 import Cifar100
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.datasets.image_folder import ImageFolder
from unlearn_ray.data.datasets.svhn import Svhn
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.ids import Ids

# isort: split
from torchvision import datasets as torchvisions
from torchvision.transforms import CenterCrop, Compose, Resize


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(cache))
    return cache


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    assert cache_folder() == own_cache
    monkeypatch.delenv("UNLEARN_RAY_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "unlearn_ray"


def agrees(data: ImageData, dataset: Dataset) -> None:
    info = dataset.info()
    for images, labels, size in (
        (data.train_images, data.train_labels, info.train_size),
        (data.test_images, data.test_labels, info.test_size),
    ):
        assert images.shape == (size, info.image_size, info.image_size, 3)
        assert images.dtype == np.uint8
        assert labels.shape == (size,)
        assert labels.dtype == np.int64
        assert set(labels.tolist()) == set(range(len(info.class_names)))


@pytest.mark.parametrize("size", [8, 16, 5])
def test_digits(size: int, own_cache: Path) -> None:
    dataset = Digits(image_size=size)
    data = dataset.load(own_cache)
    agrees(data, dataset)
    assert data.train_images.max() > 250
    assert (data.train_images[..., 0] == data.train_images[..., 2]).all()


def test_digits_are_scikit_learns(own_cache: Path) -> None:
    pixels, labels = load_digits(return_X_y=True)
    data = Digits(image_size=8).load(own_cache)
    both = [(data.train_images, data.train_labels), (data.test_images, data.test_labels)]
    ours = sorted(
        (image[..., 0].tobytes(), label)
        for images, classes in both
        for image, label in zip(images, classes.tolist(), strict=True)
    )
    levels = np.round(pixels * (255 / 16)).astype(np.uint8)
    assert ours == sorted((p.tobytes(), int(c)) for p, c in zip(levels, labels, strict=True))
    share = np.bincount(data.test_labels) / np.bincount(labels)
    assert np.abs(share - 360 / 1797).max() < 1 / 170


# torchvision's datasets, read by its own code from small files in its formats.


def cifar_archive(folder: Path, cls: Any, monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    random = np.random.RandomState(0)
    folder.mkdir()
    meta = {cls.meta["key"]: ["a", "b"]}
    contents = {cls.meta["filename"]: meta}
    for name, _ in cls.train_list + cls.test_list:
        pixels = random.randint(0, 256, (2, 3072), dtype=np.uint8)
        contents[name] = {"data": pixels, label: [0, 1]}  # type: ignore[dict-item, list-item]
    digests = {}
    with tarfile.open(folder / cls.filename, "w:gz") as archive:
        for name, content in contents.items():
            data = pickle.dumps(content)
            digests[name] = hashlib.md5(data).hexdigest()
            entry = tarfile.TarInfo(f"{cls.base_folder}/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    for listed in ("train_list", "test_list"):
        monkeypatch.setattr(
            cls, listed, [[name, digests[name]] for name, _ in getattr(cls, listed)]
        )
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": digests[cls.meta["filename"]]})
    archived = (folder / cls.filename).read_bytes()
    monkeypatch.setattr(cls, "tgz_md5", hashlib.md5(archived).hexdigest())


@pytest.mark.parametrize(
    ("dataset", "cls", "label"),
    [
        (Cifar10, torchvisions.CIFAR10, "labels"),
        (Cifar100, torchvisions.CIFAR100, "fine_labels"),
    ],
)
def test_cifar(
    dataset: Any, cls: Any, label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar_archive(tmp_path / "files", cls, monkeypatch, label)
    data = dataset(folder=str(tmp_path / "files")).load(tmp_path / "cache")
    random = np.random.RandomState(0)
    batches = len(cls.train_list) + len(cls.test_list)
    drawn = [random.randint(0, 256, (2, 3072), dtype=np.uint8) for _ in range(batches)]
    pixels = np.concatenate(drawn).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert np.array_equal(np.concatenate((data.train_images, data.test_images)), pixels)
    assert data.train_labels.tolist() == [0, 1] * len(cls.train_list)
    # The second time, from the arrays alone.
    (tmp_path / "files" / cls.filename).unlink()
    again = dataset(folder="/nowhere").load(tmp_path / "cache")
    assert np.array_equal(again.train_images, data.train_images)
    with pytest.raises(ValueError, match="read-only"):
        again.train_images[0] = 0


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import scipy.io

    random, listed = np.random.RandomState(0), {}
    pixels = random.randint(0, 256, (2, 4, 32, 32, 3), dtype=np.uint8)
    for part, name in enumerate(("train", "test")):
        url, file, _ = torchvisions.SVHN.split_list[name]
        path = tmp_path / file
        content = {"X": pixels[part].transpose(1, 2, 3, 0), "y": np.array([[1], [10], [3], [9]])}
        scipy.io.savemat(path, content)
        listed[name] = [url, file, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(torchvisions.SVHN, "split_list", listed)
    data = Svhn(folder=str(tmp_path)).load(tmp_path / "cache")
    assert np.array_equal(data.train_images, pixels[0])
    assert np.array_equal(data.test_images, pixels[1])
    assert data.test_labels.tolist() == [1, 0, 3, 9]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing listens on port 9: every request is refused at once.
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("dataset", "files"),
    [
        (Cifar10, ["cifar-10-python.tar.gz", "https://www.cs.toronto.edu", "c58f30108f71"]),
        (Cifar100, ["cifar-100-python.tar.gz"]),
        (Svhn, ["train_32x32.mat", "test_32x32.mat", "http://ufldl.stanford.edu"]),
    ],
)
def test_without_a_network_the_files_are_named(
    dataset: Any, files: list[str], tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        dataset().load(tmp_path / "cache")
    message = str(caught.value)
    for words in (*files, f"put them into {tmp_path / 'cache' / 'downloads'}", "refused"):
        assert words in message
    assert not list((tmp_path / "cache" / "decoded").glob("*/"))


@pytest.mark.usefixtures("no_network")
def test_half_a_download(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"\x1f\x8b only the beginning")
    with pytest.raises(DataError, match=r"cifar-10-python.tar.gz.* delete damaged files"):
        Cifar10(folder=str(tmp_path)).load(tmp_path / "cache")


@pytest.mark.parametrize("dataset", [Cifar10, Cifar100, Svhn])
def test_a_download_is_named_without_its_folder(dataset: Any) -> None:
    assert content_key(dataset(folder="/a")) == content_key(dataset())
    info = dataset().info()
    assert len(set(info.class_names)) in (10, 100)


# Folders of images.


def gradient(size: tuple[int, int], shift: int = 0) -> Image.Image:
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    colours = np.stack(((x * 7 + shift) % 256, (y * 5) % 256, (x + y) % 256), axis=-1)
    return Image.fromarray(colours.astype(np.uint8))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for part, count in (("train", 4), ("test", 2)):
        for number, name in enumerate(("cat", "dog")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for image in range(count):
                gradient((20 + image, 30), 10 * number + image).save(folder / f"{image}.png")
    (root / "train" / "cat" / ".hidden").write_text("not an image")
    (root / "train" / ".cache").mkdir()
    return root


def test_image_folder(images: Path, own_cache: Path) -> None:
    dataset = ImageFolder(path=str(images), image_size=16)
    data = dataset.load(own_cache)
    agrees(data, dataset)
    info = dataset.info()
    assert info.class_names == ("cat", "dog")
    assert info.sample_names == tuple(f"{c}/{n}.png" for c in ("cat", "dog") for n in range(4))
    for number, name in enumerate(info.sample_names):
        with Image.open(images / "train" / name) as image:
            expected = np.asarray(Compose([Resize(16), CenterCrop(16)])(image)).astype(int)
        assert np.abs(data.train_images[number] - expected).max() <= 1
        assert info.class_names[data.train_labels[number]] == name.split("/")[0]
    (listing,) = (own_cache / "decoded").glob("*/train_files.txt")
    assert listing.read_text().splitlines() == list(info.sample_names)


def test_an_erasure_request_names_files(images: Path, tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "request.txt").write_text("dog/1.png\ncat/0.png\n")
    forget_set = Ids(file=str(tmp_path / "request.txt"))
    forget_set.check(ImageFolder(path=str(images)).info(), 0)
    assert forget_set.named_ids().tolist() == [0, 5]
    odd = 'cat/ #1"\n\u2028.png'
    (images / "train" / "cat" / "3.png").rename(images / "train" / odd)
    dataset = ImageFolder(path=str(images))
    dataset.load(own_cache)
    (listing,) = own_cache.glob("decoded/*/train_files.txt")
    (tmp_path / "request.txt").write_text(listing.read_text().splitlines()[0])
    forget_set = Ids(file=str(tmp_path / "request.txt"))
    forget_set.check(dataset.info(), 0)
    assert [dataset.info().sample_names[number] for number in forget_set.named_ids()] == [odd]


def test_folders_that_are_numbers(images: Path) -> None:
    """A position among names sorted as text is not the number that a person reads there."""
    for part in ("train", "test"):
        for old, new in {"cat": "11", "dog": "2"}.items():
            (images / part / old).rename(images / part / new)
        shutil.copytree(images / part / "2", images / part / "1")
    dataset = ImageFolder(path=str(images))
    info = dataset.info()
    assert info.class_names == ("1", "11", "2")
    assert dataset.known_labels().tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for given in ((1,), (2, "1")):
        forget_set = Classes(classes=given)
        if 1 in given:
            with pytest.raises(DataError, match=r'class named "1" .* position 1, named "11"'):
                forget_set.check(info, 0)
        else:
            forget_set.check(info, 0)
            assert forget_set.named_classes() == (0, 2)


@pytest.mark.parametrize("path", ["~nosuchuser/images", "a\0b", "a\ud800b"])
def test_paths_that_no_folder_has(path: str) -> None:
    with pytest.raises(DataError, match=r"path = .*; give the folder of the images"):
        ImageFolder(path=path).info()


def test_image_folder_is_named_by_its_files(images: Path, tmp_path: Path) -> None:
    key = content_key(ImageFolder(path=str(images)))
    moved = tmp_path / "elsewhere"
    images.rename(moved)
    assert content_key(ImageFolder(path=str(moved))) == key
    assert content_key(ImageFolder(path=str(moved), image_size=8)) != key
    (moved / "test" / "dog" / "1.png").rename(moved / "test" / "dog" / "9.png")
    renamed = content_key(ImageFolder(path=str(moved)))
    gradient((20, 30), 99).save(moved / "test" / "dog" / "9.png")
    assert len({key, renamed, content_key(ImageFolder(path=str(moved)))}) == 3


def test_files_are_read_once_for_their_name(images: Path) -> None:
    key = content_key(ImageFolder(path=str(images)))
    victim = images / "train" / "cat" / "0.png"
    status = victim.stat()
    # Same size and time of change: taken from the cache, so the bytes are not looked at.
    victim.write_bytes(bytes(status.st_size))
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert content_key(ImageFolder(path=str(images))) == key
    victim.touch()
    with pytest.raises(DataError, match=r"cat/0.png: cannot be read as an image"):
        content_key(ImageFolder(path=str(images)))


def test_files_that_change_while_they_are_decoded(images: Path, own_cache: Path) -> None:
    dataset = ImageFolder(path=str(images))
    dataset.identity()
    gradient((9, 9)).save(images / "train" / "cat" / "0.png")
    with pytest.raises(DataError, match="its files changed meanwhile"):
        dataset.load(own_cache)


def remove_class(root: Path) -> None:
    for file in (root / "test" / "dog").iterdir():
        file.unlink()
    (root / "test" / "dog").rmdir()


def empty_class(root: Path) -> None:
    (root / "train" / "eel").mkdir()


def text_file(root: Path) -> None:
    (root / "train" / "cat" / "notes.txt").write_text("not an image")


def truncated(root: Path) -> None:
    file = root / "train" / "dog" / "2.png"
    file.write_bytes(file.read_bytes()[:60])


def stray(root: Path) -> None:
    gradient((5, 5)).save(root / "train" / "stray.png")


def no_test(root: Path) -> None:
    (root / "test").rename(root / "tset")


def dangling(root: Path) -> None:
    (root / "train" / "dog" / "gone.png").symlink_to(root / "nowhere.png")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_class, r"classes of train/ and test/ differ: train/dog has no counterpart"),
        (empty_class, r"train/eel: holds no images"),
        (text_file, r"cat/notes.txt: cannot be read as an image: unknown format; repair"),
        (truncated, r"dog/2.png: cannot be read as an image"),
        (stray, r"stray.png: lies outside any class folder"),
        (no_test, r"images/test: No such file or directory; lay it out as train/CLASS"),
        (dangling, r"gone.png: is a link that leads nowhere: No such file"),
    ],
)
def test_bad_image_folders(images: Path, own_cache: Path, damage: Any, message: str) -> None:
    damage(images)
    with pytest.raises(DataError, match=message):
        ImageFolder(path=str(images)).load(own_cache)
    assert not list((own_cache / "decoded").glob("*/*"))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing/train: No such file"):
        ImageFolder(path=str(tmp_path / "nothing")).info()


# The cache.


def some_images() -> ImageData:
    labels = np.arange(4, dtype=np.int64)
    return ImageData(
        np.ones((4, 2, 2, 3), np.uint8), labels, np.zeros((4, 2, 2, 3), np.uint8), labels
    )


def decode_slowly(cache: str, witness: str) -> int:
    def decode() -> ImageData:
        with open(witness, "a") as file:
            file.write("decoded\n")
        time.sleep(0.5)
        return some_images()

    return int(decoded(Path(cache), {"name": "slow"}, decode).train_images.sum())


def test_processes_that_ask_at_once_decode_once(tmp_path: Path, own_cache: Path) -> None:
    witness = tmp_path / "witness"
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        asked = [pool.submit(decode_slowly, str(own_cache), str(witness)) for _ in range(4)]
        assert [answer.result() for answer in asked] == [48] * 4
    assert witness.read_text() == "decoded\n"


def test_failed_decoding_leaves_nothing(own_cache: Path) -> None:
    class Stopped(BaseException):
        pass

    def broken() -> ImageData:
        return ImageData(np.ones(3), np.ones(3), np.ones(3), Unreadable())  # type: ignore[arg-type]

    class Unreadable:
        def __array__(self, *_: object, **__: object) -> np.ndarray:
            raise Stopped

    with pytest.raises(Stopped):
        decoded(own_cache, {"name": "broken"}, broken)
    assert not [path for path in (own_cache / "decoded").iterdir() if path.is_dir()]
    assert len(decoded(own_cache, {"name": "broken"}, some_images).train_images) == 4


def test_damaged_arrays(own_cache: Path) -> None:
    decoded(own_cache, {"name": "some"}, some_images)
    (array,) = own_cache.glob("decoded/*/train_images.npy")
    array.write_bytes(array.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cannot be read: .*; delete this folder"):
        decoded(own_cache, {"name": "some"}, some_images)


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written: .* UNLEARN_RAY_CACHE"):
        decoded(tmp_path / "file", {"name": "some"}, some_images)
