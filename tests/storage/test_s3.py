"""What only S3 can do wrong, against a real server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.s3_server import S3Server
from tests.storage.endpoints import listening
from unlearn_ray.core.errors import (
    ConfigError,
    MissingObject,
    StoreDenied,
    StoreError,
    StoreUnreachable,
)
from unlearn_ray.storage.s3 import S3Bucket
from unlearn_ray.storage.store import open_store

SECRET = "a-wrong-secret-that-nobody-may-see"


def test_unknown_bucket(s3_server: S3Server) -> None:
    store = open_store(f"s3://no-such-bucket/p?endpoint={s3_server.endpoint}")
    for ask in (store.check_writable, store.check_readable, lambda: store.records("pretrain")):
        with pytest.raises(StoreUnreachable, match="no bucket no-such-bucket; create it"):
            ask()


@pytest.mark.parametrize("wrong", ["secret", "key"])
def test_wrong_credentials(
    s3_server: S3Server, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = s3_server.store_url()
    name = "AWS_SECRET_ACCESS_KEY" if wrong == "secret" else "AWS_ACCESS_KEY_ID"
    monkeypatch.setenv(name, SECRET)
    for ask in (open_store(url).check_writable, open_store(url).check_readable):
        with pytest.raises(StoreDenied, match="AWS_ACCESS_KEY_ID") as error:
            ask()
        assert SECRET not in str(error.value)
        assert SECRET not in str(error.value.__cause__)


def test_no_credentials(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = s3_server.store_url()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreDenied, match="no usable credentials"):
        open_store(url).check_writable()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreDenied, match="no usable credentials"):
        open_store(url).check_writable()


def test_endpoint_from_the_environment(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_server.store_url().split("/")[2]
    # A host name, where boto3 by itself would ask bucket.localhost.
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint.replace("127.0.0.1", "localhost"))
    open_store(f"s3://{bucket}/p").check_writable()


def test_refused_connection() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(StoreUnreachable, match=f"127.0.0.1:{port}.*no answer from the endpoint"):
        open_store(f"s3://bucket/p?endpoint=http://127.0.0.1:{port}").check_writable()
    assert time.monotonic() - start < 20


@pytest.mark.slow
def test_an_endpoint_that_never_answers(s3_server: S3Server) -> None:
    with ExitStack() as stack:
        silent = stack.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for _ in range(3):  # a full queue: further connections hang
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        url = f"s3://bucket/p?endpoint=http://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(StoreUnreachable, match="no answer from the endpoint"):
            open_store(url).check_writable()
        assert 4 < time.monotonic() - start < 20


def test_bad_endpoint() -> None:
    with pytest.raises(ConfigError, match="endpoint"):
        open_store("s3://bucket/p?endpoint=http://under_score!:1").check_writable()


def test_kill_9_of_the_server_loses_nothing_acknowledged(
    tmp_path: Path, s3_server: S3Server
) -> None:
    with S3Server(tmp_path / "server") as server:
        store = open_store(server.store_url("p"))
        store.objects.write("x", b"kept")
        server.kill()
        with pytest.raises(StoreUnreachable):
            open_store(store.url).objects.read("x")
        server.start()
        assert store.objects.read("x") == b"kept"
        assert not store.objects.create("x", b"")


@contextmanager
def lossy_proxy(port: int) -> Iterator[int]:
    """Forwards to `port`, but drops the first PUT's answer."""
    lost = threading.Event()

    def serve(client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            is_put = False

            def forward() -> None:
                nonlocal is_put
                with suppress(OSError):
                    while data := client.recv(1 << 16):
                        is_put = is_put or data.startswith(b"PUT")
                        server.sendall(data)

            threading.Thread(target=forward, daemon=True).start()
            while data := server.recv(1 << 16):
                if is_put and b" 100 Continue" not in data and not lost.is_set():
                    lost.set()
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)

    with listening(serve) as at:
        yield at
        assert lost.is_set()


@pytest.mark.parametrize("taken", [False, True])
def test_create_knows_its_own_object_after_a_lost_answer(s3_server: S3Server, taken: bool) -> None:
    url = s3_server.store_url()
    if taken:
        assert open_store(url).objects.create("x", b"same")
    with lossy_proxy(s3_server.ports["proxy"]) as port:
        lossy = open_store(url.replace(s3_server.endpoint, f"http://127.0.0.1:{port}"))
        assert lossy.objects.create("x", b"same") is not taken
    assert open_store(url).objects.read("x") == b"same"


class _Unconditional(BaseHTTPRequestHandler):
    """A server that does not know If-None-Match: refuses it, or ignores it."""

    protocol_version = "HTTP/1.1"
    refuses = False
    kept = b""

    def do_PUT(self) -> None:
        type(self).kept = self.rfile.read(int(self.headers["Content-Length"]))
        refusal = b"<Error><Code>NotImplemented</Code></Error>"
        self._answer(*((501, refusal) if self.refuses else (200,)))

    def do_GET(self) -> None:
        self._answer(200, self.kept)

    def do_DELETE(self) -> None:
        self._answer(204)

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.mark.parametrize("refuses", [True, False])
def test_a_server_without_conditional_writes_is_refused(s3_server: S3Server, refuses: bool) -> None:
    handler = type("Handler", (_Unconditional,), {"refuses": refuses})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = open_store(f"s3://bucket/p?endpoint=http://127.0.0.1:{server.server_port}")
        with pytest.raises(StoreError, match="use a server with conditional writes"):
            store.check_writable()
        server.shutdown()


def test_a_server_that_deletes_one_by_one(s3_server: S3Server) -> None:
    objects = open_store(s3_server.store_url("one-by-one")).objects
    assert isinstance(objects, S3Bucket)
    asked: list[str] = []

    def refuse(model: Any, **_: object) -> tuple[object, dict[str, Any]] | None:
        asked.append(model.name)
        if model.name != "DeleteObjects":
            return None
        answer = {"HTTPStatusCode": 501}
        parsed = {"Error": {"Code": "NotImplemented"}, "ResponseMetadata": answer}
        return SimpleNamespace(status_code=501), parsed

    objects._connection.opened().client.meta.events.register("before-call.s3", refuse)
    for name in ("a", "b"):
        objects.write(name, b"")
    objects.delete_all(["a", "b"])
    assert objects.names("") == []
    assert asked.count("DeleteObjects") == 1
    assert asked.count("DeleteObject") == 2


def test_a_missing_object_names_itself_and_the_store(s3_server: S3Server) -> None:
    url = s3_server.store_url("p")
    with pytest.raises(MissingObject, match=f"object a/b of s3://{url.split('/')[2]}/p"):
        open_store(url).objects.read("a/b")
