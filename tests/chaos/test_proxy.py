"""The proxy's faults, a store behind them, and what the history of requests proves."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.chaos.evidence import History
from tests.chaos.proxy import FaultyProxy, Rates
from tests.s3_server import S3Server
from unlearn_ray.core.errors import StoreUnreachable
from unlearn_ray.storage.objects import ObjectStore
from unlearn_ray.storage.store import Store, Work, open_store

DATA = bytes(range(256)) * 100
OUTAGE_SECONDS = 5
CREATORS = 3
NAMES = [f"name-{number}" for number in range(8)]
LOSSY = Rates(cut_request=0.1, cut_answer=0.1, lose_answer=0.1, slow_down=0.1, fail_after=0.1)


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultyProxy]:
    """Before the S3 server; it does nothing to requests yet."""
    with FaultyProxy(s3_server.ports["proxy"]) as proxy:
        yield proxy


@pytest.fixture
def direct(s3_server: S3Server) -> Store:
    """A new store."""
    return open_store(s3_server.store_url("p"))


@pytest.fixture
def store(direct: Store, s3_server: S3Server, proxy: FaultyProxy) -> Store:
    """The same store behind the proxy; it has answered."""
    store = open_store(direct.url.replace(s3_server.endpoint, proxy.endpoint))
    store.check_writable()
    return store


@pytest.fixture
def history(store: Store, proxy: FaultyProxy) -> History:
    """Of all requests so far and to come."""
    return History(urlsplit(store.url).netloc, "p/", proxy.exchanges)


def test_plain_traffic_passes(store: Store, proxy: FaultyProxy) -> None:
    store.objects.write("a/x y+z", DATA)
    assert store.objects.read("a/x y+z") == DATA
    assert store.objects.names("a/") == ["a/x y+z"]
    assert not store.objects.create("a/x y+z", b"")
    store.objects.delete("a/x y+z")
    assert store.objects.names("a/") == []
    assert proxy.faults.total() == 0


@pytest.mark.parametrize(
    ("fault", "status", "stored"),
    [
        ("cut_request", None, False),
        ("cut_answer", None, True),
        ("lose_answer", None, True),
        ("slow_down", 503, False),
        ("fail_after", 500, True),
        ("delay", 200, True),
    ],
)
def test_what_a_fault_does_to_a_put(
    fault: str, status: int | None, stored: bool, direct: Store, store: Store, proxy: FaultyProxy
) -> None:
    client = boto3.client(
        "s3", endpoint_url=proxy.endpoint, config=Config(retries={"total_max_attempts": 1})
    )
    proxy.rates = Rates(**{fault: 1.0})
    assert _status(client, urlsplit(store.url).netloc) == status
    assert direct.objects.names("x") == (["x"] if stored else [])
    assert proxy.faults == {fault: 1}


def _status(client: Any, bucket: str) -> int | None:
    """The answer to a PUT; None if the connection broke."""
    try:
        answer = client.put_object(Bucket=bucket, Key="p/x", Body=DATA)
    except ClientError as error:
        answer = error.response
    except BotoCoreError:
        return None
    status: int = answer["ResponseMetadata"]["HTTPStatusCode"]
    return status


def test_a_store_reads_and_writes_through_faults(store: Store, proxy: FaultyProxy) -> None:
    proxy.rates = LOSSY
    for name in NAMES:
        store.objects.write(name, DATA)
        assert store.objects.read(name) == DATA
    assert store.objects.names("") == NAMES
    store.objects.delete(NAMES[0])
    assert store.objects.names("") == NAMES[1:]
    assert proxy.faults.total() > 0


def test_one_of_many_creates_an_object(store: Store, proxy: FaultyProxy) -> None:
    proxy.rates = LOSSY
    context = multiprocessing.get_context("spawn")
    with context.Pool(CREATORS) as pool:
        created = pool.map(_create_all, [store.objects] * CREATORS, chunksize=1)
    assert Counter(name for names in created for name in names) == Counter(NAMES)
    assert proxy.faults["lose_answer"] + proxy.faults["fail_after"] > 0


def _create_all(objects: ObjectStore) -> list[str]:
    """The names that this process was the one to create."""
    return [name for name in NAMES if objects.create(name, str(os.getpid()).encode())]


def test_an_outage_is_waited_for_and_said_once(
    store: Store, proxy: FaultyProxy, caplog: pytest.LogCaptureFixture
) -> None:
    store.objects.write("x", DATA)
    with caplog.at_level(logging.WARNING, "unlearn_ray.storage"), ThreadPoolExecutor() as readers:
        with proxy.outage():
            found = [readers.submit(store.objects.read, "x") for _ in range(3)]
            time.sleep(OUTAGE_SECONDS)
            assert not any(each.done() for each in found)
        assert [each.result() for each in found] == [DATA] * 3
    away, back = caplog.messages
    assert "waiting" in away
    assert "answers again" in back


def test_only_a_store_that_is_known_is_waited_for(store: Store, proxy: FaultyProxy) -> None:
    store.objects.write("x", DATA)
    sent = pickle.loads(pickle.dumps(store))
    told = open_store(store.url, known=True)
    with proxy.outage(), pytest.raises(StoreUnreachable):
        open_store(store.url).objects.read("x")
    with ThreadPoolExecutor() as readers:
        with proxy.outage():
            found = [readers.submit(each.objects.read, "x") for each in (sent, told)]
            time.sleep(OUTAGE_SECONDS)
        assert [each.result() for each in found] == [DATA] * 2


def test_a_lease_outlives_an_outage(store: Store, direct: Store, proxy: FaultyProxy) -> None:
    # Longer than the outage and the pause after it, as in a sweep.
    store = open_store(store.url, lease_seconds=3 * OUTAGE_SECONDS)
    lease = store.lease("k", Work("pretrain"))
    assert lease is not None
    with lease, proxy.outage():
        time.sleep(OUTAGE_SECONDS)
    lease.check()
    next_one = direct.lease("k", Work("pretrain"))
    assert next_one is not None
    next_one.release()


def test_the_history_knows_what_was_lost(
    store: Store, direct: Store, history: History, s3_server: S3Server
) -> None:
    for name in ("kept", "altered", "gone", "deleted", "back"):
        store.objects.write(name, name.encode())
    store.objects.delete("deleted")
    store.objects.delete("back")
    assert history.lost(s3_server.client) == []
    direct.objects.write("altered", b"")
    direct.objects.delete("gone")
    direct.objects.write("back", b"back")
    lost = history.lost(s3_server.client)
    assert [each.partition(":")[0] for each in lost] == ["altered", "back", "gone"]


def test_the_history_knows_what_was_run_again(store: Store, history: History) -> None:
    for upload in ("one", "two"):
        store.objects.write(f"artifacts/pretrain/k/{upload}/model", DATA)
    assert store.objects.create("records/pretrain/k.json", b"record")
    assert history.run_again() == []
    assert history.uploads() == {"pretrain/k": 2}
    store.objects.write("artifacts/pretrain/k/three/model", DATA)
    assert not store.objects.create("records/pretrain/k.json", b"another")
    assert [each.partition(":")[0] for each in history.run_again()] == [
        "artifacts/pretrain/k/three/model",
        "records/pretrain/k.json",
    ]


def test_steps_without_a_lease_may_run_in_two_processes(store: Store, history: History) -> None:
    assert store.objects.create("records/measure/k.json", b"record")
    assert not store.objects.create("records/measure/k.json", b"another")
    assert history.run_again() == []
