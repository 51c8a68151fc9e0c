"""Requests to an S3 server that were not answered: TLS, proxies, name resolution, networks.

No message repeats a library's text: proxy URLs and request headers contain passwords.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from functools import cache
from http.client import BadStatusLine
from urllib.parse import urlsplit

from boto3.session import Session
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ProxyConnectionError,
    SSLError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from urllib3.exceptions import HTTPError, LocationValueError
from urllib3.util import parse_url

from unlearn_ray.core.errors import ConfigError, StoreDenied, StoreUnreachable, closest
from unlearn_ray.storage.failures import (
    AWS_DOMAINS,
    Failure,
    Patience,
    Request,
    proxied,
    shown_address,
    through_proxy,
)

_BUNDLE = "AWS_CA_BUNDLE"
_BUNDLES = (_BUNDLE, "REQUESTS_CA_BUNDLE")
# OpenSSL's error codes for certificates.
_NOT_YET_VALID, _EXPIRED, _SELF_SIGNED, _SELF_SIGNED_IN_CHAIN = 9, 10, 18, 19
_OTHER_HOST = (62, 63, 64)
_UNKNOWN_ISSUER = {
    _SELF_SIGNED: "its certificate is self-signed",
    _SELF_SIGNED_IN_CHAIN: "its certificate is signed by a private authority",
    2: "its certificate is signed by an authority that this machine does not know",
    20: "its certificate is signed by an authority that this machine does not know",
    21: "its certificate is signed by an authority that this machine does not know",
}
# OpenSSL's errors for a server that does not speak TLS, which no retry can change.
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}
_OTHER_TLS = {
    "UNSUPPORTED_PROTOCOL",
    "TLSV1_ALERT_PROTOCOL_VERSION",
    "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "NO_PROTOCOLS_AVAILABLE",
    "DH_KEY_TOO_SMALL",
    "TLSV1_UNRECOGNIZED_NAME",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED",
}
_NO_CERTIFICATES = {"NO_CERTIFICATE_OR_CRL_FOUND", "PEM_LIB", "NO_START_LINE", "BAD_BASE64_DECODE"}
_TLS_ALERT = "\x15\x03"
_CHECK_ENDPOINT = (
    "check that the server runs and that endpoint= in the URL, or AWS_ENDPOINT_URL, is its"
    " http(s)://host:port"
)


def unanswered(error: BotoCoreError | HTTPError, request: Request) -> Failure | None:
    """The error for a request without an answer; None for errors of another kind."""
    details = getattr(error, "kwargs", {})
    cause = details.get("error")
    asked = str(details.get("endpoint_url") or request.endpoint)
    if isinstance(error, SSLError):
        return _tls(_root(cause), asked, request)
    if isinstance(error, ProxyConnectionError):
        return _proxy(_root(cause), request)
    if isinstance(error, EndpointConnectionError):
        root = _root(cause)
        if isinstance(root, socket.gaierror):
            return _unknown_host(root, asked, request)
    if isinstance(error, ConnectionClosedError):
        line = getattr(_root(cause), "line", "") if isinstance(_root(cause), BadStatusLine) else ""
        if isinstance(line, str) and line.startswith(_TLS_ALERT):
            return _never(request, asked, "it requires TLS", "write endpoint=https://host:port")
        if isinstance(line, str) and len(line) > 2 and not line.startswith("HTTP/"):
            return _no_web_server(asked, request)
    if type(error) is HTTPClientError and isinstance(cause, ValueError | TypeError):
        return _unsendable(cause, request)
    if isinstance(error, BotoConnectionError | HTTPClientError | IncompleteReadError | HTTPError):
        return _silent(type(error).__name__, asked, request)
    return None


def _root(error: object) -> object:
    """The innermost error: urllib3 wraps system errors in its own."""
    for _ in range(8):
        if not isinstance(error, BaseException):
            return error
        inner = getattr(error, "original_error", None) or error.__cause__
        inner = inner or next((each for each in error.args if isinstance(each, Exception)), None)
        if inner is None:
            return error
        error = inner
    return error


def _tls(cause: object, asked: str, request: Request) -> Failure:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _certificate(cause.verify_code, asked, request)
    if type(cause).__name__ == "CertificateError":  # urllib3's own check of the name
        return _certificate(_OTHER_HOST[0], asked, request)
    reason = getattr(cause, "reason", None)
    if isinstance(cause, ssl.SSLError) and reason in _NO_TLS:
        remedy = f"write endpoint=http://host:port if it is meant to be so{through_proxy(request)}"
        return _never(request, asked, "it does not speak TLS", remedy)
    if isinstance(cause, ssl.SSLError) and reason in _OTHER_TLS:
        text = f"it and this machine have no TLS version in common ({reason})"
        return _never(request, asked, text, "bring the server and this machine up to date")
    if isinstance(cause, ssl.SSLError) and reason in _NO_CERTIFICATES:
        return _bundle("it contains no PEM certificates", request)
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and _is_file(cause):
        return _bundle(os.strerror(cause.errno or 0).lower(), request)
    return _silent(type(cause).__name__, asked, request)


def _is_file(cause: OSError) -> bool:
    return isinstance(cause, FileNotFoundError | IsADirectoryError | PermissionError)


def _bundle(reason: str, request: Request) -> Failure:
    names = [name for name in _BUNDLES if os.environ.get(name)]
    name = (names or ["ca_bundle in the AWS profile"])[0]
    value = f" = {os.environ[names[0]]}" if names else ""
    remedy = f"set {name} to a file with the authority's certificate, or unset it"
    return Failure(
        StoreUnreachable(request.subject, f"{name}{value}: {reason}", remedy), Patience.NEVER
    )


def _certificate(code: int, asked: str, request: Request) -> Failure:
    via = through_proxy(request)
    if code in _UNKNOWN_ISSUER:
        whose = "that certificate" if code == _SELF_SIGNED else "the authority's certificate"
        file = "the file" if os.environ.get(_BUNDLE) else "a file"
        remedy = f"put {whose} into {file} that {_BUNDLE} names, on every node"
        return _never(request, asked, _UNKNOWN_ISSUER[code] + via, remedy)
    if code in _OTHER_HOST:
        text = f"its certificate is for another host{via}"
        return _never(request, asked, text, "write the host in endpoint= as the certificate does")
    if code in (_EXPIRED, _NOT_YET_VALID):
        text = "has expired" if code == _EXPIRED else "is not valid yet"
        remedy = "renew the server's certificate, or set this machine's clock"
        return _never(request, asked, f"its certificate {text}{via}", remedy)
    text = f"its certificate is refused (OpenSSL's error {code}){via}"
    return _never(request, asked, text, f"fix it, or set {_BUNDLE} to its authority's certificate")


def _proxy(cause: object, request: Request) -> Failure:
    name, value = proxied(request) or ("the AWS client's configuration", "")
    shown = f"{name} = {shown_address(value)}" if shown_address(value) else name
    outside = f"or, if the store needs no proxy, unset {name} or add its host to NO_PROXY"
    if fault := proxy_fault(value):
        return _no_proxy(request, shown, fault, f"write it as http://host:port, {outside}")
    found = re.match(r"Tunnel connection failed: (\d{3})", str(cause))
    number = int(found[1]) if found else 0
    if number == 407:
        remedy = f"write http://user:password@host:port, {outside}"
        return _no_proxy(request, shown, "the proxy requires a user name and password", remedy)
    if 400 <= number < 500:
        text = f"the proxy refuses to connect to {shown_address(request.endpoint)} ({number})"
        return _no_proxy(request, shown, text, f"allow it in the proxy, {outside}")
    if number:
        text = f"the proxy does not reach {shown_address(request.endpoint)} ({number})"
    elif isinstance(cause, socket.gaierror):
        text = "the proxy's host name is not known"
    elif isinstance(cause, ssl.SSLError):
        text = "the proxy does not speak TLS" if cause.reason in _NO_TLS else "its TLS fails"
        return _no_proxy(request, shown, text, f"write it as http://host:port, {outside}")
    else:
        text = f"the proxy does not answer ({type(cause).__name__})"
    return _no_proxy(request, shown, text, f"correct {name}, {outside}", Patience.IF_MET)


def _no_proxy(
    request: Request, shown: str, text: str, remedy: str, patience: Patience = Patience.NEVER
) -> Failure:
    return Failure(StoreUnreachable(request.subject, f"{shown}: {text}", remedy), patience)


def proxy_fault(value: str) -> str:
    """What is wrong with a proxy's URL; "" if nothing is."""
    scheme, separator, _ = value.partition("://")
    if separator and scheme.lower() not in ("http", "https"):
        socks = scheme.lower().startswith("socks")
        return "no HTTP proxy, but SOCKS" if socks else "it does not begin with http://"
    try:
        parts = parse_url(value if separator else f"http://{value.removeprefix('//')}")
        if not parts.host:
            return "it names no host"
        parts.host.encode("idna")
    except (LocationValueError, ValueError):
        return "it cannot be parsed"
    if not value.isascii():
        return "it holds characters that are not ASCII (write them as %XX)"
    if "@" in (parts.path or ""):
        return "it has an @ after the host (write / in a password as %2F)"
    return ""


