"""What may stand where an S3 server is expected: TLS, proxies, web servers, closed ports."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Serve = Callable[[socket.socket], None]
PAGE = b"<!doctype html><html><br>hello</html>"


def closed_port() -> int:
    """A port of loopback at which nothing listens."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port: int = closed.getsockname()[1]
    return port


@contextmanager
def listening(serve: Serve, port: int = 0) -> Iterator[int]:
    """The port at which `serve` is given each connection, in a thread of its own."""
    with socket.create_server(("127.0.0.1", port)) as listener:

        def attend(client: socket.socket) -> None:
            with client, suppress(OSError):
                serve(client)

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=attend, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def passed_on(client: socket.socket, server: socket.socket) -> None:
    """Both directions, until one side ends."""

    def forward() -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    threading.Thread(target=forward, daemon=True).start()
    while data := server.recv(1 << 16):
        client.sendall(data)


def certificate(
    folder: Path, *names: str, days: tuple[int, int] = (-1, 1), issuer: Path | None = None
) -> Path:
    """A file with a key and its certificate, self-signed unless a file of an issuer is given.

    Args:
        folder: where it is written.
        names: host names and addresses that it is good for.
        days: from when to when it is valid, from today.
        issuer: what signs it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {serial}"[:60])])
    signer, signer_name = key, name
    if issuer is not None:
        signer_key = serialization.load_pem_private_key(issuer.read_bytes(), None)
        assert isinstance(signer_key, ec.EllipticCurvePrivateKey)
        signer, signer_name = (
            signer_key,
            x509.load_pem_x509_certificate(issuer.read_bytes()).subject,
        )
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer_name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), True)
        .sign(signer, hashes.SHA256())
    )
    file = folder / f"{serial}.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@contextmanager
def tls_front(port: int, file: Path, own: int = 0) -> Iterator[int]:
    """The port of a server that speaks TLS and passes on to `port` what it is asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    def serve(client: socket.socket) -> None:
        with (
            context.wrap_socket(client, server_side=True) as secure,
            socket.create_connection(("127.0.0.1", port)) as server,
        ):
            passed_on(secure, server)

    with listening(serve, own) as front:
        yield front


@contextmanager
def web_server(
    status: int, body: bytes = PAGE, kind: str = "text/html", **headers: str
) -> Iterator[int]:
    """The port of a web server that gives one answer to everything.

    Args:
        status: of HTTP.
        body: of the answer.
        kind: its Content-Type.
        headers: others, with _ for -.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_CONNECT = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        yield server.server_port
        server.shutdown()


@contextmanager
def forward_proxy(port: int = 0) -> Iterator[int]:
    """The port of an HTTP proxy that opens tunnels (CONNECT)."""

    def serve(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(1 << 16)
        host, _, number = head.split()[1].decode().rpartition(":")
        with socket.create_connection((host, int(number))) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            passed_on(client, server)

    with listening(serve, port) as own:
        yield own
