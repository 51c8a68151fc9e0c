"""Reports served while a sweep runs."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.report.conftest import Opened
from tests.report.stores import announced, searched, write
from unlearn_ray.core.errors import BadInput
from unlearn_ray.report import serve
from unlearn_ray.report.evidence import SweepEvidence
from unlearn_ray.report.serve import is_own, server
from unlearn_ray.storage.store import Store, open_store

SECONDS = 0.3


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def serving(store: Store) -> Iterator[ThreadingHTTPServer]:
    """A server of a sweep that has run a third of its trials."""
    rows = searched(["finetune", "scrub"], trials=12, replicates=2)
    write(store, [row for row in rows if row["purpose"] == "tuning" and int(row["trial"] or 0) < 4])
    announced(store, "small", {name: f"{name}-s1" for name in ("finetune", "scrub")}, 12)
    listening = server(store, "127.0.0.1", 0, SECONDS)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    yield listening
    listening.shutdown()
    thread.join()
    listening.server_close()


def answered(
    listening: ThreadingHTTPServer, method: str = "GET", path: str = "/sweeps/small", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", listening.server_address[1], timeout=60)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def url(listening: ThreadingHTTPServer, path: str = "/") -> str:
    return f"http://127.0.0.1:{listening.server_address[1]}{path}"


def test_a_page_follows_its_sweep(
    store: Store, serving: ThreadingHTTPServer, opened: Opened
) -> None:
    counts = "#trials table >> nth=0 >> tbody tr >> nth=0 >> td >> nth=0"
    with opened(url(serving, "/sweeps/small")) as seen:
        assert seen.page.inner_text(counts) == "4 of 12"
        rows = searched(["finetune", "scrub"], trials=12, replicates=2)
        more = [row for row in rows if row["purpose"] == "tuning" and int(row["trial"] or 0) >= 4]
        for number, row in enumerate(more):
            store.write_row(f"{row['study_key']}/small/later{number:03}", row)
        expect(seen.page.locator(counts)).to_have_text("12 of 12", timeout=30_000)
        seen.page.wait_for_selector("html[data-state=ready]", state="attached")
        assert seen.errors == []
        assert all(each.startswith(url(serving)) for each in seen.requests)


def test_updates_can_be_paused(store: Store, serving: ThreadingHTTPServer, opened: Opened) -> None:
    with opened(url(serving, "/sweeps/small")) as seen:
        seen.page.focus("#pause")
        seen.page.keyboard.press("Enter")
        assert seen.page.get_attribute("#pause", "aria-pressed") == "true"
        asked = len(seen.requests)
        rows = searched(["finetune"], trials=12, replicates=2)
        store.write_row("finetune-s1/small/later", rows[-1])
        seen.page.wait_for_timeout(4000 * SECONDS)
        assert len(seen.requests) == asked
        seen.page.click("#pause")
        with seen.page.expect_navigation():
            pass
        assert seen.page.get_attribute("#pause", "aria-pressed") == "false"


def test_the_index_leads_to_reports(serving: ThreadingHTTPServer, opened: Opened) -> None:
    with opened(url(serving), width=390, ready="table") as seen:
        assert "8 of 24" in seen.page.inner_text("tbody tr")
        assert seen.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        seen.page.click("text=small")
        seen.page.wait_for_selector("html[data-state=ready]", state="attached")
        assert seen.page.inner_text("h1") == "small"
        seen.page.click("text=All sweeps of this store")
        assert seen.page.inner_text("h1") == "Sweeps"
        assert seen.errors == []


def test_any_name_has_a_page(store: Store, serving: ThreadingHTTPServer, opened: Opened) -> None:
    name = 'a/../b "<i>?#%2f'
    write(store, [{**row, "sweep": name} for row in searched(["neggrad"], 3, 1)])
    with opened(url(serving), ready="table") as seen:
        seen.page.get_by_role("link", name=name).click()
        seen.page.wait_for_selector("html[data-state=ready]", state="attached")
        assert seen.page.inner_text("h1") == name
        assert seen.errors == []


def test_an_etag_changes_with_the_store_alone(store: Store, serving: ThreadingHTTPServer) -> None:
    status, headers, body = answered(serving)
    assert (status, body[:15]) == (200, b"<!doctype html>")
    known = headers["ETag"]
    assert answered(serving, "HEAD")[:1] == (200,)
    assert answered(serving, "HEAD")[1]["ETag"] == known
    assert answered(serving, **{"If-None-Match": known})[0] == 304
    store.write_row("finetune-s1/small/later", searched(["finetune"], 3, 1)[-1])
    assert answered(serving, "HEAD")[1]["ETag"] != known
    assert answered(serving, **{"If-None-Match": known})[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "FROBNICATE"])
def test_it_only_reads(serving: ThreadingHTTPServer, method: str) -> None:
    status, headers, _ = answered(serving, method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_rebound_name_is_refused(serving: ThreadingHTTPServer, host: str) -> None:
    for method in ("GET", "HEAD"):
        status, headers, body = answered(serving, method, Host=host)
        assert status == 403
        assert "ETag" not in headers
        assert b"small" not in body


@pytest.mark.parametrize("path", ["/sweeps/", "/sweeps/other", "/sweeps/../identity", "/identity"])
def test_nothing_else_is_served(serving: ThreadingHTTPServer, path: str) -> None:
    assert answered(serving, path=path)[0] == 404


def test_a_page_is_made_once_however_its_path_is_spelled(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def page(evidence: SweepEvidence, _: object) -> str:
        made.append(evidence.sweep)
        return "a page"

    monkeypatch.setattr(serve, "page", page)
    write(store, searched(["finetune"], 3, 1))
    with serve.server(store, "127.0.0.1", 0) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        for path in ("/sweeps/small", "/sweeps/%73mall", "/sweeps/s%6Dall", "/sweeps/small?x=1"):
            assert answered(listening, path=path)[0] == 200
        with socket.create_connection(
            ("127.0.0.1", listening.server_address[1]), timeout=60
        ) as connection:
            connection.sendall(b"GET http://[ HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            assert b" 400 " in connection.recv(100)
        listening.shutdown()
    assert made == ["small"]


def test_a_store_that_is_gone_is_told(
    store: Store, tmp_path: Path, serving: ThreadingHTTPServer
) -> None:
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    status, _, body = answered(serving)
    assert status in (404, 503)
    assert body
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    assert answered(serving)[0] == 200


@pytest.mark.parametrize(
    ("host", "own"),
    [
        *(("localhost", True), ("LOCALHOST:8765", True), ("127.0.0.1:1", True), ("[::1]:9", True)),
        *(("here", True), ("HERE:80", True), ("there", False), ("localhost.evil", False)),
        *(("[", False), ("", False), ("here@evil", False), ("a b", False)),
    ],
)
def test_its_own_names(host: str, own: bool) -> None:
    assert is_own(host, "Here") == own


def test_a_port_that_is_taken(store: Store, serving: ThreadingHTTPServer) -> None:
    port = serving.server_address[1]
    with pytest.raises(BadInput, match=f"--port {port}: address already in use"):
        server(store, "127.0.0.1", port)
    with pytest.raises(BadInput, match="--host nowhere"):
        server(store, "nowhere.invalid", 0)


def test_the_command(store: Store, serving: ThreadingHTTPServer) -> None:
    command = [sys.executable, "-m", "unlearn_ray", "ui", store.url, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as started:
        assert started.stderr is not None
        said = started.stderr.readline()
        assert said.startswith("reports at http://127.0.0.1:")
        port = int(said.split(":")[2].split("/")[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/")
        assert b"small" in connection.getresponse().read()
        connection.close()
        started.send_signal(signal.SIGINT)
        assert started.wait(30) == 0
