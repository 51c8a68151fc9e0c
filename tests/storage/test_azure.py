"""What only Azure can do wrong, against a real server."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure_server import ACCOUNT, KEY, AzureServer, ask
from tests.storage.endpoints import (
    certificate,
    closed_port,
    listening,
    passed_on,
    tls_front,
    web_server,
)
from unlearn_ray.core.errors import (
    ConfigError,
    CorruptObject,
    MissingObject,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnreachable,
    UnlearnRayError,
)
from unlearn_ray.storage.azure import AzureContainer
from unlearn_ray.storage.store import open_store

SECRET = "YS13cm9uZy1zZWNyZXQtdGhhdC1ub2JvZHktbWF5LXNlZQ=="


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, azure_server: AzureServer) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    # Nothing may ask for this machine's identity.
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"http://127.0.0.1:{closed_port()}")


def at(port: int, scheme: str = "http") -> str:
    return f"az://container/p?account={ACCOUNT}&endpoint={scheme}://127.0.0.1:{port}/{ACCOUNT}"


def refusal(url: str, kind: type[UnlearnRayError], seconds: float = 8) -> str:
    """What is said of a store that cannot be used, by reading and by writing; at once."""
    said = ""
    for check in (open_store(url).check_writable, open_store(url).check_readable):
        begun = time.monotonic()
        with pytest.raises(kind) as error:
            check()
        assert time.monotonic() - begun < seconds
        assert error.value.__cause__ is None
        said = str(error.value)
        assert SECRET not in said
        assert KEY not in said
    return said


def test_unknown_container(azure_server: AzureServer) -> None:
    url = f"az://no-such-container/p?endpoint={azure_server.endpoint}"
    assert "no container no-such-container; create it first" in refusal(url, StoreUnreachable)
    with pytest.raises(StoreUnreachable, match="no container"):
        open_store(url).objects.read("x")


def test_wrong_credentials(azure_server: AzureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = azure_server.store_url()
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", SECRET)
    said = refusal(url, StoreDenied)
    assert "the server answered 403" in said
    assert "set AZURE_STORAGE_ACCOUNT_KEY" in said
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", f"{SECRET}!")
    assert "the account key is not base64" in refusal(url, StoreDenied)
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", SECRET.rstrip("="))
    assert "the shared access signature is not one" in refusal(url, StoreDenied)


def test_no_credentials(azure_server: AzureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = azure_server.store_url()
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    assert "no credentials: none in the environment" in refusal(url, StoreDenied)


def test_no_account(azure_server: AzureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = azure_server.store_url("p").replace(f"account={ACCOUNT}&", "")
    open_store(url).check_writable()
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    said = refusal(f"az://container/p?endpoint={azure_server.endpoint}", ConfigError)
    assert "no storage account is named; write az://container/prefix?account=NAME" in said


def test_a_server_that_does_not_answer() -> None:
    port = closed_port()
    said = refusal(at(port), StoreUnreachable)
    assert f"no answer from http://127.0.0.1:{port}; check account=" in said
    with web_server(503) as port:
        assert "the server answered 503" in refusal(at(port), StoreUnreachable)
    with web_server(507) as port:
        assert "the server answered 507" in refusal(at(port), StoreFull)


def test_a_certificate_that_nobody_knows(azure_server: AzureServer, tmp_path: Path) -> None:
    file = certificate(tmp_path, "127.0.0.1", "localhost")
    with tls_front(azure_server.port, file) as port:
        said = refusal(at(port, "https"), StoreUnreachable)
    assert f"https://127.0.0.1:{port}: its certificate is not trusted" in said
    assert "a file that SSL_CERT_FILE names" in said


@pytest.mark.parametrize("excluded", [False, True])
def test_a_proxy_is_used_unless_it_is_excluded(
    azure_server: AzureServer, excluded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = azure_server.store_url("p")
    monkeypatch.setenv("HTTP_PROXY", f"http://me:{SECRET}@127.0.0.1:{closed_port()}")
    if excluded:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        open_store(url).check_writable()
    else:
        said = refusal(url, StoreUnreachable)
        assert "no answer from http://127.0.0.1" in said
        assert "through the proxy that HTTP_PROXY names" in said


def test_an_authority_of_ones_own(azure_server: AzureServer, tmp_path: Path) -> None:
    issuer = certificate(tmp_path, "authority")
    file = certificate(tmp_path, "127.0.0.1", issuer=issuer)
    code = "import sys; from unlearn_ray.storage.store import open_store as o; o(sys.argv[1])"
    url = azure_server.store_url("p")
    with tls_front(azure_server.port, file) as port:
        secure = url.replace(azure_server.endpoint, f"https://127.0.0.1:{port}/{ACCOUNT}")
        done = subprocess.run(
            [sys.executable, "-c", f"{code}.check_writable()", secure],
            env={**os.environ, "SSL_CERT_FILE": str(issuer)},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr


def test_an_object_that_is_too_large(azure_server: AzureServer) -> None:
    objects = open_store(azure_server.store_url()).objects
    objects.write("x", b"four")
    assert objects.read("x", 4) == b"four"
    with pytest.raises(CorruptObject, match="4 bytes exceed the limit"):
        objects.read("x", 3)


def test_a_large_object_in_blocks(azure_server: AzureServer, tmp_path: Path) -> None:
    store = open_store(azure_server.store_url("größe/a b"))
    data = os.urandom(1 << 20) * 20 + b"end"
    store.objects.write("big", data)
    assert store.objects.read("big") == data
    assert store.objects.create("created", data)
    assert not store.objects.create("created", b"")
    (tmp_path / "file").write_bytes(data)
    store.objects.upload("uploaded", tmp_path / "file")
    assert [each.size for each in store.objects.entries("")] == [len(data)] * 3
    assert all(abs(each.written - time.time()) < 60 for each in store.objects.entries(""))


@pytest.fixture
def forgetful(azure_server: AzureServer) -> Iterator[tuple[int, list[bytes]]]:
    """The port of a front that closes the connection instead of the first answer to a PUT.

    And what was asked.
    """
    asked: list[bytes] = []

    def serve(client: socket.socket) -> None:
        head = client.recv(1 << 16)
        asked.append(head)
        with socket.create_connection(("127.0.0.1", azure_server.port)) as server:
            # The signature is good for the host that the client names.
            server.sendall(head)
            if sum(each.startswith(b"PUT") for each in asked) == 1:
                server.recv(1 << 16)
                return
            passed_on(client, server)

    with listening(serve) as port:
        yield port, asked


def test_a_create_whose_answer_is_lost(
    azure_server: AzureServer, forgetful: tuple[int, list[bytes]]
) -> None:
    port, asked = forgetful
    url = azure_server.store_url("p")
    through = open_store(url.replace(str(azure_server.port), str(port)))
    assert through.objects.create("x", b"mine")
    assert sum(each.startswith(b"PUT") for each in asked) == 2
    assert open_store(url).objects.read("x") == b"mine"
    assert not through.objects.create("x", b"mine")


def test_an_outage_is_waited_out(tmp_path: Path, azure_server: AzureServer) -> None:
    with AzureServer(tmp_path / "own") as server:
        store = open_store(server.store_url("p"))
        store.objects.write("x", b"1")
        # Azurite writes its index every few seconds.
        time.sleep(6)
        server.kill()
        late = threading.Timer(3, server.start)
        late.start()
        assert store.objects.read("x") == b"1"
        late.join()
        assert store.objects.create("y", b"2")


@pytest.mark.parametrize("name", ["a//b", "a/../b", "x/."])
def test_a_strangers_name_that_cannot_be_listed(azure_server: AzureServer, name: str) -> None:
    store = open_store(azure_server.store_url())
    objects = store.objects
    assert isinstance(objects, AzureContainer)
    objects.write("x", b"1")
    ask("PUT", azure_server.endpoint, f"{objects.container}/{name}", b"")
    with pytest.raises(StoreError, match=r"cannot list: .*; remove it") as error:
        objects.names("")
    assert name in str(error.value)
    assert objects.read("x") == b"1"


def test_a_url_that_opens_it_again(azure_server: AzureServer) -> None:
    url = azure_server.store_url("a/b")
    store = open_store(url)
    assert store.url == url
    store.objects.write("x", b"1")
    for other in (open_store(store.url), pickle.loads(pickle.dumps(store))):
        assert other.objects.names("") == ["x"]
    with pytest.raises(MissingObject):
        open_store(azure_server.store_url()).objects.read("x")


WITHOUT = """\
import sys

sys.modules["obstore"] = None
from unlearn_ray.core.errors import MachineError
from unlearn_ray.storage.store import open_store

try:
    open_store("az://container/p?account=name")
except MachineError as error:
    print(error)
"""


def test_without_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert "obstore is not installed; pip install 'unlearn_ray[azure]'" in done.stdout
