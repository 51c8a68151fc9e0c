"""Records, artifacts, checkpoints and URLs."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn_ray.core.errors import ConfigError, CorruptObject, MissingObject
from unlearn_ray.storage import records
from unlearn_ray.storage.store import Record, Store, open_store

RECORD = Record(
    kind="pretrain",
    key="0123456789abcdef",
    config={"epochs": 3, "model": {"name": "small"}},
    inputs={"original": "fedcba9876543210"},
    files={},
    result={"loss": 0.1 + 0.2, "history": [1, 2.5, None], "device": "cpu"},
    seconds=1.25,
    created="2026-01-01T00:00:00+00:00",
    versions={"torch": "2"},
    host="here",
    sweep="tiny",
    row="study/tiny/tuning-000000-0",
    workers=2,
    accelerators=0.5,
    earlier_seconds=0.75,
)


def test_a_record_is_written_once(store: Store) -> None:
    assert store.record("pretrain", RECORD.key) is None
    assert store.records("pretrain") == []
    assert store.complete(RECORD)
    assert not store.complete(dataclasses.replace(RECORD, seconds=9.0))
    assert store.record("pretrain", RECORD.key) == RECORD
    assert store.records("pretrain") == [RECORD.key]
    assert store.records("pre") == []


@given(st.floats(allow_nan=False))
def test_numbers_come_back_exactly(number: float) -> None:
    record = dataclasses.replace(RECORD, result={"x": number})
    assert records.from_bytes(RECORD.kind, RECORD.key, records.to_bytes(record)) == record


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff\xfe", records.to_bytes(RECORD)])
def test_a_damaged_record(local_store: Store, data: bytes) -> None:
    local_store.objects.write("records/pretrain/other.json", data)
    with pytest.raises(CorruptObject, match=r"records/pretrain/other.json.*run again"):
        local_store.record("pretrain", "other")


def test_artifacts_of_two_uploads_never_mix(store: Store) -> None:
    first = store.put_artifact("pretrain", RECORD.key, {"model": b"one", "log": b""})
    second = store.put_artifact("pretrain", RECORD.key, {"model": b"two", "log": b""})
    record = dataclasses.replace(RECORD, files=first)
    assert store.complete(record)
    assert store.read_artifact(record, "model") == b"one"
    assert store.read_artifact(record, "log") == b""
    assert not {entry.name for entry in first.values()} & {e.name for e in second.values()}


def test_damaged_and_missing_artifacts(store: Store) -> None:
    files = store.put_artifact("pretrain", RECORD.key, {"model": b"weights", "lost": b"x"})
    record = dataclasses.replace(RECORD, files=files)
    store.objects.write(files["model"].name, b"weig")
    remedy = rf".*delete records/pretrain/{RECORD.key}.json.*run again"
    with pytest.raises(CorruptObject, match=rf"model of pretrain {RECORD.key}: .* 4 bytes{remedy}"):
        store.read_artifact(record, "model")
    store.objects.write(files["model"].name, b"Weights")
    with pytest.raises(CorruptObject, match=f"altered{remedy}"):
        store.read_artifact(record, "model")
    store.objects.delete(files["lost"].name)
    with pytest.raises(MissingObject, match=f"lost of pretrain{remedy}"):
        store.read_artifact(record, "lost")
    with pytest.raises(MissingObject, match=r"features of pretrain .* its files are lost, model"):
        store.read_artifact(record, "features")


def test_checkpoints_replace_older_ones(store: Store) -> None:
    assert store.latest_checkpoint("step") is None
    for iteration in (5, 10, 1_000_000_000):
        store.save_checkpoint("step", iteration, str(iteration).encode())
        assert store.latest_checkpoint("step") == (iteration, str(iteration).encode())
        assert len(store.objects.names("checkpoints/step/")) == 1
    store.save_checkpoint("step", 1_000_000_000, b"1000000000")
    assert store.latest_checkpoint("step") == (1_000_000_000, b"1000000000")
    store.clear_checkpoints("step")
    assert store.latest_checkpoint("step") is None


def test_a_damaged_checkpoint(local_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store = local_store
    store.save_checkpoint("step", 5, b"older")
    (older,) = store.objects.names("checkpoints/step/")
    store.save_checkpoint("step", 10, b"newer")
    (newer,) = store.objects.names("checkpoints/step/")
    store.objects.write(older, b"older")  # as if killed before it was removed
    store.objects.write(newer, b"new")
    with caplog.at_level(logging.WARNING):
        assert store.latest_checkpoint("step") == (5, b"older")
    assert newer in caplog.text
    store.objects.delete(older)
    with pytest.raises(CorruptObject, match=rf"{newer}.*delete it and run again"):
        store.latest_checkpoint("step")
    store.save_checkpoint("step", 7, b"resumed from 5")
    assert store.latest_checkpoint("step") == (7, b"resumed from 5")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "empty"),
        ("gs://bucket/x", "unknown scheme gs"),
        ("http://127.0.0.1:9000/bucket", "unknown scheme http"),
        ("s3://", "no bucket"),
        ("s3:///prefix", "no bucket"),
        ("s3://b_!/x", "'b_!' is not a bucket"),
        ("s3://bucket/x?endpont=http://h:1", "did you mean endpoint"),
        ("s3://bucket/x?endpoint=", "endpoint must be given once"),
        ("s3://bucket/x?region=a&region=b", "region must be given once"),
        ("s3://bucket/x?endpoint=127.0.0.1:9000", "is not http"),
        ("s3://bucket/x?endpoint=http://me:hush@h:1", "credentials must not be"),
        ("s3://me:hush@bucket/x", "credentials must not be"),
    ],
)
def test_urls_that_are_no_store(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match="store = .*" + reason) as error:
        open_store(url)
    assert "hush" not in str(error.value)


def test_urls_that_are(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert open_store("./store").url == str(tmp_path / "store")
    full = "s3://bucket/some/prefix?endpoint=http://127.0.0.1:9000&region=eu-west-1"
    assert open_store(full).url == full
    assert open_store("s3://bucket").url == "s3://bucket/"
