"""Hugging Face datasets in a folder, in both layouts, against scikit-learn's digits in them."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from sklearn.datasets import load_digits

from tests.tiny import tiny_sweep
from unlearn_ray.core.errors import ConfigError, DataError
from unlearn_ray.core.keys import content_key
from unlearn_ray.data import loaded
from unlearn_ray.data.datasets.hugging_face import HuggingFace

PIXELS, LABELS = load_digits(return_X_y=True)
IMAGES = np.round(PIXELS * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8)
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": NAMES, "_type": "ClassLabel"},
    "caption": {"dtype": "string", "_type": "Value"},
}
PARTS = {"train": range(40), "test": range(40, 60)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cache = tmp_path / "cache"
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(cache))
    return cache


def png(row: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(IMAGES[row]).save(file, "PNG")
    return file.getvalue()


def table(rows: Any, features: dict[str, Any] | None = FEATURES, **columns: Any) -> pa.Table:
    """Rows as the datasets package lays them out."""
    held: dict[str, Any] = {
        "image": pa.array(
            [{"bytes": png(row), "path": f"{row}.png"} for row in rows],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
        "label": pa.array([int(LABELS[row]) for row in rows], pa.int64()),
        "caption": pa.array([f"a {NAMES[LABELS[row]]}" for row in rows]),
    }
    made = pa.table({**held, **columns})
    if features is None:
        return made
    said = json.dumps({"info": {"features": features}})
    return made.replace_schema_metadata({"huggingface": said})


def saved(root: Path, parts: dict[str, pa.Table], shards: int = 2) -> Path:
    """The layout of `save_to_disk`."""
    root.mkdir(parents=True)
    (root / "dataset_dict.json").write_text(json.dumps({"splits": [*parts]}))
    for name, rows in parts.items():
        (root / name).mkdir()
        files = []
        step = max(1, -(-rows.num_rows // shards))
        for shard, begin in enumerate(range(0, max(1, rows.num_rows), step)):
            file = f"data-{shard:05}-of-{shards:05}.arrow"
            files.append({"filename": file})
            piece = rows.slice(begin, step)
            with pa.ipc.new_stream(str(root / name / file), piece.schema) as writer:
                writer.write_table(piece, max_chunksize=7)
        state = {"_data_files": files, "_split": name}
        (root / name / "state.json").write_text(json.dumps(state))
    return root


def downloaded(root: Path, parts: dict[str, pa.Table], shards: int = 2) -> Path:
    """The layout of a repository of the hub."""
    (root / "data").mkdir(parents=True)
    for name, rows in parts.items():
        step = max(1, -(-rows.num_rows // shards))
        for shard in range(shards):
            file = root / "data" / f"{name}-{shard:05}-of-{shards:05}.parquet"
            parquet.write_table(rows.slice(shard * step, step), file, row_group_size=6)
    return root


def both(**columns: Any) -> dict[str, pa.Table]:
    return {name: table(rows, **columns) for name, rows in PARTS.items()}


@pytest.mark.parametrize("layout", [saved, downloaded])
def test_images_labels_and_classes_are_those_of_the_rows(layout: Any, tmp_path: Path) -> None:
    dataset = HuggingFace(path=str(layout(tmp_path / "digits", both())))
    info = dataset.info()
    assert (info.train_size, info.test_size, info.image_size) == (40, 20, 8)
    assert info.class_names == tuple(NAMES)
    assert not info.captioned
    data = dataset.load(tmp_path / "cache")
    for channel in range(3):
        assert np.array_equal(data.train_images[..., channel], IMAGES[:40])
        assert np.array_equal(data.test_images[..., channel], IMAGES[40:60])
    assert data.train_labels.tolist() == LABELS[:40].tolist()
    assert data.test_labels.tolist() == LABELS[40:60].tolist()


def test_the_key_is_that_of_the_rows_in_either_layout(tmp_path: Path) -> None:
    first = HuggingFace(path=str(saved(tmp_path / "a", both())))
    second = HuggingFace(path=str(downloaded(tmp_path / "b", both(), shards=3)))
    assert content_key(first) == content_key(second)
    assert str(tmp_path) not in repr(first.content())
    others = [
        table(PARTS["train"], label=pa.array([int(label) for label in LABELS[1:41]])),
        table(range(1, 41)),
        table(PARTS["train"], {**FEATURES, "label": {"_type": "ClassLabel", "names": NAMES[::-1]}}),
    ]
    keys = [
        content_key(HuggingFace(path=str(saved(tmp_path / f"{n}", {**both(), "train": other}))))
        for n, other in enumerate(others)
    ]
    assert len({content_key(first), *keys}) == 4
    cropped = HuggingFace(path=first.path, image_size=6)
    assert content_key(cropped) != content_key(first)
    captioned = HuggingFace(path=first.path, caption="caption")
    assert content_key(captioned) != content_key(first)


def test_captions_with_and_without_labels(tmp_path: Path) -> None:
    several = pa.array([["one ", f"row  {row}"] for row in PARTS["train"]])
    parts = {"train": table(PARTS["train"], caption=several), "test": table(PARTS["test"])}
    path = str(downloaded(tmp_path / "digits", parts))
    dataset = HuggingFace(path=path, label=None, caption="caption")
    info = dataset.info()
    assert info.captioned
    assert info.class_names == ()
    data = dataset.load(tmp_path / "cache")
    assert data.train_captions[7] == ("one", "row 7")
    assert data.test_captions[0] == (f"a {NAMES[LABELS[40]]}",)
    assert set(data.train_labels.tolist()) == {0}
    assert HuggingFace(path=path, caption="caption").info().class_names == tuple(NAMES)


def test_classes_of_a_readme_or_numbers(tmp_path: Path) -> None:
    parts = {name: table(rows, None) for name, rows in PARTS.items()}
    root = downloaded(tmp_path / "digits", parts)
    assert HuggingFace(path=str(root)).info().class_names == tuple(map(str, range(10)))
    names = "".join(f"          '{n}': {name}\n" for n, name in enumerate(NAMES))
    (root / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n"
        f"    dtype:\n      class_label:\n        names:\n{names}---\n# Digits\n"
    )
    assert HuggingFace(path=str(root)).info().class_names == tuple(NAMES)
    (root / "README.md").write_text("---\nno: [yaml\n---\n")
    assert HuggingFace(path=str(root)).info().class_names == tuple(map(str, range(10)))


def test_other_layouts_of_parquet_files(tmp_path: Path) -> None:
    root = tmp_path / "digits"
    for name, rows in both().items():
        (root / "plain" / name).mkdir(parents=True)
        parquet.write_table(rows, root / "plain" / name / "0000.parquet")
    assert HuggingFace(path=str(root)).info().train_size == 40
    (root / "other").mkdir()
    for name, rows in both().items():
        parquet.write_table(rows.slice(0, 12), root / "other" / f"{name}.parquet")
    with pytest.raises(DataError, match=r"several configurations with a split .*: other, plain"):
        HuggingFace(path=str(root)).info()
    assert HuggingFace(path=str(root / "other")).info().train_size == 12


def test_another_machine_must_have_the_same_files(tmp_path: Path) -> None:
    root = saved(tmp_path / "digits", both())
    planned = HuggingFace(path=str(root))
    key = content_key(planned)
    sent = pickle.loads(pickle.dumps(planned))
    assert len(loaded.load(sent, tmp_path / "elsewhere").train_labels) == 40
    root.rename(tmp_path / "gone")
    saved(root, {**both(), "test": table(range(50, 60))})
    assert content_key(sent) == key
    with pytest.raises(DataError, match="other images than when the sweep was planned"):
        loaded.load(sent, tmp_path / "elsewhere")


NO_BYTES = pa.array(
    [{"bytes": None if row in (3, 5) else png(row), "path": "x.png"} for row in PARTS["train"]]
)


@pytest.mark.parametrize(
    ("columns", "fields", "message"),
    [
        ({}, {"image": "img"}, r"no such column; it has image \(struct.*label \(int64\), caption"),
        ({}, {"label": "fine_label"}, "no such column; it has image"),
        ({}, {"test": "validation"}, "no split validation; there are .*; name the splits: train"),
        ({}, {"image": "caption"}, "the column holds string, not images; make it an Image"),
        ({}, {"label": "caption"}, "holds string, not label numbers; make it a ClassLabel"),
        ({}, {"caption": "label"}, "holds int64, not a text"),
        (
            {"image": NO_BYTES},
            {},
            "2 files cannot be used: train/row 3 holds no image file; train/row 5",
        ),
        (
            {"label": pa.array([None if row == 9 else 1 for row in PARTS["train"]])},
            {},
            "train/row 9: has None as its label",
        ),
        ({"label": pa.array([-1] * 40)}, {}, "40 files cannot be used: train/row 0 has -1 as"),
        ({"label": pa.array([10] * 40)}, {}, "there is a label 10, and the ClassLabel has 10"),
        (
            {"image": pa.array([b"no image", *map(png, range(39))])},
            {"image_size": 8},
            "train/row 0: cannot be read as an image",
        ),
        ({"caption": pa.array(["", *["a"] * 39])}, {"caption": "caption"}, "has no caption"),
    ],
)
def test_errors(columns: Any, fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    parts = {"train": table(PARTS["train"], **columns), "test": table(PARTS["test"])}
    if "image" in columns:
        parts["test"] = table(PARTS["test"])
    for layout in (saved, downloaded):
        root = layout(tmp_path / layout.__name__, parts)
        with pytest.raises(DataError, match=message):
            HuggingFace(path=str(root), **fields).info()


def test_images_of_several_sizes_need_an_image_size(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(IMAGES[0]).resize((12, 9)).save(file, "PNG")
    images = pa.array([*map(png, range(39)), file.getvalue()])
    parts = {"train": table(PARTS["train"], image=images), "test": table(PARTS["test"])}
    root = str(saved(tmp_path / "digits", parts))
    with pytest.raises(DataError, match=r"row 39: has 12 x 9 pixels, .* is 8 wide; set image_size"):
        HuggingFace(path=root).info()
    assert HuggingFace(path=root, image_size=6).info().image_size == 6


def test_folders_without_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no dataset; give a folder"):
        HuggingFace(path=str(tmp_path / "nowhere")).info()
    root = saved(tmp_path / "digits", both())
    with pytest.raises(DataError, match="one split, saved by itself"):
        HuggingFace(path=str(root / "train")).info()
    (root / "test" / "data-00000-of-00002.arrow").write_bytes(b"\xff\xff\xff\xffno arrow")
    with pytest.raises(DataError, match=r"data-00000-of-00002.arrow: cannot be read"):
        HuggingFace(path=str(root)).info()
    (root / "test" / "state.json").write_text('{"_data_files": [{"filename": "../../x"}]}')
    with pytest.raises(DataError, match=r"state.json: cannot be read: it lists no data files"):
        HuggingFace(path=str(root)).info()
    (root / "dataset_dict.json").write_text("[]")
    with pytest.raises(DataError, match=r"dataset_dict.json: cannot be read: it holds no mapping"):
        HuggingFace(path=str(root)).info()
    empty = saved(tmp_path / "empty", {**both(), "test": table([])})
    with pytest.raises(DataError, match="the split test has no images"):
        HuggingFace(path=str(empty)).info()


SWEEP = """\
name: digits
dataset: {{hugging_face: {{path: "{path}", image: {image}}}}}
validation: 10
forget_set: {{classes: {{classes: [seven]}}}}
model: {{resnet8: {{width: 4}}}}
family: supervised
training: {{epochs: 1, batch_size: 16}}
methods: {{finetune: {{epochs: 1, learning_rate: 0.01}}}}
"""


def test_in_a_sweep_file(tmp_path: Path) -> None:
    root = saved(tmp_path / "digits", both())
    sweep = tiny_sweep(tmp_path, SWEEP.format(path=root, image="image"))
    assert sweep.setting.forget_set.named_classes() == (7,)
    with pytest.raises(ConfigError, match=r"tiny.yaml:2: dataset.*hugging_face.image = img"):
        tiny_sweep(tmp_path, SWEEP.format(path=root, image="img"))
