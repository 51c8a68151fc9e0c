"""`S3Bucket`: objects in a bucket on AWS or any S3-compatible server.

Credentials come from boto3's usual chain (environment, profile, instance role), and so does
the endpoint when the URL names none (AWS_ENDPOINT_URL).
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from unlearn_ray.storage.failures import Failure, Patience, Request
from unlearn_ray.storage.local import finished_file
from unlearn_ray.storage.objects import THREADS, Entry, is_name, key_of, subject_of, too_large
from unlearn_ray.storage.outages import AWAY, Outages
from unlearn_ray.storage.s3_errors import FOREIGN, failure, genuine, is_missing, status
from unlearn_ray.storage.s3_keys import Connection, Keys, Opened

_READS = 4
_DELETED_AT_A_TIME = 1000
_CONFLICT_ATTEMPTS = 8
_IN_PARTS = 64 << 20
_BROKEN_BODY = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
# New credentials may arrive only just after the old ones have expired.
_ROTATION_SECONDS = 10.0
_ROTATION_PAUSE = 0.5

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class S3Bucket:
    """An `ObjectStore` under a prefix of a bucket.

    Args:
        bucket: its name; it must exist.
        prefix: of all object names; "" is the whole bucket.
        endpoint: http(s)://host:port of a server other than AWS.
        region: needed if neither environment nor profile names one.
        known: whether the server has answered any process before. If so, this one waits for it
            when it stops answering; otherwise the address may be wrong.
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
        self._connection = Connection(endpoint, region, self._attempt_failed)
        self._accepted = False

    def __reduce__(self) -> tuple[Callable[..., S3Bucket], tuple[Any, ...]]:
        make = partial(S3Bucket, known=self._outages.known)
        return make, (self.bucket, self.prefix, self.endpoint, self.region)

    @property
    def url(self) -> str:
        """s3://bucket/prefix?endpoint=...&region=..."""
        given = {"endpoint": self.endpoint, "region": self.region}
        query = urlencode({key: value for key, value in given.items() if value}, safe=":/[]")
        return f"s3://{self.bucket}/{self.prefix}" + (f"?{query}" if query else "")

    def check_exists(self) -> None:
        """Raise StoreUnreachable unless the bucket can be listed."""

        def list_one(client: Any) -> None:
            page = client.list_objects_v2(Bucket=self.bucket, Prefix=self._key(""), MaxKeys=1)
            genuine(page, "IsTruncated")

        self._ask("", list_one)

    def read(self, name: str, most: int | None = None) -> bytes:
        """See `ObjectStore.read`."""
        key = self._key(name)
        return self._ask(name, lambda client: self._read(client, key, name, most))

    def write(self, name: str, data: bytes) -> None:
        """See `ObjectStore.write`; a large object is a concurrent multipart upload."""
        key = self._key(name)

        def put(client: Any) -> None:
            if len(data) < _IN_PARTS:
                genuine(client.put_object(Bucket=self.bucket, Key=key, Body=data), "ETag")
            else:
                client.upload_fileobj(BytesIO(data), self.bucket, key)

        self._ask(name, put)

    def create(self, name: str, data: bytes) -> bool:
        """See `ObjectStore.create`.

        A PUT that is retried after a lost answer may find its own object; the object's metadata
        show who wrote it.
        """
        key, attempt, tries = self._key(name), uuid.uuid4().hex, 0

        def put(client: Any) -> bool:
            nonlocal tries
            while True:
                tries += 1
                try:
                    answer = client.put_object(
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
                    return bool(repeated) and self._attempt(client, key) == attempt
                genuine(answer, "ETag")
                return True

        return self._ask(name, put)

    def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        key = self._key(name)

        def delete(client: Any) -> None:
            try:
                client.delete_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if not is_missing(error):
                    raise

        self._ask(name, delete)

    def delete_all(self, names: Sequence[str]) -> None:
        """See `ObjectStore.delete_all`: one request for up to 1,000 objects.

        Not every server knows that request: what it leaves undone takes one each.
        """
        keys = {self._key(name): name for name in names}

        def delete(client: Any) -> list[str]:
            done: set[str] = set()
            order = list(keys)
            for start in range(0, len(order), _DELETED_AT_A_TIME):
                block = order[start : start + _DELETED_AT_A_TIME]
                wanted = {"Objects": [{"Key": key} for key in block]}
                try:
                    answer = client.delete_objects(Bucket=self.bucket, Delete=wanted)
                except ClientError as error:
                    if status(error) >= 500 and status(error) != 501:
                        raise
                    return [key for key in keys if key not in done]
                done |= {each.get("Key", "") for each in answer.get("Deleted", ())}
            return [key for key in keys if key not in done]

        left = self._ask("", delete)
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda key: self.delete(keys[key]), left))

    def names(self, prefix: str) -> list[str]:
        """See `ObjectStore.names`."""
        return [entry.name for entry in self.entries(prefix)]

    def entries(self, prefix: str) -> list[Entry]:
        """See `ObjectStore.entries`."""
        top = self._key("")

        def listed(client: Any) -> list[Entry]:
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=top + prefix
            )
            return [
                Entry(each["Key"][len(top) :], each["Size"], each["LastModified"].timestamp())
                for page in pages
                for each in genuine(page, "IsTruncated").get("Contents", ())
            ]

        found = (entry for entry in self._ask("", listed) if is_name(entry.name))
        return sorted(found, key=lambda entry: entry.name)

    def remove_unfinished(self, age: float, now: float) -> int:
        """See `ObjectStore.remove_unfinished`: multipart uploads that were never completed."""
        top = self._key("")

        def abort_if_left(client: Any, upload: Mapping[str, Any]) -> None:
            named = {"Bucket": self.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            parts = client.get_paginator("list_parts").paginate(**named)
            # Uploading a large object takes hours on a slow connection.
            signs = [part["LastModified"] for page in parts for part in page.get("Parts", ())]
            if now - max([upload["Initiated"], *signs]).timestamp() > age:
                client.abort_multipart_upload(**named)

        def abort(client: Any) -> None:
            pages = client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.bucket, Prefix=top
            )
            for page in pages:
                for each in page.get("Uploads", ()):
                    if now - each["Initiated"].timestamp() > age:
                        try:
                            abort_if_left(client, each)
                        except ClientError as error:
                            if status(error) != 404:  # it has just been completed
                                raise

        self._ask("", abort)
        return 0

    def upload(self, name: str, path: Path) -> None:
        """See `ObjectStore.upload`."""
        key = self._key(name)

        def put(client: Any) -> None:
            with path.open("rb") as file:
                client.upload_fileobj(file, self.bucket, key)

        self._ask(name, put)

    def download(self, name: str, path: Path) -> None:
        """See `ObjectStore.download`."""
        key = self._key(name)

        def get(client: Any) -> None:
            with finished_file(path) as file:
                client.download_fileobj(self.bucket, key, file)

        self._ask(name, get)

    def _key(self, name: str) -> str:
        return key_of(name, self.prefix)

    def _read(self, client: Any, key: str, name: str, most: int | None) -> bytes:
        for attempt in range(1, _READS + 1):
            try:
                answer = genuine(client.get_object(Bucket=self.bucket, Key=key), "ETag")
                size = answer["ContentLength"]
                if most is not None and size > most:
                    answer["Body"].close()
                    raise too_large(subject_of(name, self.url), size)
                data: bytes = answer["Body"].read()
                return data
            except _BROKEN_BODY:
                # boto3 retries requests, but not reading a response's body.
                if attempt == _READS:
                    raise
        raise AssertionError

    def _attempt(self, client: Any, key: str) -> str | None:
        """The token of the `create` call that wrote the object."""
        try:
            head = client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if is_missing(error):
                return None
            raise
        found: str | None = head["Metadata"].get("attempt")
        return found

    def _ask(self, name: str, ask: Callable[[Any], Answer]) -> Answer:
        """The answer to a request about an object ("": the store), after retries.

        Raises:
            UnlearnRayError: botocore's error, translated.
        """
        begun, tries = time.monotonic(), 0
        while True:
            opened, used = None, None
            try:
                opened = self._connection.opened()
                used = opened.keys()
                answer = ask(opened.client)
            except FOREIGN as error:
                tries += 1
                found = failure(error, self._request(name, opened))
                if isinstance(error, ClientError) and found.patience not in AWAY:
                    self._outages.answered()
                if self._goes_on(found, used, begun, tries):
                    continue
                # Its text may contain what was signed.
                raise found.problem from None
            self._outages.answered()
            self._accepted = True
            return answer

    def _goes_on(self, found: Failure, used: Keys | None, begun: float, tries: int) -> bool:
        """Whether to retry, after waiting where that may help."""
        patience = found.patience
        if patience in (Patience.NEW_KEYS, Patience.OTHER_KEYS):
            # A source that returns new credentials each time must not be asked forever.
            if used is not None and tries <= 2 and self._connection.renew(used):
                return True
            waits = self._accepted and not self._connection.is_fixed
            return patience is Patience.NEW_KEYS and waits and self._await_keys(used, begun)
        return self._outages.waits_out(patience, begun, tries, found.problem.reason)

    def _await_keys(self, used: Keys | None, begun: float) -> bool:
        """Wait for credentials other than `used`; False if none come in time."""
        _log.warning("store %s: credentials refused; waiting for new ones", self.url)
        while time.monotonic() - begun < _ROTATION_SECONDS:
            time.sleep(_ROTATION_PAUSE)
            if self._connection.renew(used):
                return True
        return False

    def _request(self, name: str, opened: Opened | None) -> Request:
        subject = subject_of(name, self.url)
        if opened is None:
            return Request(subject, self.bucket, self.endpoint or "", self.region or "")
        return Request(subject, self.bucket, opened.endpoint, opened.region)

    def _attempt_failed(self, response: Any, raised: Any, operation: Any) -> None:
        """End a request at once that botocore would retry in vain."""
        if isinstance(raised, BotoCoreError):
            patience = failure(raised, self._request("", None)).patience
            waits = patience is Patience.IF_KNOWN or (
                patience is Patience.IF_MET and self._outages.met
            )
            if not waits:
                raise raised
        elif response is not None:
            http, parsed = response
            number = str(parsed.get("Error", {}).get("Code", ""))
            # botocore follows redirects to other regions, and those of a web server forever.
            if number in ("301", "302", "307") and "x-amz-bucket-region" not in http.headers:
                raise ClientError(parsed, operation.name)
