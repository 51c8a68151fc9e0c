"""An HTTP proxy on loopback that loses, delays and refuses what passes through it.

It stands before an S3 server. Requests are forwarded as they were signed, for the proxy's own
address, so boto3 takes it for the server. Whatever it does to a request it writes down:
`FaultyProxy.exchanges` is the history that `tests.chaos.evidence` judges.
"""

from __future__ import annotations

import hashlib
import http.client
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UPSTREAM_SECONDS = 60
# A proxy's own business, never passed on.
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


@dataclass(frozen=True)
class Answer:
    """What a server, or the proxy itself, says."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True)
class Rates:
    """How likely each fault meets a request; at most one does.

    Attributes:
        cut_request: half of the request reaches the server, then both connections close.
        cut_answer: the server has done what was asked, and its answer breaks off.
        lose_answer: likewise, and nothing of the answer arrives.
        slow_down: 503, and the server never saw the request.
        fail_after: 500, although the server has done what was asked.
        delay: the request waits for up to `delay_seconds` before it is passed on.
    """

    cut_request: float = 0.0
    cut_answer: float = 0.0
    lose_answer: float = 0.0
    slow_down: float = 0.0
    fail_after: float = 0.0
    delay: float = 0.0
    delay_seconds: float = 1.0

    def draw(self, generator: random.Random) -> str:
        """The name of a fault, or ""."""
        rates = {name: rate for name, rate in asdict(self).items() if name != "delay_seconds"}
        none = 1.0 - sum(rates.values())
        return generator.choices([*rates, ""], [*rates.values(), none])[0]


@dataclass(frozen=True)
class Exchange:
    """One request and what became of it.

    Attributes:
        began, ended: by the monotonic clock; before the client was told.
        method: of HTTP.
        path: without the query; `/bucket/key`.
        digest: SHA-256 of the request's body.
        fault: what the proxy did to it, or "".
        reached: whether the server may have got all of it.
        status: the server's answer; None where the server gave none.
    """

    began: float
    ended: float
    method: str
    path: str
    digest: str
    fault: str
    reached: bool
    status: int | None


@dataclass
class FaultyProxy:
    """Forwards to a server on loopback, not quite; a context manager.

    Args:
        upstream: the server's port.
        rates: of the faults; may be replaced at any time.
        seed: of what is drawn.
    """

    upstream: int
    rates: Rates = field(default_factory=Rates)
    seed: int = 0
    exchanges: list[Exchange] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._generator = random.Random(self.seed)
        self._lock = threading.Lock()
        self._clients: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    def __enter__(self) -> FaultyProxy:
        self.listen()
        return self

    def __exit__(self, *exception: object) -> None:
        self.refuse()

    @property
    def endpoint(self) -> str:
        """What a client takes for the server's URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def faults(self) -> Counter[str]:
        """How many requests each fault has met."""
        return Counter(one.fault for one in list(self.exchanges) if one.fault)

    def listen(self) -> None:
        """Take connections, always on the same port."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        serve = self._server.serve_forever
        threading.Thread(target=serve, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def refuse(self) -> None:
        """Refuse connections from now on, and break those that there are."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            _break(client)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Refuse connections for the time of the block."""
        self.refuse()
        try:
            yield
        finally:
            self.listen()

    def draw(self) -> tuple[str, float]:
        """The fault that meets the next request, and how many seconds it is delayed."""
        with self._lock:
            fault = self.rates.draw(self._generator)
            seconds = self._generator.uniform(0, self.rates.delay_seconds)
        return fault, seconds if fault == "delay" else 0.0

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"proxy": self})

    @contextmanager
    def known(self, client: socket.socket) -> Iterator[None]:
        """Keep `client` among the connections that an outage breaks."""
        with self._lock:
            self._clients.add(client)
        try:
            yield
        finally:
            with self._lock:
                self._clients.discard(client)


class _Handler(BaseHTTPRequestHandler):
    """One client's connection."""

    proxy: FaultyProxy
    protocol_version = "HTTP/1.1"
    # Small answers, which would otherwise wait for the client's acknowledgement.
    disable_nagle_algorithm = True

    def handle(self) -> None:
        # Clients vanish, too.
        with self.proxy.known(self.connection), suppress(ConnectionError):
            super().handle()

    def log_message(self, *_: object) -> None:
        pass

    def pass_on(self) -> None:
        began = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault, seconds = self.proxy.draw()
        time.sleep(seconds)
        reached, answer = self._ask(body, fault)
        # Before the client is told: what it asks for next comes after this.
        self.proxy.exchanges.append(
            Exchange(
                began=began,
                ended=time.monotonic(),
                method=self.command,
                path=self.path.partition("?")[0],
                digest=hashlib.sha256(body).hexdigest(),
                fault=fault,
                reached=reached,
                status=answer.status if answer else None,
            )
        )
        self._tell(answer, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815

    def _ask(self, body: bytes, fault: str) -> tuple[bool, Answer | None]:
        """Whether the server may have got the whole request, and its answer."""
        if fault == "slow_down" or (fault == "cut_request" and not body):
            return False, None  # half of a request without a body is none
        upstream = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream, UPSTREAM_SECONDS)
        try:
            if fault == "cut_request":
                self._send(upstream, body[: len(body) // 2], len(body))
                return False, None
            self._send(upstream, body, len(body))
            answer = upstream.getresponse()
            return True, Answer(answer.status, answer.getheaders(), answer.read())
        except (OSError, http.client.HTTPException):
            return True, None
        finally:
            upstream.close()

    def _send(self, upstream: http.client.HTTPConnection, sent: bytes, length: int) -> None:
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                upstream.putheader(name, value)
        if "Content-Length" in self.headers:
            upstream.putheader("Content-Length", str(length))
        upstream.putheader("Connection", "close")
        upstream.endheaders(sent or None)

    def _tell(self, answer: Answer | None, fault: str) -> None:
        if fault == "slow_down":
            self._answer(_refusal(503, "SlowDown"))
        elif fault == "fail_after" and answer:
            self._answer(_refusal(500, "InternalError"))
        elif answer is None or fault == "lose_answer":
            self._hang_up()
        else:
            self._answer(answer, cut=fault == "cut_answer")

    def _answer(self, answer: Answer, *, cut: bool = False) -> None:
        body = b"" if self.command == "HEAD" else answer.body
        if cut and not body:
            self._hang_up()  # the head does not arrive
            return
        self.send_response_only(answer.status)
        lengths = [value for name, value in answer.headers if name.lower() == "content-length"]
        for name, value in answer.headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if self.command == "HEAD" and lengths:
            self.send_header("Content-Length", lengths[0])
        elif answer.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        _break(self.connection)


def _refusal(status: int, code: str) -> Answer:
    text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    return Answer(status, [("Content-Type", "application/xml")], text.encode())


def _break(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
