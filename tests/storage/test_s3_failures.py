"""What stands between this machine and an S3 server is told as what it is, and at once.

Only what may pass by itself is waited for; and of that, what may as well be this machine's own
fault only once the server has answered this process.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.s3_server import S3Server
from tests.storage.endpoints import (
    PAGE,
    certificate,
    closed_port,
    forward_proxy,
    listening,
    passed_on,
    tls_front,
    web_server,
)
from unlearn_ray import results, sweep
from unlearn_ray.core.errors import (
    ConfigError,
    StoreDenied,
    StoreError,
    StoreUnreachable,
    UnlearnRayError,
    exit_status,
)
from unlearn_ray.storage.objects import ObjectStore
from unlearn_ray.storage.store import open_store

SECRET = "geheim"
# Far below the patience with an outage.
SECONDS = 8
SWEEP = Path(__file__).parents[2] / "sweeps" / "quickstart.yaml"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
LOG = "unlearn_ray.storage"


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, s3_server: S3Server) -> None:
    for name in (*VARIABLES, *map(str.lower, VARIABLES), "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    """What is opened in a test and closed after it."""
    with ExitStack() as stack:
        yield stack


Told = Callable[..., str]


@pytest.fixture
def told(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Told:
    """What is said of a store's URL, by the library and by each command; at once."""

    def ask(url: str, kind: type[UnlearnRayError] = StoreUnreachable, *, secret: str = "") -> str:
        found = ""
        # That others were answered changes nothing.
        for known in (False, True):
            begun = time.monotonic()
            with caplog.at_level(logging.WARNING, LOG), pytest.raises(kind) as error:
                open_store(url, known=known).check_readable()
            assert time.monotonic() - begun < SECONDS
            assert not [one for one in caplog.records if one.name.startswith("unlearn_ray")]
            found = str(error.value)
            whole = "".join(traceback.format_exception(error.value))
            assert not secret or secret not in whole
        capfd.readouterr()
        for command, arguments in (
            (sweep.main, ["plan", str(SWEEP), "--store", url]),
            (sweep.main, ["status", url]),
            (results.main, [url, "best"]),
        ):
            begun = time.monotonic()
            assert command(arguments) == exit_status(error.value)
            assert time.monotonic() - begun < SECONDS
            said = capfd.readouterr()
            assert said.out == ""
            assert len(said.err.splitlines()) == 1
            assert said.err.startswith("error: ")
            assert not secret or secret not in said.err
        return found

    return ask


def at(port: int, scheme: str = "https", host: str = "127.0.0.1") -> str:
    return f"s3://bucket/p?endpoint={scheme}://{host}:{port}"


# TLS


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "certificates"
    folder.mkdir()
    return folder


@pytest.fixture
def secure(s3_server: S3Server, certificates: Path, opened: ExitStack) -> tuple[int, Path]:
    """The port of the S3 server behind TLS, and its self-signed certificate."""
    file = certificate(certificates, "127.0.0.1", "localhost")
    return opened.enter_context(tls_front(s3_server.ports["proxy"], file)), file


def test_a_certificate_that_is_known(
    s3_server: S3Server, secure: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, file = secure
    monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
    url = s3_server.store_url("p").replace(s3_server.endpoint, f"https://localhost:{port}")
    open_store(url).check_writable()


def test_a_self_signed_certificate(
    secure: tuple[int, Path], told: Told, monkeypatch: pytest.MonkeyPatch, certificates: Path
) -> None:
    port, _ = secure
    said = told(at(port))
    assert f"https://127.0.0.1:{port}: its certificate is self-signed; put that certificate" in said
    assert "into a file that AWS_CA_BUNDLE names" in said
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate(certificates, "other")))
    assert "into the file that AWS_CA_BUNDLE names" in told(at(port))


def test_an_authority_that_is_not_known(
    s3_server: S3Server, certificates: Path, told: Told, opened: ExitStack
) -> None:
    leaf = certificate(certificates, "127.0.0.1", issuer=certificate(certificates, "authority"))
    port = opened.enter_context(tls_front(s3_server.ports["proxy"], leaf))
    said = told(at(port))
    assert "signed by an authority that this machine does not know" in said
    assert "put the authority's certificate into a file that AWS_CA_BUNDLE names" in said


