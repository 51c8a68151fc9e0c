"""Datasets with captions: what they say, how they are cached and named, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import unlearn_ray.core.torchvision_import  # noqa: F401
from tests.words import coco_files
from unlearn_ray.core.errors import DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data.base import ImageData
from unlearn_ray.data.cache import decoded
from unlearn_ray.data.datasets.captioned_digits import CaptionedDigits
from unlearn_ray.data.datasets.cifar100 import Cifar100
from unlearn_ray.data.datasets.coco_captions import CocoCaptions
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.datasets.prompted import Prompted
from unlearn_ray.data.forget_sets.classes import Classes
from unlearn_ray.data.forget_sets.ids import Ids

# isort: split
from torchvision.transforms import CenterCrop, Compose, Resize

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(cache))
    return cache


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    return coco_files(tmp_path / "photos", {"train": 6, "test": 3})


# coco_captions


def test_images_and_captions_stand_in_the_order_of_file_names(
    files: dict[str, Any], own_cache: Path
) -> None:
    dataset = CocoCaptions(**files, image_size=8)
    data, info = dataset.load(own_cache), dataset.info()
    assert (info.train_size, info.test_size, info.image_size) == (6, 3, 8)
    assert info.captioned
    assert info.class_names == ()
    assert info.sample_names == tuple(f"{number:03}.jpg" for number in range(6))
    assert data.train_captions == tuple(
        (f"picture {number} of train", f"noise number {number}") for number in range(6)
    )
    assert data.test_captions[2] == ("picture 2 of test", "noise number 2")
    assert data.train_labels.tolist() == [0] * 6
    for number, name in enumerate(info.sample_names):
        with Image.open(Path(files["train_images"]) / name) as image:
            expected = np.asarray(Compose([Resize(8), CenterCrop(8)])(image)).astype(int)
        assert np.abs(data.train_images[number] - expected).max() <= 1
    (listing,) = own_cache.glob("decoded/*/train_files.txt")
    assert listing.read_text().splitlines() == list(info.sample_names)


def test_the_second_time_from_the_cache(files: dict[str, Any], own_cache: Path) -> None:
    data = CocoCaptions(**files).load(own_cache)
    (folder,) = own_cache.glob("decoded/*/")
    assert {file.suffix for file in folder.iterdir()} == {".npy", ".json", ".txt"}
    (captions,) = folder.glob("train_captions.json")
    changed = json.loads(captions.read_text())
    changed[0] = ["from the cache"]
    captions.write_text(json.dumps(changed))
    again = CocoCaptions(**files).load(own_cache)
    assert again.train_captions == (("from the cache",), *data.train_captions[1:])
    assert again.test_captions == data.test_captions
    captions.write_text(captions.read_text()[:-9])
    with pytest.raises(DataError, match=r"cannot be read: .*; delete this folder"):
        CocoCaptions(**files).load(own_cache)


def test_named_by_images_and_captions_wherever_they_lie(
    files: dict[str, Any], tmp_path: Path
) -> None:
    key = content_key(CocoCaptions(**files))
    assert content_key(CocoCaptions(**files, image_size=8)) != key
    shutil.move(tmp_path / "photos", tmp_path / "elsewhere")
    moved = {name: path.replace("photos", "elsewhere") for name, path in files.items()}
    captions = Path(moved["train_captions"])
    content = json.loads(captions.read_text())
    # Neither layout nor order, nor what else the file says, is content.
    content["images"].reverse()
    content["info"] = {"year": 2017}
    captions.write_text(json.dumps(content, indent=2))
    assert content_key(CocoCaptions(**moved)) == key
    content["annotations"][0]["caption"] += " again"
    captions.write_text(json.dumps(content))
    reworded = content_key(CocoCaptions(**moved))
    Image.new("RGB", (9, 7)).save(tmp_path / "elsewhere" / "train" / "000.jpg")
    repainted = content_key(CocoCaptions(**moved))
    assert len({key, reworded, repainted}) == 3


def test_one_folder_may_have_both_sets(files: dict[str, Any], tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    for part in ("train", "test"):
        content = Path(files[f"{part}_captions"])
        content.write_text(content.read_text().replace('"file_name": "', f'"file_name": "{part}/'))
        shutil.move(files[f"{part}_images"], both / part)
    captions = {name: path for name, path in files.items() if name.endswith("captions")}
    info = CocoCaptions(**captions, train_images=str(both)).info()
    assert (info.train_size, info.test_size) == (6, 3)
    assert info.sample_names[0] == "train/000.jpg"


def test_an_erasure_request_names_pictures(files: dict[str, Any], tmp_path: Path) -> None:
    """By COCO's own ids, which begin at 7 here, or by file names; never by position."""
    info = CocoCaptions(**files).info()
    content = json.loads(Path(files["train_captions"]).read_text())
    ids = {image["file_name"]: image["id"] for image in content["images"]}
    assert info.sample_ids == tuple(str(ids[name]) for name in info.sample_names)
    (tmp_path / "request.txt").write_text(f"004.jpg\n{ids['001.jpg']}\n{ids['004.jpg']}\n")
    forget_set = Ids(file=str(tmp_path / "request.txt"))
    forget_set.check(info, 0)
    assert forget_set.named_ids().tolist() == [1, 4]
    (tmp_path / "request.txt").write_text("1\n2\n")
    with pytest.raises(
        DataError, match=r"2 of 2 lines do not name .*'1', line 2: '2'; write an im"
    ):
        Ids(file=str(tmp_path / "request.txt")).check(info, 0)


