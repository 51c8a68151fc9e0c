"""One process merges rows at a time."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from unlearn_ray.core.errors import StoreError
from unlearn_ray.storage.leases import Work
from unlearn_ray.storage.store import Store, open_store


def test_one_process_merges_at_a_time(store: Store) -> None:
    store.write_row("a", {"x": 1})
    other = open_store(store.url, lease_seconds=0.8)
    lease = other.lease("compaction", Work("compaction"))
    assert lease is not None
    began = time.monotonic()
    store = open_store(store.url, lease_seconds=0.8)
    assert store.compact() is None
    assert time.monotonic() - began < 0.8
    assert store.objects.names("rows/") == ["rows/a.parquet"]
    lease.finish()
    assert store.compact() == 1
    assert store.compact() == 0
    assert store.objects.names("leases/") == []


def test_it_waits_for_one_that_ends_soon(local_store: Store) -> None:
    local_store.write_row("a", {"x": 1})
    lease = local_store.lease("compaction", Work("compaction"))
    assert lease is not None
    timer = threading.Timer(0.3, lease.finish)
    timer.start()
    assert open_store(local_store.url).compact() == 1
    timer.join()


def test_a_dead_machine_holds_up_nobody_for_ever(local_store: Store) -> None:
    lease = local_store.lease("compaction", Work("compaction"))
    assert lease is not None
    (holder,) = local_store.holders().values()
    lease.finish()
    process = replace(holder.process, host="elsewhere")
    silent = replace(holder, process=process, lease_seconds=0.5)
    local_store.objects.create("leases/compaction.000001.json", json.dumps(asdict(silent)).encode())
    local_store.remove_leftovers()
    assert len(local_store.objects.names("leases/")) == 1
    local_store.write_row("a", {"x": 1})
    assert open_store(local_store.url, lease_seconds=0.5).compact() == 1
    assert local_store.objects.names("leases/") == []


def test_a_failed_merging_gives_the_lease_back(local_store: Store) -> None:
    local_store.write_row("a", {"x": 1})
    compacted = Path(local_store.url) / "rows-compacted"
    compacted.write_bytes(b"a file where the folder should be")
    with pytest.raises(StoreError, match="rows-compacted"):
        local_store.compact()
    assert local_store.objects.names("leases/") == []
    assert local_store.objects.names("rows/") == ["rows/a.parquet"]
