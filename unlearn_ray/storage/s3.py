"""`S3Bucket`: objects of a bucket on AWS or any S3-compatible server.

Credentials come from boto3's usual chain (environment, profile, instance role), and so does
the endpoint when the URL names none (AWS_ENDPOINT_URL).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode, urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.loaders import create_loader

from unlearn_ray.core.errors import ConfigError
from unlearn_ray.storage.local import finished_file
from unlearn_ray.storage.objects import check_name
from unlearn_ray.storage.outages import Outages
from unlearn_ray.storage.s3_errors import explained, is_away, is_missing, status

# An endpoint that does not answer at all fails after 4 x 2 s and at most 1 + 2 + 4 s of waiting.
_CONNECT_SECONDS = 2
_READ_SECONDS = 30
_ATTEMPTS = 4
_CONNECTIONS = 32
_CONFLICT_ATTEMPTS = 8
_IN_PARTS = 64 << 20
_AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
# Opening a store costs 80 ms, or 10 ms when the description of S3 has been parsed already.
_LOADER = create_loader()
_BROKEN_BODY = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)

Answer = TypeVar("Answer")


class S3Bucket:
    """An `ObjectStore` under a prefix of a bucket.

    Args:
        bucket: its name; it must exist.
        prefix: what all object names start with; "" is the whole bucket.
        endpoint: http(s)://host:port of a server other than AWS.
        region: needed where neither environment nor profile names one.
        known: whether the server has answered before, in whatever process. One that has is
            waited for when it does not answer any more; of any other the address may be wrong.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        endpoint: str | None = None,
        region: str | None = None,
        *,
        known: bool = False,
    ) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.endpoint = endpoint
        self.region = region
        self._outages = Outages(f"store {self.url}", known=known)

    def __reduce__(self) -> tuple[Callable[..., S3Bucket], tuple[Any, ...]]:
        make = partial(S3Bucket, known=self._outages.known)
        return make, (self.bucket, self.prefix, self.endpoint, self.region)

    @property
    def url(self) -> str:
        """s3://bucket/prefix?endpoint=...&region=..."""
        given = {"endpoint": self.endpoint, "region": self.region}
        query = urlencode({key: value for key, value in given.items() if value}, safe=":/")
        return f"s3://{self.bucket}/{self.prefix}" + (f"?{query}" if query else "")

    @cached_property
    def client(self) -> Any:
        """The boto3 client; thread-safe."""
        if self.endpoint is None:
            client = self._client("auto")
            host = urlsplit(client.meta.endpoint_url).hostname or ""
            if host.endswith(_AWS_DOMAINS):
                return client
        # Other servers rarely answer to bucket.host.
        return self._client("path")

    def check_exists(self) -> None:
        """Raise StoreUnreachable unless the bucket can be listed."""
        self._ask(
            "",
            lambda: self.client.list_objects_v2(
                Bucket=self.bucket, Prefix=self._key(""), MaxKeys=1
            ),
        )

    def read(self, name: str) -> bytes:
        """See `ObjectStore.read`."""
        return self._ask(name, lambda: self._read(self._key(name)))

    def write(self, name: str, data: bytes) -> None:
        """See `ObjectStore.write`; a large object goes up in parts, side by side."""
        key = self._key(name)

        def put() -> None:
            if len(data) < _IN_PARTS:
                self.client.put_object(Bucket=self.bucket, Key=key, Body=data)
            else:
                self.client.upload_fileobj(BytesIO(data), self.bucket, key)

        self._ask(name, put)

    def create(self, name: str, data: bytes) -> bool:
        """See `ObjectStore.create`.

        A PUT that was repeated after a lost answer may meet its own object: the object's
        metadata tell whose it is.
        """
        key, attempt, tries = self._key(name), uuid.uuid4().hex, 0

        def put() -> bool:
            nonlocal tries
            while True:
                tries += 1
                try:
                    self.client.put_object(
                        Bucket=self.bucket,
                        Key=key,
                        Body=data,
                        IfNoneMatch="*",
                        Metadata={"attempt": attempt},
                    )
                except ClientError as error:
                    if status(error) == 409 and tries < _CONFLICT_ATTEMPTS:
                        time.sleep(0.05 * tries)
                        continue
                    if status(error) != 412:
                        raise
                    repeated = tries > 1 or error.response["ResponseMetadata"]["RetryAttempts"]
                    return bool(repeated) and self._attempt(key) == attempt
                return True

        return self._ask(name, put)

    def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        key = self._key(name)

        def delete() -> None:
            try:
                self.client.delete_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if not is_missing(error):
                    raise

        self._ask(name, delete)

    def names(self, prefix: str) -> list[str]:
        """See `ObjectStore.names`."""
        top = self._key("")

        def listed() -> list[str]:
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=top + prefix
            )
            return [
                entry["Key"][len(top) :] for page in pages for entry in page.get("Contents", ())
            ]

        return sorted(self._ask("", listed))

    def upload(self, name: str, path: Path) -> None:
        """See `ObjectStore.upload`."""
        key = self._key(name)

        def put() -> None:
            with path.open("rb") as file:
                self.client.upload_fileobj(file, self.bucket, key)

        self._ask(name, put)

    def download(self, name: str, path: Path) -> None:
        """See `ObjectStore.download`."""
        key = self._key(name)

        def get() -> None:
            with finished_file(path) as file:
                self.client.download_fileobj(self.bucket, key, file)

        self._ask(name, get)

    def _key(self, name: str) -> str:
        if name:
            check_name(name)
        return f"{self.prefix}/{name}" if self.prefix else name

    def _read(self, key: str) -> bytes:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=key)
                data: bytes = answer["Body"].read()
                return data
            except _BROKEN_BODY:
                # boto3 retries requests, but not the reading of an answer's body.
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError

    def _attempt(self, key: str) -> str | None:
        """Whose the object is: what `create` gave it."""
        try:
            head = self.client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        found: str | None = head["Metadata"].get("attempt")
        return found

    def _client(self, addressing: Literal["auto", "path"]) -> Any:
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            max_pool_connections=_CONNECTIONS,
            tcp_keepalive=True,
            s3={"addressing_style": addressing},
        )
        try:
            core = botocore.session.Session()
            core.register_component("data_loader", _LOADER)
            # A session of its own: boto3's default session must not be shared by threads.
            return boto3.session.Session(botocore_session=core).client(
                "s3", endpoint_url=self.endpoint, region_name=self.region, config=config
            )
        except ValueError as error:
            raise ConfigError(
                f"store = {self.url}", str(error), "write endpoint=http://host:port"
            ) from error

    def _ask(self, name: str, request: Callable[[], Answer]) -> Answer:
        """The answer to a request about an object ("": the store), with patience.

        Raises:
            UnlearnRayError: what botocore's error means.
        """
        subject = f"object {name} of {self.url}" if name else f"store {self.url}"
        begun, tries = time.monotonic(), 0
        while True:
            try:
                answer = request()
            except (BotoCoreError, ClientError) as error:
                tries += 1
                problem = explained(error, subject, self.bucket)
                if is_away(error):
                    if self._outages.wait(begun, tries, problem.reason):
                        continue
                elif isinstance(error, ClientError):
                    self._outages.answered()
                raise problem from error
            self._outages.answered()
            return answer