def test_image_ids_are_no_positions(tmp_path: Path) -> None:
    """Images 1 and 2 of COCO's, which stand at 0 and 1 among the file names."""
    files = coco_files(tmp_path / "photos", {"train": 6, "test": 3})
    path = Path(files["train_captions"])
    content = json.loads(path.read_text())
    numbers = {image["id"]: 1 + int(image["file_name"][:3]) for image in content["images"]}
    for image in content["images"]:
        image["id"] = numbers[image["id"]]
    for annotation in content["annotations"]:
        annotation["image_id"] = numbers[annotation["image_id"]]
    path.write_text(json.dumps(content))
    (tmp_path / "request.txt").write_bytes(b"\xef\xbb\xbf1\n2\n")
    forget_set = Ids(file=str(tmp_path / "request.txt"))
    info = CocoCaptions(**files).info()
    forget_set.check(info, 0)
    assert [info.sample_names[n] for n in forget_set.named_ids()] == ["000.jpg", "001.jpg"]


def test_no_class_can_be_forgotten(files: dict[str, Any]) -> None:
    for given in (0, "cat"):
        with pytest.raises(
            DataError, match=r"images are unlabelled; forget samples instead, with random"
        ):
            Classes(classes=(given,)).check(CocoCaptions(**files).info(), 0)


Damage = Callable[[dict[str, Any]], object]


def remove_captions(content: dict[str, Any]) -> None:
    number = next(image["id"] for image in content["images"] if image["file_name"] == "003.jpg")
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != number]


IN_THE_CAPTIONS: dict[str, tuple[Damage, str]] = {
    "image without caption": (
        remove_captions,
        r"train.json: images without a caption, 1 in all: 003.jpg; write one, or remove them from",
    ),
    "empty caption": (
        lambda content: content["annotations"][3].update(caption=" \n"),
        r"train.json: empty captions, 1 in all: of 004.jpg \(annotations\[3\]\); write them",
    ),
    "no caption but empty ones": (
        lambda content: [annotation.update(caption="") for annotation in content["annotations"]],
        r"train.json: empty captions, 12 in all: .* and 7 more; write them, or remove them",
    ),
    "ids that are one as text": (
        lambda content: content["images"][1].update(id="7"),
        r"images\[1\]: the id 7 is given twice; give every image its own",
    ),
    "an id that is no number": (
        lambda content: content["images"][1].update(id=True),
        r"images\[1\]: has true as id; write",
    ),
    "an image under two names": (
        lambda content: content["images"][1].update(file_name="./005.jpg"),
        r"listed twice, 1 in all: ./005.jpg \(images\[0\] and images\[1\]\); list each once",
    ),
    "a lone surrogate": (
        lambda content: content["annotations"][0].update(caption="a \ud800 cat"),
        r"annotations\[0\]: its caption holds a lone surrogate; rewrite it",
    ),
    "a NUL in a name": (
        lambda content: content["images"][0].update(file_name="a\0.jpg"),
        r"images\[0\]: its file_name holds a NUL character; rewrite it",
    ),
    "caption of no image": (
        lambda content: content["annotations"][0].update(image_id=99),
        r"captions without an image, 1 in all: the id 99 of annotations\[0\]; list the images",
    ),
    "image that is not there": (
        lambda content: content["images"][1].update(file_name="gone.jpg"),
        r"train_images = .*photos/train: 1 of the 6 images of .*train.json cannot be read: .*/"
        r"gone.jpg \(No such file or directory\); put them there, or give another folder",
    ),
    "image listed twice": (
        lambda content: content["images"][1].update(file_name="000.jpg"),
        r"train.json: images listed twice, 1 in all: 000.jpg \(images\[1\] and images\[5\]\)",
    ),
    "id given twice": (
        lambda content: content["images"][1].update(id=7),
        r"images\[1\]: the id 7 is given twice; give every image its own",
    ),
    "no images": (
        lambda content: content.update(images=[]),
        r"train.json: has no list of images; write {\"images\"",
    ),
    "no annotations": (
        lambda content: content.pop("annotations"),
        r"train.json: has no list of annotations; write {\"images\"",
    ),
    "an image without a name": (
        lambda content: content["images"][2].pop("file_name"),
        r"images\[2\]: lacks file_name; write",
    ),
    "a caption that is no text": (
        lambda content: content["annotations"][0].update(caption=3),
        r"annotations\[0\]: has 3 as caption; write",
    ),
    "an annotation that is none": (
        lambda content: content["annotations"].append("a cat"),
        r"annotations\[12\]: lacks image_id; write",
    ),
}


