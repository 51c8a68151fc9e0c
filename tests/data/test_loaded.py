"""A person's own dataset is named by what it loads."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.core.own_parts import Project, project
from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.errors import ConfigError, DataError
from unlearn_ray.core.keys import content_key, plain
from unlearn_ray.data import loaded
from unlearn_ray.data.datasets.digits import Digits
from unlearn_ray.data.datasets.prompted import Prompted

__all__ = ["project"]

DATASET = '''\
"""Photos from an array."""

from pathlib import Path

import numpy as np

from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.base import Dataset, DatasetInfo, ImageData

LOADED = []


@register("photos")
@schema
class Photos(Dataset):
    """Photos."""

    file: str
    FIELD

    def info(self):
        return DatasetInfo(4, 2, ("ant", "bee"), 2)

    def load(self, cache):
        LOADED.append(self.file)
        images = np.load(Path(self.file))
        labels = np.array([0, 1, 0, 1, 1, 0], dtype=np.int64)
        return ImageData(images[:4], labels[:4], images[4:], labels[4:])
'''


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loaded, "_KNOWN", {})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "photos.npy"
    np.save(path, np.arange(6 * 12, dtype=np.uint8).reshape(6, 2, 2, 3))
    return path


def edit(file: Path, pixel: int = 99) -> None:
    images = np.load(file)
    images[5, 1, 1, 2] = pixel
    np.save(file, images)


def photos(project: Project, field: str = "") -> Any:
    """The class, in a process that knows of no dataset yet."""
    loaded._KNOWN.clear()
    project.write("photos.py", DATASET.replace("FIELD", field))
    return project.load("photos", "Photos")


def times(dataset: Any) -> int:
    return len(vars(__import__(type(dataset).__module__))["LOADED"])


def test_its_key_holds_what_it_loads(project: Project, file: Path) -> None:
    dataset = photos(project)(file=str(file))
    before = plain(dataset)
    assert before.keys() == {"name", "file", "revision", "code", "data"}
    assert len(before["data"]) == 16
    edit(file)
    after = plain(photos(project)(file=str(file)))
    assert after["data"] != before["data"]
    assert {**after, "data": before["data"]} == before


def test_it_is_loaded_once_for_the_same_fields(project: Project, file: Path) -> None:
    cls = photos(project)
    dataset = cls(file=str(file))
    keys = {content_key(dataset) for _ in range(3)} | {content_key(cls(file=str(file)))}
    assert (len(keys), times(dataset)) == (1, 1)
    other = file.with_name("other.npy")
    other.write_bytes(file.read_bytes())
    assert plain(cls(file=str(other)))["data"] == plain(dataset)["data"]
    assert times(dataset) == 2


def test_what_it_loads_is_known_where_it_is_sent(project: Project, file: Path) -> None:
    dataset = photos(project)(file=str(file))
    key = content_key(dataset)
    sent = pickle.dumps(dataset)
    loaded._KNOWN.clear()
    assert content_key(pickle.loads(sent)) == key
    assert times(dataset) == 1


def test_fields_need_no_canonical_form(project: Project, file: Path) -> None:
    lines = (
        "table: object = None\n    raw: object = None\n\n"
        "    def identity(self):\n        return {'name': self.name}"
    )
    cls = photos(project, lines)
    dataset = cls(file=str(file), table={1: Path("/")}, raw=np.zeros(3))
    with pytest.raises(TypeError):
        hash(dataset)
    key = content_key(dataset)
    assert content_key(cls(file=str(file), table={1: Path("/")}, raw=np.zeros(3))) == key
    assert times(dataset) == 1
    assert content_key(cls(file=str(file), raw=lambda: 1)) == key
    assert times(dataset) == 2


def test_a_field_cannot_stand_in_for_what_was_loaded(project: Project) -> None:
    with pytest.raises(ConfigError, match=r"field data of .*: this name is reserved for keys"):
        photos(project, "data: object = None")


@pytest.mark.parametrize(
    "change",
    [
        {"train_images": np.zeros((4, 1, 4, 3), np.uint8)},
        {"train_images": np.zeros((3, 2, 2, 3), np.uint8)},
        {"train_labels": np.array([0, 1, 1, 0])},
        {"train_labels": np.array([0, 1, 0, 1], np.int32)},
        {"test_labels": np.array([0, 1])},
        {"train_captions": (("a",), ("b",), ("c",), ("d",))},
        {"train_captions": (("a", "b"), ("c",), ("d",), ("e",))},
        {"test_captions": (("a",), ("b",))},
    ],
    ids=str,
)
def test_every_part_of_the_data_counts(
    project: Project, file: Path, change: dict[str, Any]
) -> None:
    dataset = photos(project)(file=str(file))
    data = replace(dataset.load(cache_folder()), train_images=np.zeros((4, 2, 2, 3), np.uint8))
    same = replace(data, train_images=np.asfortranarray(data.train_images))
    assert loaded._digest(dataset, same) == loaded._digest(dataset, data)
    assert loaded._digest(dataset, replace(data, **change)) != loaded._digest(dataset, data)


def test_prompts_count(project: Project, file: Path) -> None:
    before = plain(photos(project)(file=str(file)))
    lines = "\n    def prompts(self):\n        return (('an ant',), ('a bee',))"
    assert plain(photos(project, lines)(file=str(file)))["data"] != before["data"]


def test_a_part_that_holds_it_carries_its_data(project: Project, file: Path) -> None:
    before = plain(Prompted(dataset=photos(project)(file=str(file))))
    assert before["dataset"]["data"]
    assert "data" not in before
    edit(file)
    after = plain(Prompted(dataset=photos(project)(file=str(file))))
    assert after["dataset"]["data"] != before["dataset"]["data"]


def test_what_is_loaded_later_must_be_the_same(project: Project, file: Path) -> None:
    dataset = photos(project)(file=str(file))
    loaded.load(dataset, cache_folder())
    assert times(dataset) == 1
    content_key(dataset)
    assert times(dataset) == 1
    edit(file)
    for holder in (dataset, Prompted(dataset=dataset)):
        with pytest.raises(DataError, match=r"photos: load\(\) returned other data.*fixed seed"):
            loaded.load(holder, cache_folder())


def test_built_in_datasets_are_named_by_their_fields() -> None:
    dataset = Digits(image_size=8)
    assert plain(dataset) == {"name": "digits", "image_size": 8, "revision": 1}
    assert len(loaded.load(dataset, cache_folder()).train_labels) == 1437
    assert "_loaded" not in vars(dataset)


FOLDER = '''\
from unlearn_ray.core.registry import register
from unlearn_ray.core.schema import schema
from unlearn_ray.data.datasets.image_folder import ImageFolder
from dataclasses import replace


@register("darker")
@schema
class Darker(ImageFolder):
    """As image_folder, darker."""

    def _decoded(self):
        data = super()._decoded()
        return replace(data, train_images=data.train_images // 2)
'''


def test_an_edited_reader_of_image_files_decodes_anew(project: Project, tmp_path: Path) -> None:
    for place in ("train/ant", "train/bee", "test/ant", "test/bee"):
        folder = tmp_path / "images" / place
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 4), (200, 100, 50)).save(folder / "one.png")
    fields = {"path": str(tmp_path / "images"), "image_size": 4}
    project.write("darker.py", FOLDER)
    first = project.load("darker", "Darker")(**fields)
    assert first.load(cache_folder()).train_images[0, 0, 0].tolist() == [100, 50, 25]
    project.write("darker.py", FOLDER.replace("// 2", "// 10"))
    second = project.load("darker", "Darker")(**fields)
    assert second.load(cache_folder()).train_images[0, 0, 0].tolist() == [20, 10, 5]
    one, other = plain(first), plain(second)
    assert one["files"] == other["files"]
    assert (one["code"], one["data"]) != (other["code"], other["data"])
    assert one["data"] != other["data"]