def _unknown_host(cause: socket.gaierror, asked: str, request: Request) -> Failure:
    host = urlsplit(shown_address(asked)).hostname or "its host"
    if cause.errno == socket.EAI_AGAIN:
        text = f"the name {host} cannot be resolved: no name server answers"
        return Failure(
            StoreUnreachable(request.subject, text, "check this machine's network and DNS"),
            Patience.IF_MET,
        )
    known = _regions() if host.endswith(AWS_DOMAINS) and request.region else [request.region]
    if request.region not in known:
        text = f"AWS has no known region {request.region} (there is no host {host})"
        meant = closest(request.region, known)
        remedy = f"did you mean {meant}?" if meant else "correct region= or AWS_DEFAULT_REGION"
        return Failure(ConfigError(request.subject, text, remedy), Patience.NEVER)
    text = f"no host {host} is known (name resolution failed)"
    remedy = (
        "correct endpoint= in the URL, or AWS_ENDPOINT_URL; if the name is right, check this"
        " machine's DNS, or set HTTPS_PROXY where hosts are reached through a proxy only"
    )
    return Failure(StoreUnreachable(request.subject, text, remedy), Patience.IF_MET)


@cache
def _regions() -> list[str]:
    session = Session()
    return [
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("s3", partition)
    ]


