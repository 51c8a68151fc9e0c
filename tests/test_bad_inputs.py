"""Whatever a person gets wrong is told in words, before anything is spent, and damages nothing.

Every case is a call of one of the two commands against a store that holds a finished sweep: it
must end with a status that says who can mend it, say what is wrong, why, and what to do, and leave
every byte of the store as it was. No case may come as far as starting Ray. What can only go wrong
while steps run is in `tests/test_run_time_failures.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from tests.s3_server import S3Server
from tests.tiny import SWEEP
from tests.words import Words, coco_files
from unlearn_ray import results, sweep
from unlearn_ray.core import registry
from unlearn_ray.core.errors import Exit
from unlearn_ray.core.schema import schema
from unlearn_ray.families.base import Family
from unlearn_ray.storage.store import open_store

SWEEPS = Path(__file__).parents[1] / "sweeps"
# Which of them, `tests/test_surroundings.py` says.
REFUSED = {Exit.BAD_INPUT, Exit.STORE, Exit.CLUSTER, Exit.MACHINE}


@dataclass(frozen=True)
class Place:
    """A folder of its own with a sweep file and the store of the finished sweep."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "tiny.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def write(self, text: str) -> None:
        self.file.write_text(text, encoding="utf-8")

    def change(self, old: str, new: str) -> None:
        assert SWEEP.count(old) == 1
        self.write(SWEEP.replace(old, new))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def place(finished_sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    shutil.copytree(finished_sweep, tmp_path / "place")
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Whoever gets as far as Ray cannot import what starts it.
    monkeypatch.setitem(sys.modules, "unlearn_ray.scheduling.driver", None)
    return Place(tmp_path / "place")


Refused = Callable[..., str]


@pytest.fixture
def refused(place: Place, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Call a command that must refuse; returns what it said."""

    def call(*arguments: str, command: Callable[..., int] = sweep.main) -> str:
        before = contents(place.store)
        assert command(list(arguments)) in REFUSED
        said = capfd.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert "Traceback" not in said.err
        # Value: reason; remedy.
        assert all(": " in line and "; " in line for line in said.err.splitlines())
        assert contents(place.store) == before
        return said.err

    return call


# What is written in a sweep file: the text that is replaced, by what, and what is said of it.
IN_THE_FILE = {
    "unknown field": (
        "learning_rate: 0.01",
        "lerning_rate: 0.01",
        "tiny.yaml:11: methods.finetune.lerning_rate: unknown field; did you mean learning_rate?",
    ),
    "unknown field at the top": ("training:", "trainig:", "tiny.yaml:7: trainig"),
    "wrong type": ("epochs: 1, batch_size: 128}\np", "epochs: many}\np", "training.epochs = many"),
    "negative number": ("{epochs: 2}", "{epochs: -2}", "probe.epochs = -2"),
    "no copies": (
        "{epochs: 2}",
        "{features: cached_views, copies: 0}",
        "tiny.yaml:8: probe.copies = 0",
    ),
    "copies of nothing": (
        "{epochs: 2}",
        "{epochs: 2, copies: 4}",
        "tiny.yaml:8: probe = {epochs: 2, copies: 4}: copies = 4 of cached features",
    ),
    "copies that fit no device": (
        "{epochs: 2}",
        "{epochs: 1000000, features: cached_views, copies: 1000000}",
        "tiny.yaml:8: probe.copies = 1000000",
    ),
    "not a number": ("rate: 0.01", "rate: .nan", "methods.finetune.learning_rate = nan"),
    "empty range": (
        "rate: 0.01",
        "rate: {uniform: [0.03, 0.003]}",
        "tiny.yaml:11: methods.finetune.learning_rate",
    ),
    "log range through zero": (
        "rate: 0.01",
        "rate: {log_uniform: [0, 0.1]}",
        "tiny.yaml:11: methods.finetune.learning_rate",
    ),
    "range beyond the field": (
        "rate: 0.01",
        "rate: {uniform: [-1, 0.1]}",
        "tiny.yaml:11: methods.finetune.learning_rate",
    ),
    "forget set larger than the data": (
        "{fraction: 0.1}",
        "{count: 5000}",
        "count = 5000: leaves nothing to retain: models are trained on 719 samples;"
        " forget fewer than 719",
    ),
    "forget set of nothing": (
        "{fraction: 0.1}",
        "{fraction: 0.001}",
        "less than one sample out of 719",
    ),
    "validation set of everything": ("validation: 0.5", "validation: 1437", "nothing to train on"),
    "class that does not exist": (
        "{random: {fraction: 0.1}}",
        "{classes: {classes: [3, eleven]}}",
        "classes = eleven: the dataset has no class of this name; known are 0, 1, 2",
    ),
    "unknown method": (
        "finetune:",
        "fine_tune:",
        "unknown method; did you mean finetune?",
    ),
    "other images of another size": (
        "finetune: {epochs: 1, batch_size: 128, learning_rate: 0.01}",
        "gradient_penalty: {non_members: {digits: {image_size: 16}}}",
        "tiny.yaml:11: methods.gradient_penalty = {non_members: {digits: {image_size: 16}}}: "
        "gradient_penalty with digits: its images have 16 pixels, those of the sweep's dataset 8; "
        "name a dataset with images of the same size",
    ),
    "unknown dataset": ("digits:", "digit:", "unknown dataset; did you mean digits?"),
    "unknown metric": ("test_accuracy]", "tests_accuracy]", "did you mean test_accuracy?"),
    "metrics without a gap": (
        "[retain_accuracy, test_accuracy]",
        "[forgetting_score]",
        "none counts in the average gap, so trials have no score",
    ),
    "overlapping seeds": (
        "reporting: [1]",
        "reporting: [1, 0]",
        "tiny.yaml:14: seeds.reporting = [1, 0]: 0 also among the tuning seeds",
    ),
    "field given twice": (
        "family: simclr",
        "family: simclr\nfamily: moco",
        "tiny.yaml:7: family: given twice, first on line 6; keep one of them",
    ),
    "no YAML": ("probe: {epochs: 2}", "probe: {epochs: 2", "not YAML"),
    "unknown store": (
        "name: tiny",
        "name: tiny\nstore: gs://bucket/somewhere",
        "store = gs://bucket/somewhere: unknown scheme gs; write a folder, or s3://",
    ),
    "a password in the store's URL": (
        "name: tiny",
        "name: tiny\nstore: s3://bucket/p?endpoint=http://me:geheim@host:1",
        "credentials must not be in a URL",
    ),
}


@pytest.mark.parametrize("case", IN_THE_FILE)
def test_in_the_file(case: str, place: Place, refused: Refused) -> None:
    old, new, message = IN_THE_FILE[case]
    place.change(old, new)
    given = (
        [str(place.file)] if "store: " in new else [str(place.file), "--store", str(place.store)]
    )
    for command in ([], ["plan"]):
        said = refused(*command, *given)
        assert message in said
        assert "geheim" not in said


@schema
class WithoutNegatives(Family):
    """A family whose criterion has no negatives."""

    name: ClassVar[str] = "without_negatives"
    views: ClassVar[int] = 2


def test_a_method_that_the_family_cannot_do(
    place: Place, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.parts(Family)
    monkeypatch.setitem(registry._REGISTERED["family"], "without_negatives", WithoutNegatives)
    text = SWEEP.replace("family: simclr", "family: without_negatives")
    place.write(text.replace("  finetune: {", "  finetune:\n  alignment_calibration: {"))
    assert (
        "tiny.yaml:12: methods.alignment_calibration: alignment_calibration needs a contrastive"
        " family; without_negatives has no negatives; remove the method, or change the family"
    ) in refused(str(place.file), "--store", str(place.store))


def test_ids_that_are_none(place: Place, refused: Refused) -> None:
    ids = place.folder / "ids.txt"
    place.change("{random: {fraction: 0.1}}", f"{{ids: {{file: {ids}}}}}")
    for text, message in {
        "3\n1437\n": f"file = {ids}: 1 of 2 lines do not name one training sample: line 2: "
        "'1437'; write positions in the training set, from 0 to 1436",
        "-1\n3\nthree\n": "2 of 3 lines do not name one training sample: line 1: '-1', "
        "line 3: 'three'; write",
        "# none\n": "names no sample; write positions in the training set",
        "".join(f"{number}\n" for number in range(1437)): "leaves nothing to retain",
    }.items():
        ids.write_text(text)
        assert message in refused("plan", str(place.file), "--store", str(place.store))
    ids.unlink()
    assert "cannot be read: No such file" in refused("plan", str(place.file))


def test_no_sweep_file(place: Place, refused: Refused) -> None:
    assert "tinny.yaml: no such file; did you mean" in refused(str(place.folder / "tinny.yaml"))
    assert f"{place.folder}: cannot be read: is a folder" in refused(str(place.folder))
    place.file.write_bytes(b"name: a\nmodel: \xff\xfe\x00")
    assert "tiny.yaml:2: not UTF-8 text: byte 0xff; save it as UTF-8" in refused(str(place.file))
    place.write("")
    assert "tiny.yaml: empty; give at least dataset" in refused("plan", str(place.file))


def test_overrides(place: Place, refused: Refused) -> None:
    given = (str(place.file), "--store", str(place.store))
    for assignment, message in {
        "serch.trials=3": "--set serch.trials=3: unknown field; did you mean search?",
        "search.trials": "--set search.trials: not of the form key=value; write --set",
        "search.trials=0": "--set search.trials=0: ",
        "methods.finetune.epochs=[1": "--set methods.finetune.epochs=[1: not YAML",
        "dataset=cifar11": "--set dataset=cifar11: unknown dataset; did you mean cifar10?",
        "store=ftp://host": "store = ftp://host: unknown scheme ftp",
    }.items():
        options = given[:1] if assignment.startswith("store") else given
        assert message in refused("plan", *options, "--set", assignment)


def test_several_errors_are_told_at_once(place: Place, refused: Refused) -> None:
    place.write(SWEEP.replace("resnet8", "resnet9").replace("rate: 0.01", "rate: fast"))
    lines = refused(str(place.file), "--store", str(place.store)).splitlines()
    assert ["tiny.yaml:5: model" in lines[0], "tiny.yaml:11: methods" in lines[1]] == [True, True]
    assert len(lines) == 2


@pytest.mark.parametrize("arguments", [["--nothing"], ["a", "b"], ["plan", "a", "--set"]])
def test_options_that_are_none(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        sweep.main(arguments)
    assert "usage: python -m unlearn_ray.sweep" in capsys.readouterr().err


# Data


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing listens on port 9: every request is refused at once.
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_network")
def test_a_dataset_that_cannot_be_downloaded(
    place: Place, refused: Refused, capfd: pytest.CaptureFixture[str]
) -> None:
    place.change("{digits: {image_size: 8}}", f"{{cifar10: {{folder: {place.folder}/cifar}}}}")
    given = (str(place.file), "--store", str(place.store))
    assert sweep.main(["plan", *given]) == 0  # planning downloads nothing
    capfd.readouterr()
    said = refused(*given)
    assert f"dataset cifar10: cifar-10-python.tar.gz in {place.folder}/cifar: cannot be" in said
    assert "https://www.cs.toronto.edu" in said
    assert f"and put them into {place.folder}/cifar" in said


@pytest.fixture
def images(place: Place) -> Path:
    folder = place.folder / "images"
    noise = np.random.RandomState(0)
    for part, count in (("train", 20), ("test", 4)):
        for label in ("cat", "dog"):
            (folder / part / label).mkdir(parents=True)
            for number in range(count):
                pixels = noise.randint(0, 256, (9, 7, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / label / f"{number}.png")
    place.change(
        "{digits: {image_size: 8}}", f"{{image_folder: {{path: {folder}, image_size: 8}}}}"
    )
    return folder


def test_an_image_that_cannot_be_read(
    place: Place, images: Path, refused: Refused, capfd: pytest.CaptureFixture[str]
) -> None:
    given = (str(place.file), "--store", str(place.store))
    damaged = images / "train" / "dog" / "3.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    assert sweep.main(["plan", *given]) == 0  # planning decodes nothing
    capfd.readouterr()
    said = refused(*given)
    assert f"{damaged}: cannot be read as an image" in said
    assert "repair or remove it" in said


def test_files_that_are_no_images(place: Place, images: Path, refused: Refused) -> None:
    given = ("plan", str(place.file), "--store", str(place.store))
    odd = images / "train" / "dog" / "odd.png"
    os.mkfifo(odd)
    assert f"{odd}: is a pipe, not a file; remove it" in refused(*given)
    odd.unlink()
    odd.symlink_to("/dev/zero")
    assert f"{odd}: is a device, not a file; remove it" in refused(*given)
    odd.unlink()
    odd.write_bytes(b"DDS " + bytes(200))
    assert f"{odd}: cannot be read as an image: unknown format" in refused(*given)
    Image.new("1", (20_000, 9_000)).save(odd)
    assert f"{odd}: has 180,000,000 pixels, more than can be decoded" in refused(*given)
    odd.unlink()
    named = os.path.join(os.fsencode(odd.parent), b"\xff.png")
    shutil.copy(os.fsencode(images / "train" / "dog" / "3.png"), named)
    assert rf"{odd.parent}/\xff.png: its name is not UTF-8" in refused(*given)
    os.unlink(named)
    place.write(place.file.read_text().replace("image_size: 8", "image_size: 80000"))
    assert "image_size = 80000" in refused(*given)
    place.write(place.file.read_text().replace("image_size: 80000", "resize: squeeze"))
    assert "resize = squeeze" in refused(*given)


def test_a_folder_without_images(place: Place, images: Path, refused: Refused) -> None:
    given = ("plan", str(place.file), "--store", str(place.store))
    (images / "test" / "dog").rename(images / "test" / "wolf")
    assert "the classes of train/ and test/ differ: train/dog, test/wolf" in refused(*given)
    shutil.rmtree(images / "test")
    assert f"{images}/test: No such file or directory; lay it out as" in refused(*given)
    shutil.rmtree(images)
    assert f"{images}/train: No such file or directory; lay it out as" in refused(*given)


# Captions


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that reads captions."""
    registry.parts(Family)
    monkeypatch.setitem(registry._REGISTERED["family"], "words", Words)


@pytest.fixture
def photos(place: Place) -> dict[str, str]:
    """Captioned images; the fields that name them."""
    fields = coco_files(place.folder / "photos", {"train": 20, "test": 4})
    dataset = json.dumps({"coco_captions": {**fields, "image_size": 8}})
    text = SWEEP.replace("{digits: {image_size: 8}}", dataset)
    place.write(text.replace("[retain_accuracy, test_accuracy]", "[emia_efficacy]"))
    return fields


@pytest.mark.usefixtures("words")
def test_a_family_that_reads_captions_of_images_without(
    place: Place, refused: Refused, capfd: pytest.CaptureFixture[str]
) -> None:
    given = (str(place.file), "--store", str(place.store))
    place.change("family: simclr", "family: words")
    remedy = "{prompted: {dataset: {digits: {image_size: 8}}}}"
    for command in ((), ("plan",)):
        assert (
            "tiny.yaml:6: family: words reads captions; digits has none; add class prompts, "
            f"{remedy}, or change the family"
        ) in refused(*command, *given)
    # The remedy is one.
    assert sweep.main(["plan", *given, "--set", f"dataset={remedy}"]) == 0
    assert sweep.main(["plan", *given, "--set", "dataset=captioned_digits"]) == 0
    capfd.readouterr()
    assert "'a photo' must contain {} exactly once" in refused(
        "plan", *given, "--set", "dataset={prompted: {dataset: digits, templates: [a photo]}}"
    )


@pytest.mark.usefixtures("words")
def test_other_images_without_captions(place: Place, refused: Refused) -> None:
    text = SWEEP.replace("family: simclr", "family: words").replace("digits", "captioned_digits")
    place.write(text.replace("  finetune", "  gradient_penalty: {non_members: digits}\n  finetune"))
    assert (
        "gradient_penalty with digits: words reads captions, and this dataset has none; "
        "add class prompts with prompted, or name another dataset"
    ) in refused(str(place.file), "--store", str(place.store))


def test_images_of_no_classes(
    place: Place, photos: dict[str, str], refused: Refused, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ("plan", str(place.file), "--store", str(place.store))
    assert sweep.main([*given]) == 0
    capfd.readouterr()
    text = place.file.read_text()
    place.write(text.replace("[emia_efficacy]", "[emia_efficacy, test_accuracy, cmia_efficacy]"))
    assert (
        "tiny.yaml:9: metrics: test_accuracy, cmia_efficacy: these measure classes, and "
        "the images of coco_captions are unlabelled; name metrics among"
    ) in refused(*given)
    place.write(text.replace("metrics: [emia_efficacy]\n", ""))
    assert "tiny.yaml:2: dataset: retain_accuracy, test_accuracy, forget_accuracy" in refused(
        *given
    )
    place.write(text)
    said = refused(*given, "--set", "family=supervised")
    assert "supervised needs classes; the images of coco_captions are unlabelled" in said
    said = refused(*given, "--set", "forget_set={classes: {classes: [cat]}}")
    assert "the dataset's images are unlabelled; forget samples instead, with random or ids" in said
    fields = json.dumps(photos)
    said = refused(
        *given, "--set", f"dataset={{prompted: {{dataset: {{coco_captions: {fields}}}}}}}"
    )
    assert "prompted with coco_captions: its images are unlabelled, so there are no" in said


@pytest.mark.usefixtures("words")
def test_metrics_of_pairs_by_a_family_that_reads_no_captions(
    place: Place, photos: dict[str, str], refused: Refused, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ("plan", str(place.file), "--store", str(place.store))
    text = place.file.read_text()
    measured = "[emia_efficacy, pair_similarity_forget, pair_attack]"
    place.write(text.replace("[emia_efficacy]", measured))
    said = refused(*given)
    assert (
        "tiny.yaml:9: metrics: pair_similarity_forget, pair_attack: they compare images with "
        "captions, and simclr reads none; name other metrics, or set the family to clip or words"
    ) in said
    assert "these measure classes" not in said
    # The remedy is one.
    assert sweep.main([*given, "--set", "family=words"]) == 0
    capfd.readouterr()
    chosen = "metrics=[emia_efficacy, {pair_alignment_matrices: {ids: [3, 20]}}]"
    said = refused(*given, "--set", "family=words", "--set", chosen)
    assert (
        "pair_alignment_matrices.ids: 1 of 2 ids do not name one training sample: '3'; write "
        "an image's id or file name"
    ) in said
    named = "name metrics among "
    for family, offered in (("words", True), ("simclr", False)):
        said = refused(*given, "--set", f"family={family}", "--set", "metrics=[test_accuracy]")
        assert ("pair_similarity_retain" in said.split(named)[1]) == offered


def test_captions_that_do_not_fit_their_images(
    place: Place, photos: dict[str, str], refused: Refused
) -> None:
    """What the captions' files say is known when a sweep is planned."""
    given = ("plan", str(place.file), "--store", str(place.store))
    path = Path(photos["train_captions"])
    content = json.loads(path.read_text())

    def said(**changed: object) -> str:
        path.write_text(json.dumps({**content, **changed}))
        return refused(*given)

    first, *others = content["annotations"]
    assert f"{path}: empty captions, 1 in all: of 019.jpg (annotations[0]); write them" in said(
        annotations=[{**first, "caption": " "}, *others]
    )
    assert f"{path}: images without a caption, 1 in all: 019.jpg; write one, or remove" in said(
        annotations=others[1:]
    )
    assert (
        "captions without an image, 1 in all: the id 99 of annotations[0]; list the images"
        in said(annotations=[{**first, "image_id": 99}, *others])
    )
    path.write_text(json.dumps(content)[:100])
    assert f"{path}:1: not JSON: " in refused(*given)
    path.write_text(json.dumps(content))
    missing = Path(photos["train_images"]) / "005.jpg"
    missing.unlink()
    assert (
        f"train_images = {missing.parent}: 1 of the 20 images of {path} cannot be read: {missing} "
        "(No such file or directory); put them there"
    ) in refused(*given)
    path.unlink()
    assert (
        f"train_captions = {path}: cannot be read: No such file or directory; check the path"
    ) in refused(*given)


@pytest.mark.usefixtures("words")
def test_captions_and_photographs_that_cannot_be_read(
    place: Place, photos: dict[str, str], refused: Refused, capfd: pytest.CaptureFixture[str]
) -> None:
    """What takes reading them all is known before anything is trained."""
    given = (str(place.file), "--store", str(place.store), "--set", "family=words")
    path = Path(photos["test_captions"])
    whole = path.read_text()
    path.write_text(whole.replace("picture 3", "a very " + "long " * 20))
    assert sweep.main(["plan", *given]) == 0
    capfd.readouterr()
    said = refused(*given)
    assert "caption 'a very long" in said
    assert "has 24 words; write 1 to 12" in said
    path.write_text(whole)
    damaged = Path(photos["train_images"]) / "007.jpg"
    damaged.write_bytes(damaged.read_bytes()[:300])
    assert f"{damaged}: cannot be read as an image" in refused(*given)


# Stores


def test_a_store_without_write_permission(
    place: Place, read_only_folder: Path, refused: Refused
) -> None:
    said = refused(str(place.file), "--store", str(read_only_folder))
    assert "allow this user to read and write there, or choose another store" in said
    assert contents(read_only_folder) == {}


def test_a_store_that_is_a_file(place: Place, refused: Refused) -> None:
    file = place.folder / "file"
    file.write_text("mine")
    assert "choose a folder as the store, not a file" in refused(
        str(place.file), "--store", str(file)
    )
    assert file.read_text() == "mine"


def test_a_full_disk(place: Place, small_disk: Path, refused: Refused) -> None:
    if not os.path.ismount(small_disk):
        pytest.skip("needs a file system of its own, which this user may not mount")
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(b"x" * (4 << 20))
    said = refused(str(place.file), "--store", str(small_disk / "store"))
    assert "No space left on device; free space there, then run again" in said
    assert [*contents(small_disk)] == ["ballast"]


def test_an_unreachable_store(place: Place, refused: Refused, s3_server: S3Server) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"s3://bucket/p?endpoint=http://127.0.0.1:{closed.getsockname()[1]}"
    started = time.monotonic()
    assert f"{url}: no answer from the endpoint" in refused(str(place.file), "--store", url)
    assert time.monotonic() - started < 30
    url = f"s3://no-such-bucket/p?endpoint={s3_server.endpoint}"
    assert "no bucket no-such-bucket; create it" in refused(str(place.file), "--store", url)


def test_wrong_credentials(
    place: Place, refused: Refused, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = s3_server.store_url("kept")
    open_store(url).objects.write("rows/x", b"kept")
    with monkeypatch.context() as environment:
        environment.setenv("AWS_SECRET_ACCESS_KEY", "geheim")
        said = refused(str(place.file), "--store", url)
        assert "AWS_ACCESS_KEY_ID" in said
        assert "geheim" not in said
        assert "AWS_ACCESS_KEY_ID" in refused(url, "compare", command=results.main)
    assert open_store(url).objects.names("") == ["rows/x"]
    assert open_store(url).objects.read("rows/x") == b"kept"


def test_a_corrupt_row(
    place: Place, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is told of, and what it said is to be run again; nothing else suffers."""
    damaged = sorted((place.store / "rows").rglob("*reporting*.parquet"))[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    before = contents(place.store)
    given = ["plan", str(place.file), "--store", str(place.store)]
    for command, arguments in (
        (sweep.main, given),
        (results.main, [str(place.store), "query", "SELECT 1"]),
        (results.main, [str(place.store), "compare"]),
    ):
        caplog.clear()
        assert command(arguments) == 0
        (said,) = {record.getMessage() for record in caplog.records}
        assert (
            f"{damaged.relative_to(place.store)} of {place.store}: not a readable Parquet" in said
        )
        assert "delete that object and run the sweep again" in said
    assert contents(place.store) == before
    assert results.main([str(place.store), "compact"]) == 0
    assert damaged.read_bytes() == before[str(damaged.relative_to(place.store))]
    damaged.unlink()
    capfd.readouterr()
    assert sweep.main(given) == 0
    assert "up to 1 runs" in capfd.readouterr().out


# Clusters


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster answers (connection refused); start one there: ray start"),
        ("ray://127.0.0.1:9", "no Ray cluster answers (connection refused)"),
        ("127.0.0.1:99999", "no Ray cluster answers"),
        ("host.invalid:6379", "no Ray cluster answers"),
        ("http://127.0.0.1:8265", "not the address of a Ray cluster; write auto, or host:port"),
        ("somewhere", "not the address of a Ray cluster"),
        (".:6379", "not a host name; write host:port"),
        (f"{'a' * 300}:1", "not a host name"),
    ],
)
def test_no_cluster(
    address: str,
    message: str,
    place: Place,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = (str(place.file), "--store", str(place.store), "--set", "training.epochs=2")
    started = time.monotonic()
    assert f"--address {address}: {message}" in refused(*given, "--address", address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert f"RAY_ADDRESS = {address}: {message}" in refused(*given)
    assert time.monotonic() - started < 30


# Results


def test_results(place: Place, refused: Refused) -> None:
    store = str(place.store)

    def told(*arguments: str) -> str:
        return refused(*arguments, command=results.main)

    keys = sorted(path.stem for path in (place.store / "records").rglob("*.json"))
    assert "no such folder; check the path" in told(f"{store}s", "compare")
    assert not Path(f"{store}s").exists()
    assert "unknown scheme http" in told("http://host/store", "best")
    assert "query 'SELEC 1'" in told(store, "query", "SELEC 1")
    assert 'list the columns with query "DESCRIBE winners"' in told(
        store, "query", "SELECT methd FROM rows"
    )
    for sql in ("DROP TABLE rows", "SELECT 1; SELECT 2", f"COPY rows TO '{store}/x.csv'"):
        assert "not one SELECT" in told(store, "query", sql)
    for sql, given in {
        "SELECT 1 AS a, 2 AS a": ("json",),
        "SELECT '101'::BIT AS a": ("json",),
        "SELECT DATE '290000-01-01' AS a": ("csv",),
        "SELECT 1 AS b, 2 AS b": ("parquet", "--output", str(place.folder / "b.parquet")),
    }.items():
        said = told(store, "query", sql, "--format", *given)
        assert f"--format {given[0]}: " in said
        assert "; rename or cast that column in the query" in said
    assert "not UTF-8 text" in told(store, "query", "SELECT '\udce9' FROM rows")
    assert "key zz: no key starts with it" in told(store, "diff", "zz", keys[0])
    assert "several keys start with it; give more digits" in told(store, "diff", "", keys[0])
    assert "--sweep tin: no rows of this sweep; did you mean tiny?" in told(
        store, "compare", "--sweep", "tin"
    )
    assert "add --output FILE" in told(store, "best", "--format", "parquet")
    output = place.folder / "no" / "folder.csv"
    assert "name a file to write" in told(store, "best", "--output", str(output))


# A process of its own


def test_ray_is_not_even_imported(place: Place, images: Path) -> None:
    """As a person calls it: the status of the process, and what it did not spend."""
    before = contents(place.store)
    (images / "test" / "dog" / "0.png").write_bytes(b"no image")
    program = (
        "import sys; from unlearn_ray.sweep import main; status = main(sys.argv[1:]);"
        "print('ray' in sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(place.file), "--store", str(place.store)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert done.stderr.startswith(f"error: {images}/test/dog/0.png: cannot be read as an image")
    assert "Traceback" not in done.stderr
    assert contents(place.store) == before
