"""Folders of images: what is no image file is named without being opened, and counted."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.words import coco_files
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data.datasets.coco_captions import CocoCaptions
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.datasets.image_folder import ImageFolder
from unlearn_ray.data.datasets.mini_imagenet import MiniImageNet
from unlearn_ray.data.image_files import decode, list_images
from unlearn_ray.data.threads import Memory


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(cache))
    return cache


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """What blocks on a pipe fails soon, rather than never."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number in range(4):
                path = root / part / name / f"{number}.png"
                Image.new("RGB", (9, 6), (number, 2, 3)).save(path)
    return root


def planned(root: Path) -> None:
    """What `plan` asks of a dataset."""
    dataset = ImageFolder(path=str(root), image_size=8)
    dataset.info()
    content_key(dataset)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_pipe(path: Path) -> None:
    os.mkfifo(path.parents[3] / "pipe")
    path.symlink_to(path.parents[3] / "pipe")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (pipe, "is a pipe, not a file; remove it"),
    "socket": (listening, "is a socket, not a file"),
    "device": (link_to_device, "is a device, not a file"),
    "link to a pipe": (link_to_pipe, "is a pipe, not a file"),
    "folder": (Path.mkdir, "holds no images; add images or remove the folder"),
    "dangling link": (
        lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere: No such file",
    ),
    "link to itself": (link_to_itself, "Too many levels of symbolic links"),
    "empty": (Path.touch, "is empty; repair or remove it"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_file_is_named_while_planning(root: Path, name: str) -> None:
    make, message = ODD[name]
    make(root / "train" / "dog" / "x.png")
    with pytest.raises(DataError, match=rf"train/dog/x.png: .*{message}"):
        planned(root)


@pytest.mark.parametrize("name", ODD)
def test_of_the_images_of_captions_too(tmp_path: Path, name: str) -> None:
    files: dict[str, Any] = coco_files(tmp_path / "a" / "b" / "photos", {"train": 3, "test": 2})
    victim = Path(files["train_images"]) / "001.jpg"
    victim.unlink()
    make, message = ODD[name]
    make(victim)
    if "link" in name and "pipe" not in name:
        message = "No such file|Too many levels"  # told by who lists captions
    elif name == "folder":
        message = "is a folder, not a file; remove it"
    with pytest.raises(DataError, match=rf"001.jpg\W.*({message})"):
        content_key(CocoCaptions(**files))


def test_a_pipe_that_took_an_images_place_does_not_block(root: Path) -> None:
    files = list_images(root, "train")
    (root / files[3].path).unlink()
    os.mkfifo(root / files[3].path)
    with pytest.raises(DataError, match=r"cat/3.png: is a pipe, not a file"):
        decode(root, files, 8, "crop")


NAMES = [
    (b"\xff\xfe.png", r"\\xff\\xfe.png: its name is not UTF-8.*; rename it"),
    (b"caf\xe9.png", r"caf\\xe9.png: its name is not UTF-8"),
]


@pytest.mark.parametrize(("name", "message"), NAMES)
def test_a_name_that_is_not_utf_8(root: Path, name: bytes, message: str) -> None:
    first = (root / "train" / "cat" / "0.png").read_bytes()
    path = os.path.join(os.fsencode(root / "train" / "dog"), name)
    with open(path, "wb") as file:
        file.write(first)
    with pytest.raises(DataError, match=message) as caught:
        planned(root)
    assert str(caught.value).isprintable()
    os.unlink(path)
    for part in (b"train", b"test"):
        folder = os.path.join(os.fsencode(root), part, name)
        os.mkdir(folder)
        with open(os.path.join(folder, b"0.png"), "wb") as file:
            file.write(first)
    with pytest.raises(DataError, match=message) as caught:
        planned(root)
    assert str(caught.value).isprintable()


def test_a_line_break_in_a_name_breaks_no_message(root: Path) -> None:
    (root / "train" / "cat" / "a\nb\x1b[2J.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"cat/a\\nb\\x1b\[2J.png: cannot be read") as caught:
        planned(root)
    assert str(caught.value).isprintable()


def test_names_in_other_scripts_are_names(root: Path, own_cache: Path) -> None:
    for name in ("größe 猫 🐈.png", "joined\u200d.png"):
        Image.new("RGB", (4, 4)).save(root / "train" / "cat" / name)
    dataset = ImageFolder(path=str(root), image_size=8)
    dataset.load(own_cache)
    (listing,) = own_cache.glob("decoded/*/train_files.txt")
    lines = listing.read_text(encoding="utf-8").split("\n")
    assert "cat/größe 猫 🐈.png" in lines
    assert r'"cat/joined\u200d.png"' in lines  # what nobody could see is spelled out


@pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", ".DS_Store", "._0.png", "Icon\r"])
def test_what_systems_leave_beside_images_is_left_out(root: Path, name: str) -> None:
    before = content_key(ImageFolder(path=str(root)))
    for folder in (root / "train", root / "train" / "dog"):
        (folder / name).write_bytes(b"\0\x05\x16\x07 no image")
    (root / "train" / "__MACOSX").mkdir()
    assert content_key(ImageFolder(path=str(root))) == before


def test_names_say_nothing_of_the_format(root: Path, own_cache: Path) -> None:
    image = Image.open(root / "train" / "cat" / "2.png")
    for name in ("a.JPG", "b.jfif", "c", "d.txt"):
        image.save(root / "train" / "cat" / name, "JPEG" if name == "d.txt" else "PNG")
    data = ImageFolder(path=str(root), image_size=8).load(own_cache)
    assert len(data.train_images) == 12


def test_a_link_to_itself_in_the_place_of_a_class(root: Path) -> None:
    (root / "test" / "eel").symlink_to("eel")
    with pytest.raises(DataError, match=r"test/eel: lies outside any class folder"):
        planned(root)


def test_a_link_to_a_folder_that_it_lies_in(root: Path) -> None:
    for number in range(12):
        (root / "train" / "cat" / f"loop{number}").symlink_to(root / "train")
    with pytest.raises(
        DataError, match=r"12 files cannot be used: .*loop\d+ is a link to a folder"
    ):
        planned(root)


# Many at once


def test_all_that_is_wrong_is_counted_and_five_are_shown(root: Path, own_cache: Path) -> None:
    for number in range(20, 33):
        (root / "train" / "cat" / f"{number}.png").touch()
    with pytest.raises(DataError) as caught:
        planned(root)
    said = str(caught.value)
    # Five are shown, however long the path of the folder is.
    assert "train: 13 files cannot be used: cat/" in said
    assert said.count(" is empty") == 5
    assert "and 8 more; repair or remove it" in said

    for number in range(20, 33):
        path = root / "train" / "cat" / f"{number}.png"
        Image.effect_noise((30, 30), 90).save(path)
        os.truncate(path, 300)
    os.truncate(root / "train" / "cat" / "32.png", 5)
    # What the beginning of a file says is known while planning, what its end lacks is not.
    with pytest.raises(DataError, match=r"^[^;]*32.png: cannot be read as an image"):
        planned(root)
    (root / "train" / "cat" / "32.png").write_bytes((root / "train" / "cat" / "3.png").read_bytes())
    planned(root)
    with pytest.raises(
        DataError, match=r"12 files cannot be used: .*20.png cannot .* and 7 more; "
    ):
        ImageFolder(path=str(root), image_size=8).load(own_cache)


# Memory


def test_threads_share_memory() -> None:
    memory, most = Memory(100), [0, 0]
    lock = threading.Lock()

    def work(wanted: int) -> None:
        with memory.taken(wanted):
            with lock:
                most[0] += wanted
                most[1] = max(most)
            time.sleep(0.002)
            with lock:
                most[0] -= wanted

    random = np.random.RandomState(0)
    threads = [
        threading.Thread(target=work, args=(int(wanted),)) for wanted in random.randint(1, 90, 60)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert 60 < most[1] <= 100
    # Who asks for more than there is waits until nobody else has any, and goes on.
    with memory.taken(1000):
        pass


def test_an_image_too_large_to_decode_is_told_while_planning(root: Path) -> None:
    Image.new("1", (20_000, 9_000)).save(root / "test" / "dog" / "huge.png")
    with pytest.raises(DataError, match=r"huge.png: has 180,000,000 pixels, .*; scale it down"):
        planned(root)


@pytest.mark.parametrize("part", [Digits, ImageFolder, MiniImageNet, CocoCaptions])
def test_a_slip_of_the_pen_in_image_size(part: Any) -> None:
    with pytest.raises(ValueError, match=r"less than or equal to 2048"):
        part(path=".", image_size=22_400)


def test_arrays_larger_than_memory(root: Path) -> None:
    files = list_images(root, "train") * 2_000_000
    with pytest.raises(DataError, match=r"image_size = 2048: 16,000,000 images take .* GiB of mem"):
        decode(root, files, 2048, "crop")


# Resizing is a part of what a dataset is.


def test_crop_and_stretch_are_different_datasets(root: Path, own_cache: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255
    for file in root.glob("train/*/*"):
        Image.fromarray(wide).save(file)
    made = [ImageFolder(path=str(root), image_size=8, resize=r) for r in ("crop", "stretch")]
    assert content_key(made[0]) == content_key(ImageFolder(path=str(root), image_size=8))
    assert content_key(made[0]) != content_key(made[1])
    crop, stretch = (dataset.load(own_cache).train_images[0, 4, :, 0] for dataset in made)
    assert crop[1:7].tolist() == [255] * 6
    assert stretch[0] < 20
    assert stretch[7] < 20
    # The few-shot files of Mini-ImageNet were made by stretching.
    assert MiniImageNet(path=str(root)).resize == "stretch"
    assert (ImageFolder.revision, MiniImageNet.revision, CocoCaptions.revision) == (2, 2, 2)