@pytest.mark.parametrize(
    ("names", "days", "message"),
    [
        (["127.0.0.1"], (-3, -1), "its certificate has expired; renew"),
        (["127.0.0.1"], (1, 3), "its certificate is not valid yet; renew"),
        (["example.org"], (-1, 1), "its certificate is for another host; write the host in"),
    ],
)
def test_a_certificate_that_does_not_fit(
    names: list[str],
    days: tuple[int, int],
    message: str,
    s3_server: S3Server,
    certificates: Path,
    told: Told,
    opened: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = certificate(certificates, *names, days=days)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
    port = opened.enter_context(tls_front(s3_server.ports["proxy"], file))
    assert message in told(at(port))


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_bundle_that_is_none(
    variable: str,
    secure: tuple[int, Path],
    tmp_path: Path,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port, _ = secure
    (tmp_path / "junk").write_text("no certificate")
    for path, reason in {
        tmp_path / "missing": "no such file or directory",
        tmp_path: "is a directory",
        tmp_path / "junk": "it contains no PEM certificates",
    }.items():
        monkeypatch.setenv(variable, str(path))
        assert f"{variable} = {path}: {reason}; set {variable} to a file" in told(at(port))


def test_a_bundle_that_is_named_blank(
    secure: tuple[int, Path], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", " ")
    assert "AWS_CA_BUNDLE" in told(at(secure[0]), StoreError)


def test_tls_to_a_server_without(s3_server: S3Server, told: Told) -> None:
    port = s3_server.ports["proxy"]
    said = told(at(port))
    assert f"https://127.0.0.1:{port}: it does not speak TLS; write endpoint=http://" in said


def test_no_tls_to_a_server_with(secure: tuple[int, Path]) -> None:
    with pytest.raises(StoreUnreachable, match="if it requires TLS, write https://"):
        open_store(at(secure[0], "http")).check_readable()


def test_a_server_that_answers_with_a_tls_alert(opened: ExitStack, told: Told) -> None:
    def alert(client: socket.socket) -> None:
        client.recv(1 << 16)
        client.sendall(b"\x15\x03\x03\x00\x02\x02\x46")

    port = opened.enter_context(listening(alert))
    assert "it requires TLS; write endpoint=https://" in told(at(port, "http"))


# Proxies


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("upper", [True, False])
def test_a_dead_proxy(
    scheme: str, upper: bool, s3_server: S3Server, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{scheme}_proxy".upper() if upper else f"{scheme}_proxy"
    port = closed_port()
    monkeypatch.setenv(name, f"http://me:{SECRET}@127.0.0.1:{port}")
    said = told(at(s3_server.ports["proxy"], scheme), secret=SECRET)
    assert f"{name} = http://127.0.0.1:{port}: the proxy does not answer" in said
    assert f"unset {name} or add its host to NO_PROXY" in said
    if scheme == "http":
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        open_store(s3_server.store_url()).check_writable()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("http://no-such-host.invalid:1", "the proxy's host name is not known"),
        ("htp://127.0.0.1:1", "it does not begin with http://"),
        ("socks5://127.0.0.1:1", "no HTTP proxy, but SOCKS"),
        ("http://127.0.0.1:port", "it cannot be parsed"),
        ("http://127.0.0.1:99999", "it cannot be parsed"),
        ("http://[::1:1", "it cannot be parsed"),
        ("http://a..b:1", "it cannot be parsed"),
        ("http://", "it names no host"),
        (f"http://me:{SECRET}é@127.0.0.1:1", "characters that are not ASCII"),
        (f"http://me:a@b/{SECRET}@127.0.0.1:1", "it has an @ after the host"),
        (f"http://me:{SECRET}@:1", "it "),
    ],
)
def test_a_proxy_that_is_mistyped(
    value: str, message: str, s3_server: S3Server, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", value)
    said = told(at(s3_server.ports["proxy"], "http"), secret=SECRET)
    assert "HTTP_PROXY" in said
    assert message in said
    assert "NO_PROXY" in said


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("status", "message"),
    [(407, "user name and password"), (403, "403"), (503, "503")],
)
def test_a_proxy_that_refuses(
    scheme: str,
    status: int,
    message: str,
    s3_server: S3Server,
    opened: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"{scheme.upper()}_PROXY"
    port = opened.enter_context(web_server(status))
    monkeypatch.setenv(name, f"http://me:{SECRET}@127.0.0.1:{port}")
    with pytest.raises(StoreUnreachable) as error:
        open_store(at(s3_server.ports["proxy"], scheme)).check_readable()
    assert message in str(error.value)
    assert name in str(error.value)
    assert SECRET not in "".join(traceback.format_exception(error.value))


def test_a_proxy_that_was_given_as_https(
    s3_server: S3Server, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"https://127.0.0.1:{s3_server.ports['proxy']}")
    assert "the proxy does not speak TLS" in told(at(s3_server.ports["proxy"], "http"))


@pytest.fixture
def behind_proxy(
    s3_server: S3Server, secure: tuple[int, Path], monkeypatch: pytest.MonkeyPatch
) -> tuple[str, int]:
    """A store's URL that is reached through a proxy, and the port where that must be."""
    proxy = closed_port()
    port, file = secure
    monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy}")
    url = s3_server.store_url("p")
    return url.replace(s3_server.endpoint, f"https://127.0.0.1:{port}"), proxy


def test_a_proxy_that_was_there_is_waited_for(
    behind_proxy: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    url, proxy = behind_proxy
    store = open_store(url)
    with forward_proxy(proxy):
        store.objects.write("x", b"1")
    store.objects._connection.opened().client.close()  # type: ignore[attr-defined]
    found: list[bytes] = []
    with caplog.at_level(logging.WARNING, LOG):
        reader = threading.Thread(target=lambda: found.append(store.objects.read("x")))
        reader.start()
        time.sleep(1.5)
        assert not found
        with forward_proxy(proxy):
            reader.join(20)
    assert found == [b"1"]
    assert "HTTPS_PROXY" in caplog.messages[0]
    assert "waiting for it" in caplog.messages[0]


# Name resolution and regions


def test_a_host_that_is_not_known(told: Told) -> None:
    said = told("s3://bucket/p?endpoint=http://no-such-host.invalid:9000")
    assert "no-such-host.invalid" in said
    assert "DNS" in said
    assert "http://no-such-host.invalid:9000 " not in said


def test_a_name_that_was_resolved_is_waited_for(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = s3_server.store_url("p").replace("127.0.0.1", "localhost")
    store = open_store(url)
    store.objects.write("x", b"1")
    real, until = socket.getaddrinfo, time.monotonic() + 1.5

    def resolve(host: str, *arguments: object, **named: object) -> object:
        if time.monotonic() < until:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real(host, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    store.objects._connection.opened().client.close()  # type: ignore[attr-defined]
    with caplog.at_level(logging.WARNING, LOG):
        assert store.objects.read("x") == b"1"
    assert "no name server answers" in caplog.messages[0]
    until = time.monotonic() + 1.5
    with pytest.raises(StoreUnreachable, match="check this machine's network and DNS"):
        open_store(url, known=True).objects.read("x")


def test_a_region_that_aws_does_not_have(told: Told) -> None:
    said = told("s3://bucket/p?region=us-esat-1", UnlearnRayError)
    # Without a name server nobody can tell that there is no such host.
    assert "did you mean us-" in said or "no name server answers" in said


def test_a_region_that_is_no_name(
    s3_server: S3Server, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us east!")
    said = told(at(s3_server.ports["proxy"], "http"), ConfigError)
    assert "'us east!' is not a region name" in said
    assert "AWS_DEFAULT_REGION" in said


def test_another_region_is_found(s3_server: S3Server) -> None:
    open_store(s3_server.store_url("p") + "&region=eu-west-1").check_writable()


@pytest.mark.parametrize(
    ("status", "code", "told_region", "remedy"),
    [
        (400, "AuthorizationHeaderMalformed", "", "write region=NAME in"),
        (400, "IllegalLocationConstraintException", "eu-west-3", "write region=eu-west-3 in"),
        (301, "PermanentRedirect", "eu-west-3", "write region=eu-west-3 in"),
    ],
)
def test_another_region_that_is_not(
    status: int, code: str, told_region: str, remedy: str, told: Told, opened: ExitStack
) -> None:
    body = f"<Error><Code>{code}</Code><Region>{told_region}</Region></Error>"
    body = body.replace("<Region></Region>", "")
    answer = web_server(status, body.encode(), "application/xml")
    said = told(at(opened.enter_context(answer), "http"))
    assert f"{code}: the bucket is in another region than us-east-1; {remedy}" in said


# Keys


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "InvalidAccessKeyId", "the server does not know the access key"),
        (403, "SignatureDoesNotMatch", "wrong credentials: the access key or the secret key"),
        (400, "ExpiredToken", "the temporary credentials have expired"),
        (400, "InvalidToken", "the session token is not valid"),
        (403, "RequestTimeTooSkewed", "the clocks differ; set this machine's clock"),
        (403, "AccessDenied", "lack the permission; grant them list, read, write and delete"),
        (403, "AllAccessDisabled", "these credentials lack the permission"),
    ],
)
def test_keys_that_are_refused(
    status: int, code: str, message: str, told: Told, opened: ExitStack
) -> None:
    body = f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>".encode()
    port = opened.enter_context(web_server(status, body, "application/xml"))
    said = told(at(port, "http"), StoreDenied, secret=SECRET)
    assert f"{status} {code}: " in said
    assert message in said


@pytest.mark.parametrize("variable", ["AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID"])
@pytest.mark.parametrize("value", [f"{SECRET}\n", f"ab\ncd{SECRET}"])
def test_keys_with_a_line_break(
    variable: str, value: str, s3_server: S3Server, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    said = told(at(s3_server.ports["proxy"], "http"), StoreDenied, secret=SECRET)
    assert "enter them again, without line breaks" in said


FILES = {
    "none": ("", "none were found in the environment, the AWS files or from a role"),
    "half": ("[default]\naws_access_key_id=k", "aws_secret_access_key is missing"),
    "damaged": (f"[default\n{SECRET}", "cannot be parsed"),
    "twice": (f"[default]\naws_secret_access_key={SECRET}\n[default]\n", "cannot be parsed"),
    "no program": ("[default]\ncredential_process=/no/such", "/no/such: no such file"),
    "program fails": ("[default]\ncredential_process=false", "(custom-process) fails"),
    "program talks": (f"[default]\ncredential_process=echo {SECRET}", "JSONDecodeError"),
    "no source": ("[default]\nrole_arn=arn:aws:iam::1:role/r\nsource_profile=x", "does not exist"),
    "no login": (
        "[default]\nsso_session=x\nsso_account_id=1\nsso_role_name=r\n"
        "[sso-session x]\nsso_region=us-east-1\nsso_start_url=https://x",
        "SSO",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_sources_of_keys_that_fail(
    case: str, tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, message = FILES[case]
    file = tmp_path / "credentials"
    file.write_text(text)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(file))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    said = told(at(closed_port(), "http"), StoreDenied, secret=SECRET)
    assert "no usable credentials: " in said
    assert message in said


def test_a_profile_that_is_not_there(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    said = told(at(closed_port(), "http"), StoreDenied)
    assert "no profile nobody in the AWS files; correct AWS_PROFILE" in said


def test_a_service_of_keys_that_is_away_or_refuses(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch, opened: ExitStack
) -> None:
    (tmp_path / "token").write_text("a token")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    service = f"http://127.0.0.1:{closed_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service)
    said = told(at(closed_port(), "http"), StoreDenied)
    assert f"no credentials: no answer from {service}" in said
    body = b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
    refusing = opened.enter_context(web_server(403, body, "text/xml"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{refusing}")
    said = told(at(closed_port(), "http"), StoreDenied)
    assert "AssumeRoleWithWebIdentity was refused (AccessDenied)" in said
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/no/such/token")
    said = told(at(closed_port(), "http"), StoreDenied)
    assert "/no/such/token: no such file or directory" in said


# Buckets, and what is no S3 server


@pytest.mark.parametrize("bucket", ["UPPER", "a..b", "ab", "x" * 64])
def test_a_name_that_no_bucket_can_have(bucket: str, s3_server: S3Server, told: Told) -> None:
    said = told(f"s3://{bucket}/p?endpoint={s3_server.endpoint}")
    assert f"no bucket can have the name {bucket}; name a bucket: 3 to 63" in said


NO_SERVERS = {
    "page": (200, PAGE, "text/html"),
    "XHTML": (200, b"<html><body/></html>", "text/html"),
    "JSON": (200, b"{}", "application/json"),
    "nothing": (200, b"", "text/plain"),
    "no content": (204, b"", "text/plain"),
    "moved": (301, PAGE, "text/html"),
    "found": (302, b"", "text/plain"),
    "bad request": (400, PAGE, "text/html"),
    "TLS wanted": (400, b"Client sent an HTTP request to an HTTPS server.\n", "text/plain"),
    "login": (401, PAGE, "text/html"),
    "forbidden": (403, PAGE, "text/html"),
    "not found": (404, PAGE, "text/html"),
    "not found, without a word": (404, b"", "text/plain"),
}


@pytest.mark.parametrize("case", NO_SERVERS)
def test_what_is_no_s3_server(case: str, told: Told, opened: ExitStack) -> None:
    port = opened.enter_context(web_server(*NO_SERVERS[case]))
    url = at(port, "http")
    said = told(url)
    assert f"the server at http://127.0.0.1:{port} is not an S3 server" in said
    assert "of its S3 API, with https:// if it requires TLS" in said
    objects = open_store(url).objects
    for ask in _requests(objects):
        with pytest.raises(StoreUnreachable, match="is not an S3 server"):
            ask()


def _requests(objects: ObjectStore) -> list[Callable[[], object]]:
    return [
        lambda: objects.read("x"),
        lambda: objects.names(""),
        lambda: objects.write("x", b""),
        lambda: objects.create("x", b""),
    ]


def test_what_speaks_no_http(told: Told, opened: ExitStack) -> None:
    port = opened.enter_context(listening(lambda client: client.sendall(b"SSH-2.0-x\r\n")))
    assert "does not speak HTTP" in told(at(port, "http"))


def test_what_stands_in_for_a_server_is_waited_for(
    s3_server: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    """An ingress whose server restarts answers 404 by itself: nothing is missing then."""
    port = closed_port()
    url = s3_server.store_url("p")
    store = open_store(url.replace(s3_server.endpoint, f"http://127.0.0.1:{port}"))

    def forward(client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", s3_server.ports["proxy"])) as server:
            passed_on(client, server)

    def page(client: socket.socket) -> None:
        client.recv(1 << 16)
        head = f"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: {len(PAGE)}\r\n\r\n"
        client.sendall(head.encode() + PAGE)

    with listening(forward, port):
        store.objects.write("x", b"1")
        store.objects._connection.opened().client.close()  # type: ignore[attr-defined]
    found: list[bytes] = []
    with caplog.at_level(logging.WARNING, LOG):
        reader = threading.Thread(target=lambda: found.append(store.objects.read("x")))
        with listening(page, port):
            reader.start()
            time.sleep(1)
        with listening(forward, port):
            reader.join(20)
            store.objects._connection.opened().client.close()  # type: ignore[attr-defined]
    assert found == [b"1"]
    assert "is not an S3 server" in caplog.messages[0]


def test_a_handshake_that_is_cut_is_an_outage(
    s3_server: S3Server, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(certificates, "127.0.0.1")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
    port = closed_port()
    url = s3_server.store_url("p").replace(s3_server.endpoint, f"https://127.0.0.1:{port}")
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(open_store(url, known=True).identify()))

    def cut(client: socket.socket) -> None:
        client.recv(1)

    with listening(cut, port):
        reader.start()
        time.sleep(1)
        assert not found
    with tls_front(s3_server.ports["proxy"], file, port):
        reader.join(20)
    assert len(found) == 1


def test_an_answer_that_always_breaks_off(opened: ExitStack, tmp_path: Path) -> None:
    def cut(client: socket.socket) -> None:
        client.recv(1 << 16)
        client.sendall(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 100\r\n\r\nhalf')

    objects = open_store(at(opened.enter_context(listening(cut)), "http")).objects
    for ask in (lambda: objects.read("x"), lambda: objects.download("x", tmp_path / "x")):
        with pytest.raises(StoreUnreachable, match="no answer from the endpoint"):
            ask()


# The client's own settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_DEFAULTS_MODE", "foo"),
        ("AWS_REQUEST_CHECKSUM_CALCULATION", "foo"),
        ("AWS_RESPONSE_CHECKSUM_VALIDATION", "foo"),
    ],
)
def test_settings_that_are_none(
    variable: str, value: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert value in told(at(closed_port(), "http"), StoreError)


@pytest.mark.parametrize("value", ["foo", "host:9000", f"http://me:{SECRET}@127.0.0.1:1"])
def test_an_endpoint_in_the_environment_that_is_none(
    value: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", value)
    said = told("s3://bucket/p", ConfigError, secret=SECRET)
    assert "AWS_ENDPOINT_URL" in said
    assert os.environ["AWS_ENDPOINT_URL"] == value