@pytest.mark.parametrize("case", IN_THE_CAPTIONS)
def test_bad_captions_are_told_before_any_image_is_read(case: str, files: dict[str, Any]) -> None:
    damage, message = IN_THE_CAPTIONS[case]
    path = Path(files["train_captions"])
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        CocoCaptions(**files).info()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"images": [\n{"id": 1,}', r"test.json:2: not JSON: "),
        (b"", r"test.json:1: not JSON: Expecting value; write {\"images\""),
        (b'{"a": "\xff\xfe"}', r"test.json:1: not UTF-8 text: byte 0xff; save it as UTF-8"),
        (b"[" * 100_000, r"test.json: not a caption file: "),
        (b'{"images": [{"id": ' + b"1" * 5000 + b"}]}", r"test.json: not a caption file: "),
        (b"[1, 2]", r"test.json: has no list of images"),
    ],
)
def test_files_that_are_no_captions(text: bytes, message: str, files: dict[str, Any]) -> None:
    Path(files["test_captions"]).write_bytes(text)
    with pytest.raises(DataError, match=message):
        CocoCaptions(**files).info()


def test_captions_that_are_not_there(files: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"/nowhere.json: cannot be read: No such file"):
        CocoCaptions(**{**files, "test_captions": "/nowhere.json"}).info()


def test_an_unreadable_photograph(files: dict[str, Any], own_cache: Path) -> None:
    damaged = Path(files["test_images"]) / "001.jpg"
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(DataError, match=r"test/001.jpg: cannot be read as an image"):
        CocoCaptions(**files).load(own_cache)
    assert not list(own_cache.glob("decoded/*/"))


def test_captions_that_change_while_images_are_decoded(
    files: dict[str, Any], own_cache: Path
) -> None:
    dataset = CocoCaptions(**files)
    dataset.identity()
    path = Path(files["train_captions"])
    path.write_text(path.read_text().replace("picture 3", "photograph 3"))
    with pytest.raises(DataError, match="its captions changed meanwhile"):
        dataset.load(own_cache)


# captioned_digits


def test_digits_have_captions_that_name_them(own_cache: Path) -> None:
    dataset = CaptionedDigits(image_size=8)
    data, plain = dataset.load(own_cache), Digits(image_size=8).load(own_cache)
    assert dataset.info().captioned
    assert dataset.info().class_names == Digits().info().class_names
    assert np.array_equal(data.train_images, plain.train_images)
    assert np.array_equal(data.test_labels, plain.test_labels)
    for captions, labels in (
        (data.train_captions, data.train_labels),
        (data.test_captions, data.test_labels),
    ):
        assert len(captions) == len(labels)
        for sentences, label in zip(captions, labels.tolist(), strict=True):
            assert len(set(sentences)) == 5
            for sentence in sentences:
                assert set(sentence.replace(",", "").split()) & set(DIGITS) == {DIGITS[label]}
    assert CaptionedDigits(image_size=16).load(own_cache).train_captions == data.train_captions
    # Digits of one class are told from each other.
    assert len(set(data.train_captions)) > 300


def test_what_is_said_of_digits_is_true(own_cache: Path) -> None:
    """Each trait by loops over scikit-learn's own pixels."""
    pixels, _ = load_digits(return_X_y=True)
    data = CaptionedDigits(image_size=8).load(own_cache)
    levels = {np.round(p * (255 / 16)).astype(np.uint8).tobytes(): p for p in pixels}
    seen: dict[str, list[tuple[float, str]]] = {"ink": [], "breadth": [], "lean": []}
    for image, sentences in zip(data.train_images, data.train_captions, strict=True):
        picture = levels[image[..., 0].tobytes()].reshape(8, 8)
        cells = [(y, x, picture[y, x]) for y in range(8) for x in range(8)]
        ink = sum(weight for _, _, weight in cells)
        down = sum(y * weight for y, _, weight in cells) / ink
        right = sum(x * weight for _, x, weight in cells) / ink
        if abs(down - 3.5) > 0.01:
            assert sentences[2].endswith("bottom" if down > 3.5 else "top")
        if abs(right - 3.5) > 0.01:
            assert sentences[4].endswith("right" if right > 3.5 else "left")
        breadth = sum((x - right) ** 2 * weight for _, x, weight in cells) / ink
        lean = sum((x - right) * (down - y) * weight for y, x, weight in cells) / ink
        seen["ink"].append((ink, sentences[0].split()[1]))
        seen["breadth"].append((breadth, sentences[2].split()[1]))
        seen["lean"].append((lean, sentences[3].split()[-1]))
    for trait, order in (
        ("ink", ("thin", "medium", "bold")),
        ("breadth", ("narrow", "regular", "wide")),
        ("lean", ("left", "upright", "right")),
    ):
        ends = [[value for value, word in seen[trait] if word == name] for name in order]
        assert max(ends[0]) <= min(ends[1]) + 0.05
        assert max(ends[1]) <= min(ends[2]) + 0.05
        assert min(map(len, ends)) > 400


