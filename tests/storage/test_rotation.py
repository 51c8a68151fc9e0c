"""Credentials that change while a store is in use: in their file, and on the server."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.s3_server import Credentials, listens
from tests.s3_server import ACCESS_KEY, S3Server
from unlearn_ray.core.errors import StoreDenied
from unlearn_ray.storage.store import Store, open_store

LOG = "unlearn_ray.storage"


class RotatingServer(S3Server):
    """A server whose user's secret key changes."""

    def rotate(self) -> Credentials:
        """Let only a new secret key be good from now on."""
        old, new = self.credentials, Credentials(ACCESS_KEY, uuid.uuid4().hex)
        file = self.folder / "etc" / "proxy-server.conf"
        text = file.read_text()
        assert text.count(f"= {old.secret_key} .admin") == 1
        file.write_text(text.replace(f"= {old.secret_key} .admin", f"= {new.secret_key} .admin"))
        os.killpg(self._processes["proxy"].pid, signal.SIGKILL)
        self._processes["proxy"].wait()
        with (self.folder / "proxy.log").open("ab") as log:
            self._processes["proxy"] = self._spawn("proxy", log)
        while not listens(self.ports["proxy"]):
            time.sleep(0.02)
        self.credentials = new
        self.__dict__.pop("client", None)
        return new


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server
) -> Iterator[RotatingServer]:
    server = RotatingServer(tmp_path_factory.mktemp("rotating") / "server")
    with server:
        yield server


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: RotatingServer) -> Path:
    """The only source of credentials, with the good ones."""
    file = tmp_path / "credentials"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    write(file, server.credentials)
    return file


@pytest.fixture
def store(server: RotatingServer, file: Path) -> Store:
    """A store that has been used."""
    store = open_store(server.store_url("p"))
    store.objects.write("x", b"1")
    return store


def write(file: Path, keys: Credentials) -> None:
    text = f"aws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n"
    file.write_text(f"[default]\n{text}")


def test_new_keys_in_the_file_are_read(store: Store, server: RotatingServer, file: Path) -> None:
    for _ in range(2):
        write(file, server.rotate())
        assert store.objects.read("x") == b"1"
    write(file, server.rotate())
    assert store.objects.create("y", b"2")
    assert store.objects.names("") == ["x", "y"]
    write(file, server.rotate())
    store.objects.write("big", bytes(65 << 20))
    assert len(store.objects.read("big")) == 65 << 20


def test_many_threads_change_keys_at_once(store: Store, server: RotatingServer, file: Path) -> None:
    write(file, server.rotate())
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(store.objects.read, ["x"] * 40)) == {b"1"}


@pytest.mark.parametrize("meanwhile", ["old", "empty", "half", "none", "damaged"])
def test_keys_that_come_late_are_waited_for(
    meanwhile: str,
    store: Store,
    server: RotatingServer,
    file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    new = server.rotate()
    if meanwhile == "none":
        file.unlink()
    elif meanwhile != "old":
        texts = {
            "empty": "",
            "half": f"[default]\naws_access_key_id = {ACCESS_KEY}",
            "damaged": "[",
        }
        file.write_text(texts[meanwhile])
    late = threading.Timer(1.5, write, (file, new))
    late.start()
    with caplog.at_level(logging.WARNING, LOG):
        assert store.objects.read("x") == b"1"
    late.join()
    assert [one.getMessage() for one in caplog.records if "refused; waiting" in one.getMessage()]
    assert new.secret_key not in caplog.text


def test_keys_that_do_not_come(store: Store, server: RotatingServer, file: Path) -> None:
    server.rotate()
    begun = time.monotonic()
    with pytest.raises(StoreDenied, match="wrong credentials"):
        store.objects.read("x")
    assert 5 < time.monotonic() - begun < 30
    write(file, server.credentials)
    assert store.objects.read("x") == b"1"


def test_keys_that_were_never_good_are_not_waited_for(
    store: Store, server: RotatingServer, file: Path
) -> None:
    write(file, Credentials(ACCESS_KEY, "another"))
    begun = time.monotonic()
    with pytest.raises(StoreDenied, match="wrong credentials"):
        open_store(store.url, known=True).objects.read("x")
    assert time.monotonic() - begun < 5
    assert store.objects.read("x") == b"1"  # those in use are good, whatever the file says


def test_keys_in_the_environment_cannot_come(
    store: Store, server: RotatingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.credentials.secret_key)
    mine = open_store(store.url)
    assert mine.objects.read("x") == b"1"
    server.rotate()
    begun = time.monotonic()
    with pytest.raises(StoreDenied, match="wrong credentials"):
        mine.objects.read("x")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("expires", [True, False])
def test_a_program_that_tells_keys(
    expires: bool, store: Store, server: RotatingServer, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = file.with_name("told.json")

    def tell(keys: Credentials) -> None:
        end = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
        answer = {"Version": 1, "AccessKeyId": keys.access_key, "SecretAccessKey": keys.secret_key}
        told.write_text(json.dumps(answer | ({"Expiration": end} if expires else {})))

    tell(server.credentials)
    config = file.with_name("config")
    config.write_text(f"[default]\ncredential_process = cat {told}\n")
    file.unlink()
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    mine = open_store(store.url)
    assert mine.objects.read("x") == b"1"
    tell(server.rotate())
    assert mine.objects.read("x") == b"1"
