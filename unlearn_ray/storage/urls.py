"""Parses a store's URL: a folder's path, or a bucket or container with its server.

Anything that looks like another kind of URL is refused: it would otherwise become a folder with a
strange name. No message repeats what may be a password.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl

from unlearn_ray.core.errors import ConfigError, did_you_mean
from unlearn_ray.storage.failures import shown_address
from unlearn_ray.storage.local import LocalFolder
from unlearn_ray.storage.objects import ObjectStore

_S3, _AZURE = "s3://", "az://"
_OPTIONS = {_S3: ("endpoint", "region"), _AZURE: ("account", "endpoint")}
_REMEDY = "write a folder, or s3://bucket/prefix?endpoint=http://host:port&region=NAME"
_REMEDIES = {_S3: _REMEDY, _AZURE: "write az://container/prefix?account=NAME"}
_VARIABLES = {
    _S3: "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    _AZURE: "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
_OR_FOLDER = f"{_REMEDY}, or az://container/prefix; for a folder of this name, write ./ before it"
# Two letters or more: C:\ is a folder on Windows.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):[/\\]")
# Without a slash only these count as a scheme: run:2 is a folder.
_KNOWN_SCHEME = re.compile(
    r"(s3[an]?|gs|gcs|r2|minio|swift|https?|ftp|sftp|file|hdfs|abfss?|wasbs?|az|azure|adl|arn|"
    r"dbfs|oss|cos|b2|hf|memory|local|mlflow):",
    re.IGNORECASE,
)
_SERVER = re.compile(r"[\w.-]+:\d{1,5}(?=/|$)")
# Without a scheme: run:2 is a folder.
_ADDRESS = re.compile(r"(localhost|[\w-]+(\.[\w-]+)+):\d{1,5}(?=/|$)")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_LABEL = "[A-Za-z0-9_-]{1,63}"
_ENDPOINT = re.compile(
    rf"https?://(\[[0-9A-Fa-f:.]+\]|{_LABEL}(\.{_LABEL})*)(:(?P<port>\d{{1,5}}))?(/[^?#\s@]*)?"
)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_REGION = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_WORD = re.compile(r"[a-z][a-z_-]{0,30}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SHOWN = 120
# Of a key's 1,024 bytes; the rest is for the objects' own names.
_PREFIX_BYTES = 512


def objects_at(url: str, *, known: bool = False) -> ObjectStore:
    """The object store at a folder's path, s3://bucket/prefix[?endpoint=URL&region=NAME] or
    az://container/prefix[?account=NAME&endpoint=URL].

    Args:
        url: its location.
        known: whether the server has answered before.

    Raises:
        ConfigError: the URL is invalid.
    """
    if not url.strip():
        raise ConfigError("store = ''", "empty", _REMEDY)
    if _UNPRINTABLE.search(url):
        reason = "it holds a control character, or one that is not Unicode"
        raise ConfigError(f"store = {_shown(url)}", reason, _REMEDY)
    for scheme in (_S3, _AZURE):
        if url.startswith(scheme):
            return _bucket(url, scheme, known)
    reason = _like_a_url(url.strip(" \"'<>"))
    if reason:
        raise ConfigError(f"store = {_shown(url)}", reason, _OR_FOLDER)
    try:
        return LocalFolder(Path(url))
    except RuntimeError:
        reason = "this machine has no such user, or not that user's home"
    except OSError as error:
        reason = f"no folder to start from ({(error.strerror or 'gone').lower()})"
    raise ConfigError(f"store = {_shown(url)}", reason, "write the whole path of a folder")


def _like_a_url(text: str) -> str:
    """Why `text` is, or was meant as, a URL rather than a folder's path; "" if it is a path."""
    if text[:1] in ("/", ".", "~"):
        return ""
    if re.match(r"[^/\\]*:.*(@|%40)", text):
        return "credentials must not be in a store's name"
    if re.match(r"s3(:|//)", text, re.IGNORECASE):
        return "a bucket's URL begins with s3://"
    scheme = _SCHEME.match(text) or _KNOWN_SCHEME.match(text)
    if scheme:
        return f"unknown scheme {scheme[1]}"
    if "://" in text:
        return "it is not the URL of a store"
    if _ADDRESS.match(text):
        return "a server's address is not a store"
    return ""


def _bucket(url: str, scheme: str, known: bool) -> ObjectStore:
    subject = f"store = {_shown(url)}"
    if "@" in url or "%40" in url:
        remedy = f"set {_VARIABLES[scheme]} instead; a prefix cannot hold an @"
        raise ConfigError(subject, "credentials must not be in a URL", remedy)
    place, _, query = url.removeprefix(scheme).partition("?")
    bucket, _, prefix = place.partition("/")
    _check_bucket(bucket, scheme, subject)
    _check_prefix(prefix.removesuffix("/"), subject)
    options = _options(query, scheme, subject)
    endpoint = options.get("endpoint")
    # Each imports its library, only if it is used.
    if scheme == _AZURE:
        from unlearn_ray.storage.azure import AzureContainer

        return AzureContainer(bucket, prefix, options.get("account"), endpoint, known=known)
    from unlearn_ray.storage.s3 import S3Bucket

    return S3Bucket(bucket, prefix, endpoint, options.get("region"), known=known)