# prompted


def test_prompts_name_the_class(own_cache: Path) -> None:
    inner = Digits(image_size=8)
    dataset = Prompted(dataset=inner, templates=("a photo of a {}.", "{}, drawn"))
    data, plain = dataset.load(own_cache), inner.load(own_cache)
    assert dataset.info().captioned
    assert dataset.info().class_names == inner.info().class_names
    assert np.array_equal(data.train_images, plain.train_images)
    for captions, labels in (
        (data.train_captions, plain.train_labels),
        (data.test_captions, plain.test_labels),
    ):
        expected = [(f"a photo of a {label}.", f"{label}, drawn") for label in labels.tolist()]
        assert list(captions) == expected


def test_classes_have_prompts() -> None:
    """What a zero-shot classifier reads."""
    assert Digits().prompts()[3] == ("a photo of a 3.",)
    assert Cifar100().prompts()[1] == ("a photo of a aquarium fish.",)
    of_digits = CaptionedDigits().prompts()
    assert len(of_digits) == 10
    assert of_digits[3] == (
        "a three",
        "the digit three",
        "a handwritten three",
        "somebody wrote a three",
    )
    prompted = Prompted(dataset=Cifar100(), templates=("{}", "one {}, blurred"))
    assert prompted.prompts()[1] == ("aquarium fish", "one aquarium fish, blurred")


def test_a_model_is_asked_of_a_class_as_it_was_taught(own_cache: Path) -> None:
    prompted = Prompted(dataset=Digits(image_size=8), templates=("a {}", "the {}"))
    data, prompts = prompted.load(own_cache), prompted.prompts()
    assert all(
        captions == prompts[label]
        for captions, label in zip(data.test_captions, data.test_labels, strict=True)
    )
    digits = CaptionedDigits(image_size=8)
    data = digits.load(own_cache)
    for captions, label in zip(data.train_captions, data.train_labels, strict=True):
        assert all(digits.prompts()[label][0].split()[-1] in caption for caption in captions)


def test_images_of_no_classes_have_no_prompts(files: dict[str, Any]) -> None:
    assert CocoCaptions(**files).prompts() == ()


def test_a_prompt_has_spaces_for_underscores(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = np.zeros((2, 32, 32, 3), np.uint8)
    labels = np.array([47, 0])
    some = ImageData(blank, labels, blank, labels)
    monkeypatch.setattr(Cifar100, "load", lambda self, cache: some)
    data = Prompted(dataset=Cifar100()).load(own_cache)
    assert data.test_captions == (("a photo of a maple tree.",), ("a photo of a apple.",))


def test_prompted_is_named_by_dataset_and_templates() -> None:
    keys = [
        content_key(Prompted(dataset=Cifar100())),
        content_key(Prompted(dataset=Cifar100(folder="/elsewhere"))),
        content_key(Prompted(dataset=Cifar100(), templates=("a {}",))),
        content_key(Prompted(dataset=Digits())),
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.parametrize("template", ["a photo", "{} and {}", ""])
def test_templates_name_the_class_once(template: str) -> None:
    with pytest.raises(ValueError, match=r"must contain {} exactly once, for the class name"):
        Prompted(dataset=Digits(), templates=("a {}", template))
    with pytest.raises(ValueError, match="at least 1"):
        Prompted(dataset=Digits(), templates=())


def test_prompts_of_no_classes(files: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"prompted with coco_captions: its images are unlabelled"):
        Prompted(dataset=CocoCaptions(**files)).info()


# The cache


def test_captions_in_any_script_are_kept(own_cache: Path) -> None:
    blank, labels = np.zeros((2, 1, 1, 3), np.uint8), np.zeros(2, np.int64)
    captions = (("eine Katze", "猫 \u2028 🐈"), ("ل",))
    data = ImageData(blank, labels, blank, labels, train_captions=captions)
    for _ in range(2):
        read = decoded(own_cache, {"name": "some"}, lambda: data)
        assert read.train_captions == captions
        assert read.test_captions == ()
