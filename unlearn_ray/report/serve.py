"""Reports served while sweeps run, to browsers on this machine.

Whoever asks must name this server as it can be named: by an address, by `localhost`, or by the name
it was started with. A page of another site whose name was rebound to this machine's address names
itself instead, and is refused. Nothing can be changed through it: it answers GET and HEAD alone.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
import threading
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from unlearn_ray.core.errors import BadInput, UnlearnRayError, without_secrets
from unlearn_ray.monitor.manifest import manifests
from unlearn_ray.monitor.running import Observer
from unlearn_ray.monitor.status import sweep_statuses
from unlearn_ray.report.evidence import sweep_evidence, sweep_names
from unlearn_ray.report.page import Live, environment, own_file, page, policy
from unlearn_ray.reporting.status_view import state

if TYPE_CHECKING:
    from unlearn_ray.storage.store import Store

# Whatever is written under these comes under a new name.
_NAMED_ANEW = ("rows/", "records/", "sweep_files/", "failures/")
_SWEEPS = "/sweeps/"
_HTML, _TEXT = "text/html; charset=utf-8", "text/plain; charset=utf-8"
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Reports:
    """The pages of a store, made anew when the store has changed.

    Args:
        store: the store.
        seconds: between two questions of a page.
    """

    def __init__(self, store: Store, seconds: float) -> None:
        self._store = store
        self._seconds = seconds
        self._made: dict[str, tuple[str, bytes]] = {}
        self._lock = threading.Lock()

    def etag(self) -> str:
        """Names what the store holds now; another one means that pages have changed."""
        digest = hashlib.sha256()
        for prefix in _NAMED_ANEW:
            digest.update("\n".join(sorted(self._store.objects.names(prefix))).encode())
        for manifest in manifests(self._store).values():
            digest.update(f"{manifest} {manifest.driver.is_dead()}".encode())
        return f'"{digest.hexdigest()[:32]}"'

    def has(self, path: str) -> bool:
        """Whether there is such a page."""
        # What was made once is not looked for again: open pages ask all the time.
        return path == "/" or path in self._made or _sweep_of(path) in sweep_names(self._store)

    def page(self, path: str) -> tuple[str, bytes]:
        """A page's ETag and its bytes; it is made by one thread at a time."""
        with self._lock:
            etag = self.etag()  # before reading, so that whatever comes meanwhile is another one
            known = self._made.get(path)
            if known is None or known[0] != etag:
                live = Live(etag, self._seconds)
                text = self._index(live) if path == "/" else self._report(path, live)
                self._made[path] = known = (etag, text.encode())
            return known

    def _report(self, path: str, live: Live) -> str:
        return page(sweep_evidence(self._store, _sweep_of(path)), live)

    def _index(self, live: Live) -> str:
        known = sweep_names(self._store)
        told = (
            {one.name: one for one in sweep_statuses(self._store, None, Observer())}
            if (manifests(self._store))
            else {}
        )
        sweeps = [
            {
                "name": name,
                "path": f"{_SWEEPS}{quote(name, safe='')}",
                "state": state(told[name]) if name in told else "no manifest: only rows",
                "started": told[name].started if name in told else "-",
                "ended": sum(one.ended for one in told[name].studies) if name in told else "-",
                "wanted": sum(one.wanted for one in told[name].studies) if name in told else "-",
            }
            for name in known
        ]  # fmt: skip
        style, scripts = own_file("page.css"), [own_file("live.js")]
        return environment().get_template("index.html").render(
            sweeps=sweeps, live=live, store=without_secrets(self._store.url), style=style,
            scripts=scripts, policy=policy(style, scripts, live=True),
        )  # fmt: skip


def _canonical(path: str) -> str:
    """One spelling of each path, so that a page is made and kept once."""
    return f"{_SWEEPS}{quote(_sweep_of(path), safe='')}" if path.startswith(_SWEEPS) else path


def _sweep_of(path: str) -> str:
    return unquote(path.removeprefix(_SWEEPS)) if path.startswith(_SWEEPS) else ""


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server_version = "unlearn_ray"
    sys_version = ""
    timeout = 30  # of a silent connection, in seconds

    def __init__(self, reports: Reports, own_name: str, *args: object) -> None:
        self._reports, self._own_name = reports, own_name
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return partial(self._say, HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Requests are not logged."""

    def _answer(self, *, body: bool) -> None:
        if not is_own(self.headers.get("Host", ""), self._own_name):
            self._say(HTTPStatus.FORBIDDEN, "this server is not known by that name")
            return
        try:
            path = _canonical(urlsplit(self.path).path)
        except ValueError:
            self._say(HTTPStatus.BAD_REQUEST, "that is no path")
            return
        try:
            if not self._reports.has(path):
                self._say(HTTPStatus.NOT_FOUND, "there is no such page; see /")
            elif body:
                self._send(*self._reports.page(path))
            else:
                self._head(HTTPStatus.OK, _HTML, {"ETag": self._reports.etag()})
        except UnlearnRayError as error:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}")

    def _send(self, etag: str, data: bytes) -> None:
        if self.headers.get("If-None-Match") == etag:
            self._head(HTTPStatus.NOT_MODIFIED, _HTML, {"ETag": etag})
            return
        self._head(HTTPStatus.OK, _HTML, {"ETag": etag, "Content-Length": f"{len(data)}"})
        self._write(data)

    def _say(self, status: HTTPStatus, text: str) -> None:
        data = f"{text}\n".encode()
        more = {"Allow": "GET, HEAD"} if status == HTTPStatus.METHOD_NOT_ALLOWED else {}
        self._head(status, _TEXT, {"Content-Length": f"{len(data)}", **more})
        if self.command != "HEAD":
            self._write(data)

    def _write(self, data: bytes) -> None:
        with suppress(ConnectionError):  # the page was closed meanwhile
            self.wfile.write(data)

    def _head(self, status: HTTPStatus, kind: str, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **_HEADERS, **more}.items():
            self.send_header(name, value)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def server(store: Store, host: str, port: int, seconds: float = 5.0) -> ThreadingHTTPServer:
    """A server of a store's reports, which listens already; `serve_forever` runs it.

    Args:
        store: the store.
        host: a name or address of this machine to listen on.
        port: 0 is any that is free.
        seconds: between two questions of an open page.

    Raises:
        BadInput: it cannot listen there.
    """
    handler = partial(_Handler, Reports(store, seconds), host)
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        kind = type("_Server", (_Server,), {"address_family": family})
        listening: ThreadingHTTPServer = kind(address[:2], handler)
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or f"{error}").lower()
        remedy = "name another port, or 0 for any that is free"
        raise BadInput(f"--host {host} --port {port}", reason, remedy) from None
    return listening


def is_own(host: str, own_name: str) -> bool:
    """Whether a Host header names this server by an address or by a name of its own.

    Names of other sites may lead here, too; addresses cannot belong to a site.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in {"localhost", own_name.lower()}
    return True