def _check_bucket(bucket: str, scheme: str, subject: str) -> None:
    if _BUCKET.fullmatch(bucket):
        return
    if _SERVER.fullmatch(bucket):
        remedy = f"write {scheme}bucket/prefix?endpoint=http://{bucket}"
        raise ConfigError(subject, f"{bucket} is a server, not a bucket", remedy)
    # A colon separates a key from a secret.
    shown = f"{bucket[:_SHOWN]!r}" if ":" not in bucket else "what stands there"
    raise ConfigError(
        subject, f"{shown} is not a bucket" if bucket else "no bucket", _REMEDIES[scheme]
    )


def _check_prefix(prefix: str, subject: str) -> None:
    parts = prefix.split("/") if prefix else []
    if any(part in ("", ".", "..") for part in parts):
        reason = "a prefix cannot have an empty part, nor one that is . or .."
        raise ConfigError(subject, reason, "write s3://bucket/one/two")
    if any(part != part.strip() for part in parts):
        reason = "a part of the prefix begins or ends with white space"
        raise ConfigError(subject, reason, "write it without")
    found = re.search(r"%[0-9A-Fa-f]{2}|[#\\]", prefix)
    if found:
        reason = f"{found[0]} in a prefix is ambiguous"
        raise ConfigError(subject, reason, "write the character itself, or a prefix without it")
    if len(prefix.encode()) > _PREFIX_BYTES:
        reason = f"a prefix of {len(prefix.encode()):,} bytes"
        raise ConfigError(subject, reason, f"write at most {_PREFIX_BYTES}")


def _options(query: str, scheme: str, subject: str) -> dict[str, str]:
    given = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in given]
    for name, value in given:
        if name not in _OPTIONS[scheme]:
            shown = f"unknown option {name}" if _WORD.fullmatch(name) else "an unknown option"
            raise ConfigError(subject, shown, did_you_mean(name, _OPTIONS[scheme]))
        if not value or names.count(name) > 1:
            reason = f"{name} must be given once, with a value"
            raise ConfigError(subject, reason, _REMEDIES[scheme])
    options = dict(given)
    if "endpoint" in options:
        _check_endpoint(options["endpoint"], subject)
    if "region" in options and not _REGION.fullmatch(options["region"]):
        reason = "region is not a region name"
        raise ConfigError(subject, reason, "write letters, digits and hyphens, as in us-east-1")
    if "account" in options and not _ACCOUNT.fullmatch(options["account"]):
        remedy = "write 3 to 24 lower-case letters and digits"
        raise ConfigError(subject, "account is not the name of a storage account", remedy)
    return options


def _check_endpoint(endpoint: str, subject: str) -> None:
    found = _ENDPOINT.fullmatch(endpoint)
    if found and 0 < int(found["port"] or 443) < 1 << 16:
        return
    address = shown_address(endpoint)
    lacks = "://" not in endpoint and _ENDPOINT.fullmatch(f"http://{endpoint}")
    remedy = f"write endpoint=http://{address}, or https://" if lacks and address else _REMEDY
    shown = f"endpoint {address}" if address else "endpoint"
    raise ConfigError(subject, f"{shown} is not http(s)://host:port", remedy)


def _shown(url: str) -> str:
    """`url` for a message, without what may be a password, and not too long.

    A password may hold any character: everything before the last @ is removed, and so are the
    values of unknown options.
    """
    before, at, after = url.replace("%40", "@").rpartition("@")
    place, mark, query = after.partition("?")
    scheme, place = _parted(place)
    if at:
        begins = re.match(r"(s3|https?|gs|az|file):/*", before)
        scheme = f"{begins[0] if begins else ''}***@"
    elif ":" in place.partition("/")[0] and not _SERVER.match(place):
        place = "***"
    options = "&".join(_shown_option(each) for each in query.split("&") if each)
    whole = _UNPRINTABLE.sub("?", f"{scheme}{place}{mark}{options}")
    return whole if len(whole) <= _SHOWN else f"{whole[:_SHOWN]}..."


def _parted(place: str) -> tuple[str, str]:
    """The scheme of a URL, even a misspelt one, and the rest."""
    found = re.match(r"\W*[A-Za-z][A-Za-z0-9+.-]*:[/\\]+|\W*(s3:|S3:)", place)
    return (found[0], place[found.end() :]) if found else ("", place)


def _shown_option(option: str) -> str:
    name, equals, value = option.partition("=")
    if name == "region" and _REGION.fullmatch(value):
        return option
    if name == "account" and _ACCOUNT.fullmatch(value):
        return option
    if name == "endpoint":
        return f"{name}={shown_address(value) or '***'}"
    return f"{name if _WORD.fullmatch(name) and equals else '***'}{equals and '=***'}"
