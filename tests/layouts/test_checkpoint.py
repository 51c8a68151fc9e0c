"""Files that hold a checkpoint, and files that do not: nothing in them is ever run."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn

from unlearn_ray.core.errors import DataError
from unlearn_ray.layouts.checkpoint import tensors

STATE = {"fc.weight": torch.randn(3, 2), "fc.bias": torch.zeros(3)}


def saved(what: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(what, file, **options)
    return file.getvalue()


def same(data: bytes) -> None:
    found = tensors(data, "x").values
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], value) for name, value in STATE.items())


@pytest.mark.parametrize("name", ["state_dict", "model", "model_state_dict"])
def test_where_training_scripts_keep_the_state_dict(name: str) -> None:
    optimizer = torch.optim.SGD(nn.Linear(2, 3).parameters(), lr=0.1, momentum=0.9).state_dict()
    same(saved({"epoch": 3, "optimizer": optimizer, name: STATE, "args": {"lr": 0.1}}))


def test_plain_and_nested_and_old_files() -> None:
    same(saved(STATE))
    same(saved({"model": {"state_dict": STATE, "step": 1}}))
    same(saved(STATE, _use_new_zipfile_serialization=False))
    same(save(STATE))


def test_a_header_that_begins_like_a_pickle() -> None:
    for mark in (b"\x80", b"PK"):
        sizes = ((size, save(STATE, metadata={"note": "x" * size})) for size in range(20_000))
        data = next(data for _, data in sizes if data.startswith(mark))
        same(data)


def test_metadata_of_safetensors() -> None:
    found = tensors(save(STATE, metadata={"seconds": "81.5", "code": "theirs"}), "x")
    assert found.metadata == {"seconds": "81.5", "code": "theirs"}
    assert tensors(saved(STATE), "x").metadata == {}


class Code:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["UNLEARN_RAY_TEST_FOLDER"],)


@pytest.mark.parametrize("kind", ["torch", "old", "pickle"])
def test_nothing_is_unpickled(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "made"
    monkeypatch.setenv("UNLEARN_RAY_TEST_FOLDER", str(folder))
    what = {"state_dict": STATE, "hook": Code()}
    data = {
        "torch": lambda: saved(what),
        "old": lambda: saved(what, _use_new_zipfile_serialization=False),
        "pickle": lambda: pickle.dumps(Code()),
    }[kind]()
    with pytest.raises(DataError, match=r"only unpickling could read; save the state dict alone"):
        tensors(data, "evil.pt")
    assert not folder.exists()


def test_a_whole_module_is_refused() -> None:
    with pytest.raises(DataError, match="only unpickling could read"):
        tensors(saved(nn.Linear(2, 3)), "x")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["torch", "safetensors"])
def test_truncated_files(kind: str, share: float) -> None:
    data = saved(STATE) if kind == "torch" else save(STATE)
    with pytest.raises(DataError, match=r"^checkpoint cut\.file: .*save the state dict alone"):
        tensors(data[: int(share * len(data))], "cut.file")


@pytest.mark.parametrize("data", [b"hello", b"{}", b"PK\x03\x04", b"\x80\x04.", b"\x00" * 64])
def test_other_files(data: bytes) -> None:
    with pytest.raises(DataError, match="save the state dict alone"):
        tensors(data, "x")


@pytest.mark.parametrize("what", [{}, {"state_dict": {}}, [1, 2], {"epoch": 3}, STATE["fc.bias"]])
def test_no_state_dict(what: Any) -> None:
    with pytest.raises(DataError, match="holds no state dict"):
        tensors(saved(what), "x")
