"""The client of an S3 server, and its credentials, which may be rotated."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    HTTPClientError,
    InfiniteLoopConfigError,
    InvalidChecksumConfigError,
    InvalidConfigError,
    InvalidDefaultsMode,
    LoginError,
    MissingDependencyException,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.loaders import create_loader

from unlearn_ray.core.errors import ConfigError, StoreDenied, StoreError
from unlearn_ray.storage.failures import AWS_DOMAINS, Failure, Patience, Request, shown_address

# An endpoint that never answers fails after 4 x 2 s and at most 1 + 2 + 4 s of backoff.
_CONNECT_SECONDS = 2
_READ_SECONDS = 30
_ATTEMPTS = 4
_CONNECTIONS = 32
# Opening a store takes 80 ms, or 10 ms once the service description of S3 has been parsed.
_LOADER = create_loader()
# These contain a setting and its value, and nothing secret.
_PLAIN = (
    InfiniteLoopConfigError,
    InvalidChecksumConfigError,
    InvalidConfigError,
    InvalidDefaultsMode,
    LoginError,
    MissingDependencyException,
    SSOError,
)
_SET_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, on every node"

NeedsRetry = Callable[[Any, Any, Any], None]


class Keys(NamedTuple):
    """The credentials that requests are signed with."""

    access_key: str
    secret_key: str
    token: str | None


class CredentialsFailed(Exception):
    """No credentials could be obtained."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(type(cause).__name__)
        self.cause = cause


@dataclass(frozen=True)
class Opened:
    """A client and its credentials.

    Attributes:
        client: boto3's; thread-safe.
        credentials: botocore's; those with an expiry refresh themselves.
    """

    client: Any
    credentials: Any

    def keys(self) -> Keys:
        """The credentials that the next request is signed with.

        Raises:
            CredentialsFailed: they have expired, and no others could be obtained.
        """
        return Keys(*_told(self.credentials.get_frozen_credentials)[:3])

    @property
    def endpoint(self) -> str:
        """The URL that requests go to."""
        return str(self.client.meta.endpoint_url)

    @property
    def region(self) -> str:
        """The region that requests are signed for."""
        return str(self.client.meta.region_name or "")


