"""The webhook, over HTTP to a real server: who is told what, and what never shows its address."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import SWEEP
from unlearn_ray.cli import webhook
from unlearn_ray.cli.main import main
from unlearn_ray.cli.webhook import VARIABLE, Summary, Webhook, told
from unlearn_ray.core.errors import BadInput, StoreError, TrialError

SECRET = "s3cr3t-token"


@dataclass
class Server:
    """Takes what is posted; answers with the given statuses, and then with the last of them."""

    statuses: list[int] = field(default_factory=lambda: [200])
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/{SECRET}?also={SECRET}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(webhook, "_PAUSES", (0.01, 0.01))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    taken = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/json"
            taken.bodies.append(json.loads(body))
            taken.paths.append(self.path)
            status = taken.statuses.pop(0) if len(taken.statuses) > 1 else taken.statuses[0]
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    taken.port = listening.server_address[1]
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield taken
    listening.shutdown()
    listening.server_close()


def test_it_is_told_once(server: Server) -> None:
    assert Webhook(server.url).send(Summary("mine", "./store")) is None
    assert server.paths == [f"/hooks/{SECRET}?also={SECRET}"]
    assert server.bodies == [
        {
            "sweep": "mine", "store": "./store", "state": "done", "message": "",
            "trials_ended": None, "trials_failed": None,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("statuses", "attempts", "reason"),
    [
        ([503, 200], 2, None),
        ([429, 500, 204], 3, None),
        ([503], 3, "it answered with status 503"),
        ([404], 1, "it answered with status 404"),
        ([302], 1, "it answered with status 302"),
    ],
)
def test_attempts_are_bounded(
    server: Server, statuses: list[int], attempts: int, reason: str | None
) -> None:
    server.statuses = statuses
    assert Webhook(server.url).send(Summary("mine", "store")) == reason
    assert len(server.bodies) == attempts


def test_nobody_listens(server: Server) -> None:
    url = server.url.replace(str(server.port), "9")
    reason = Webhook(url).send(Summary("mine", "store"))
    assert reason is not None
    assert "not reached" in reason
    assert SECRET not in reason


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://host/{SECRET}",
        f"file:///{SECRET}",
        f"{SECRET}.example.org/x",
        f"https:///{SECRET}",
        f"https://host:port/{SECRET}",
        f"https://host:99999/{SECRET}",
        f"https://host/{SECRET}\r\nX-Other: 1",
        f"https://host/a {SECRET}",
        f"https://name:{SECRET}@host/",
        f"https://[{SECRET}/",
        f"https://höst/{SECRET}",
    ],
)
def test_addresses_that_are_none_are_refused_unseen(url: str) -> None:
    with pytest.raises(BadInput, match=VARIABLE) as refused:
        Webhook(url)
    assert SECRET not in f"{refused.value}"


def test_its_repr_names_the_host_alone() -> None:
    assert repr(Webhook(f"https://example.org:8443/{SECRET}")) == "Webhook(example.org:8443)"


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (TrialError("step", "broke", "mend it"), "failed", "step: broke; mend it"),
        (StoreError("s3://b?key=x", "is gone", "look"), "failed", "is gone"),
        (ValueError("two\nlines"), "failed", "two lines"),
        (KeyboardInterrupt(), "interrupted", ""),
    ],
)
def test_errors_pass_and_are_told(
    server: Server, error: BaseException, state: str, message: str
) -> None:
    with pytest.raises(type(error)), told(Webhook(server.url), "mine", "store"):
        raise error
    assert server.bodies[0]["state"] == state
    assert message in server.bodies[0]["message"]


def test_what_is_not_taken_is_a_warning(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.statuses = [500]
    with told(Webhook(server.url), "mine", "store") as summary:
        summary.ended(5, 1)
    warning = capsys.readouterr().err
    assert warning == (
        f"warning: the webhook at 127.0.0.1:{server.port} was not told: "
        "it answered with status 500\n"
    )
    assert server.bodies[0]["state"] == "some_failed"
    assert server.bodies[0]["trials_failed"] == 1


def test_a_sweep_tells_how_it_ended(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One that fails before it starts Ray: nothing in the store or on the terminal has the URL."""
    monkeypatch.setenv(VARIABLE, server.url)
    (tmp_path / "tiny.yaml").write_text(SWEEP)
    store = tmp_path / "store"
    command = ["run", str(tmp_path / "tiny.yaml"), "--store", str(store)]
    assert main([*command, "--address", "127.0.0.1:9"]) == 4
    assert [body["state"] for body in server.bodies] == ["failed"]
    assert server.bodies[0]["sweep"] == "tiny"
    assert "no Ray cluster answers" in server.bodies[0]["message"]
    printed = capsys.readouterr()
    written = [file.read_bytes() for file in store.rglob("*") if file.is_file()]
    assert SECRET not in printed.out + printed.err
    assert not any(SECRET.encode() in data for data in written)
    monkeypatch.setenv(VARIABLE, f"gopher://{SECRET}")
    assert main(command) == 2
    assert SECRET not in capsys.readouterr().err