def _no_web_server(asked: str, request: Request) -> Failure:
    text = f"the server at {shown_address(asked)} does not speak HTTP"
    return Failure(StoreUnreachable(request.subject, text, _CHECK_ENDPOINT), Patience.IF_MET)


def _unsendable(cause: Exception, request: Request) -> Failure:
    proxy = proxied(request)
    if proxy and proxy_fault(proxy[1]):
        return _proxy(cause, request)
    if "header" in str(cause) or isinstance(cause, UnicodeEncodeError):
        text = "the access key or the session token contains a character that HTTP cannot send"
        remedy = "enter them again, without line breaks and surrounding spaces"
        return Failure(StoreDenied(request.subject, text, remedy), Patience.OTHER_KEYS)
    text = f"the request cannot be sent to the endpoint ({type(cause).__name__})"
    return Failure(ConfigError(request.subject, text, _CHECK_ENDPOINT), Patience.NEVER)


def _silent(kind: str, asked: str, request: Request) -> Failure:
    text = f"no answer from the endpoint {shown_address(asked)}".rstrip() + f" ({kind})"
    text += through_proxy(request)
    tls = "; if it requires TLS, write https://" if asked.startswith("http:") else ""
    remedy = _CHECK_ENDPOINT + tls
    return Failure(StoreUnreachable(request.subject, text, remedy), Patience.IF_KNOWN)


def _never(request: Request, asked: str, text: str, remedy: str) -> Failure:
    where = shown_address(asked) or "the endpoint"
    return Failure(StoreUnreachable(request.subject, f"{where}: {text}", remedy), Patience.NEVER)
