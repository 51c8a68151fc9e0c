"""What a store's URL means: a folder's path, or a bucket with its endpoint and region."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from unlearn_ray.core.errors import ConfigError, did_you_mean
from unlearn_ray.storage.local import LocalFolder
from unlearn_ray.storage.objects import ObjectStore

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_REMEDY = "write a folder, or s3://bucket/prefix?endpoint=http://host:port&region=NAME"


def objects_at(url: str, *, known: bool = False) -> ObjectStore:
    """The object store at a folder's path or s3://bucket/prefix[?endpoint=URL&region=NAME].

    Args:
        url: where.
        known: whether a server there has answered before.

    Raises:
        ConfigError: the URL is none of these.
    """
    scheme = _SCHEME.match(url)
    if scheme is None:
        if not url.strip():
            raise ConfigError("store = ''", "empty", _REMEDY)
        return LocalFolder(Path(url))
    if scheme[1] != "s3":
        raise ConfigError(f"store = {_shown(url)}", f"unknown scheme {scheme[1]}", _REMEDY)
    return _bucket(url, known)


def _bucket(url: str, known: bool) -> ObjectStore:
    from unlearn_ray.storage.s3 import S3Bucket  # boto3: only for those who use it

    subject = f"store = {_shown(url)}"
    place, _, query = url.removeprefix("s3://").partition("?")
    bucket, _, prefix = place.partition("/")
    if not _BUCKET.fullmatch(bucket):
        reason = f"{_shown(bucket)!r} is no bucket" if bucket else "no bucket"
        raise ConfigError(subject, reason, _REMEDY)
    options = parse_qsl(query, keep_blank_values=True)
    for name, value in options:
        if name not in ("endpoint", "region"):
            raise ConfigError(
                subject, f"unknown option {name}", did_you_mean(name, ["endpoint", "region"])
            )
        if not value or [each for each, _ in options].count(name) > 1:
            raise ConfigError(subject, f"{name} must be given once, with a value", _REMEDY)
    endpoint, region = (dict(options).get(name) for name in ("endpoint", "region"))
    if endpoint is not None:
        _check_endpoint(endpoint, subject)
    return S3Bucket(bucket, prefix, endpoint, region, known=known)


def _check_endpoint(endpoint: str, subject: str) -> None:
    parts = urlsplit(endpoint)
    if "@" in parts.netloc:
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        raise ConfigError(subject, "credentials have no place in a URL", remedy)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(subject, f"endpoint {endpoint} is no http(s)://host:port", _REMEDY)


def _shown(url: str) -> str:
    """`url` without what may be a password."""
    return re.sub(r"[^/=]*@", "***@", url)