class Connection:
    """Creates the client of a bucket, and a new one after a rotation of credentials.

    Args:
        endpoint: as in `S3Bucket`.
        region: as in `S3Bucket`.
        watch: called with each failed attempt of a request: the response or None, the exception
            or None, the operation; it ends the request by raising.
    """

    def __init__(self, endpoint: str | None, region: str | None, watch: NeedsRetry) -> None:
        self._endpoint = endpoint
        self._region = region
        self._watch = watch
        self._lock = threading.Lock()
        self._opened: Opened | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether the credentials cannot change while this process lives."""
        return self._opened is not None and self._opened.credentials.method == "env"

    def opened(self) -> Opened:
        """The current client.

        Raises:
            CredentialsFailed: there are no credentials.
            BotoCoreError: a setting is wrong.
            ConfigError: the endpoint is not valid.
        """
        opened = self._opened
        if opened is None:
            with self._lock:
                opened = self._opened = self._opened or self._open()
        return opened

    def renew(self, used: Keys | None) -> bool:
        """Reload the credentials; returns whether they now differ from `used`."""
        with self._lock:
            try:
                if self._opened is not None and self._opened.keys() != used:
                    return True
                fresh = self._open()
                if fresh.keys() == used:
                    return False
            except (BotoCoreError, CredentialsFailed):
                return False  # a file is just being written
            self._opened = fresh
            return True

    def _open(self) -> Opened:
        core = botocore.session.Session()
        core.register_component("data_loader", _LOADER)
        # A separate session: boto3's default session must not be shared by threads.
        session = boto3.session.Session(botocore_session=core)
        credentials = _told(core.get_credentials)
        if credentials is None:
            raise CredentialsFailed(NoCredentialsError())
        client = None
        if self._endpoint is None:
            client = self._client(session, "auto")
            host = urlsplit(client.meta.endpoint_url).hostname or ""
        # Other servers rarely support bucket.host.
        if client is None or not host.endswith(AWS_DOMAINS):
            client = self._client(session, "path")
        client.meta.events.register_first("needs-retry.s3", self._failed)
        return Opened(client, credentials)

    def _failed(self, response: Any, caught_exception: Any, operation: Any, **_: object) -> None:
        self._watch(response, caught_exception, operation)

    def _client(self, session: Any, addressing: Literal["auto", "path"]) -> Any:
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=_CONNECTIONS,
            tcp_keepalive=True,
            s3={"addressing_style": addressing},
        )
        try:
            client = session.client(
                "s3", endpoint_url=self._endpoint, region_name=self._region, config=config
            )
        except BotoCoreError:
            raise
        except ValueError as error:
            if "endpoint" in str(error).lower():
                reason = "it is not http(s)://host:port"
                raise _no_endpoint(self._endpoint or "", reason) from None
            raise InvalidConfigError(error_msg="a value in the AWS files is unusable") from None
        if "@" in client.meta.endpoint_url:
            raise _no_endpoint("", "credentials must not be in a URL")
        return client


def _no_endpoint(endpoint: str, reason: str) -> ConfigError:
    subject = f"endpoint = {shown_address(endpoint)}" if endpoint else "AWS_ENDPOINT_URL"
    return ConfigError(subject, reason, "write http://host:port")


def _told(ask: Callable[[], Any]) -> Any:
    """Credentials from a source: programs, files and services, which raise anything."""
    try:
        return ask()
    except Exception as error:
        raise CredentialsFailed(error) from None


def credentials_failure(error: BaseException, request: Request) -> Failure:
    """The error for credentials that could not be obtained."""
    if isinstance(error, BotoConnectionError | HTTPClientError):
        service = shown_address(str(error.kwargs.get("endpoint_url"))) or "the service"
        text = f"no credentials: no answer from {service} ({type(error).__name__})"
        problem = StoreDenied(request.subject, text, "check the network, or set other credentials")
        return Failure(problem, Patience.IF_MET)
    if isinstance(error, ClientError):
        named = str(error.response.get("Error", {}).get("Code", ""))[:64]
        text = f"no credentials: {error.operation_name} was refused ({named})"
        remedy = "correct the role and what may assume it, in the AWS profile"
        return Failure(StoreDenied(request.subject, text, remedy), Patience.NEW_KEYS)
    text, remedy = _source(error)
    text = f"no usable credentials: {text}"
    return Failure(StoreDenied(request.subject, text, remedy), Patience.NEW_KEYS)


def _source(error: BaseException) -> tuple[str, str]:
    """Reason and remedy for a source of credentials that fails."""
    details = getattr(error, "kwargs", {})
    if isinstance(error, NoCredentialsError):
        return "none were found in the environment, the AWS files or from a role", _SET_KEYS
    if isinstance(error, PartialCredentialsError):
        missing, where = details.get("cred_var"), details.get("provider")
        return f"{missing} is missing ({where})", f"set {missing}, too"
    if isinstance(error, ProfileNotFound):
        profile = details.get("profile")
        return f"no profile {profile} in the AWS files", "correct AWS_PROFILE, or add the profile"
    if isinstance(error, ConfigParseError):
        return f"{details.get('path')} cannot be parsed", "fix it: [profile] and key = value lines"
    if isinstance(error, _PLAIN):
        return " ".join(str(error).split())[:300].rstrip("."), "fix the AWS profile"
    if isinstance(error, OSError) and error.filename:
        reason = (error.strerror or type(error).__name__).lower()
        return f"{error.filename}: {reason}", "correct the AWS profile or variable that names it"
    where = details.get("provider")
    source = f"their source ({where})" if where else "their source"
    remedy = "fix what the AWS profile or the AWS_ variables name"
    return f"{source} fails ({type(error).__name__})", remedy


def setting_failure(error: BaseException, request: Request) -> Failure:
    """The error for an invalid client setting, which keeps botocore from sending anything."""
    if isinstance(error, ProfileNotFound | ConfigParseError):
        return credentials_failure(error, request)
    text = f"the request failed ({type(error).__name__})"
    if isinstance(error, _PLAIN):
        text = " ".join(str(error).split())[:300].rstrip(".")
    remedy = "check the AWS_ variables and the AWS profile, then run again"
    return Failure(StoreError(request.subject, text, remedy), Patience.NEVER)
