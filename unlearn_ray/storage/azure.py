"""`AzureContainer`: objects in a container of Azure Blob Storage, by obstore.

Credentials come from obstore's usual chain: AZURE_STORAGE_ACCOUNT_KEY, a SAS token, a service
principal, a workload's or machine's identity. obstore obtains new tokens before old ones expire.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlencode

from unlearn_ray.core.errors import MachineError
from unlearn_ray.storage.azure_errors import FOREIGN, exists, failure, is_missing, status
from unlearn_ray.storage.failures import Request
from unlearn_ray.storage.local import finished_file
from unlearn_ray.storage.objects import THREADS, Entry, is_name, key_of, subject_of, too_large
from unlearn_ray.storage.outages import AWAY, Outages

# Blocks of a large object; each is a request.
_PART = 8 << 20
_ONE_REQUEST = 5 << 20
# As of S3: a server that does not answer fails after a few seconds, and is then waited for.
_CLIENT = {"connect_timeout": "2s", "read_timeout": "30s", "timeout": "24h"}
_RETRIES = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=200),
        "max_backoff": timedelta(seconds=4),
        "base": 2,
    },
}

Answer = TypeVar("Answer")


class AzureContainer:
    """An `ObjectStore` under a prefix of a container.

    Args:
        container: its name; it must exist.
        prefix: of all object names; "" is the whole container.
        account: name of the storage account; null: AZURE_STORAGE_ACCOUNT_NAME names it.
        endpoint: http(s)://host of another server than the account's own, with its path.
        known: as of `S3Bucket`.

    Raises:
        MachineError: obstore is not installed.
    """

    def __init__(
        self,
        container: str,
        prefix: str,
        account: str | None = None,
        endpoint: str | None = None,
        *,
        known: bool = False,
    ) -> None:
        self.container = container
        self.prefix = prefix.strip("/")
        self.account = account
        self.endpoint = endpoint
        self._obstore = _obstore()
        self._outages = Outages(f"store {self.url}", known=known)
        self._opened: Any = None

    def __reduce__(self) -> tuple[Callable[..., AzureContainer], tuple[Any, ...]]:
        make = partial(AzureContainer, known=self._outages.known)
        return make, (self.container, self.prefix, self.account, self.endpoint)

    @property
    def url(self) -> str:
        """az://container/prefix?account=...&endpoint=..."""
        given = {"account": self.account, "endpoint": self.endpoint}
        query = urlencode({key: value for key, value in given.items() if value}, safe=":/[]")
        return f"az://{self.container}/{self.prefix}" + (f"?{query}" if query else "")

    def check_exists(self) -> None:
        """Raise StoreUnreachable unless the container can be listed."""

        def list_one(store: Any) -> None:
            next(iter(self._obstore.list(store, prefix=self.prefix or None)), None)

        self._ask("", list_one)

    def read(self, name: str, most: int | None = None) -> bytes:
        """See `ObjectStore.read`."""
        key = self._key(name)

        def get(store: Any) -> bytes:
            answer = self._obstore.get(store, key)
            size = answer.meta["size"]
            if most is not None and size > most:
                raise too_large(subject_of(name, self.url), size)
            return bytes(answer.bytes())

        return self._ask(name, get)

    def write(self, name: str, data: bytes) -> None:
        """See `ObjectStore.write`; a large object is sent in blocks, concurrently."""
        self._put(name, data, in_parts=len(data) > _ONE_REQUEST)

    def create(self, name: str, data: bytes) -> bool:
        """See `ObjectStore.create`.

        A PUT that is repeated after a lost answer may find its own object; the object's metadata
        show who wrote it.
        """
        key, attempt = self._key(name), uuid.uuid4().hex

        def put(store: Any) -> bool:
            try:
                self._obstore.put(
                    store,
                    key,
                    data,
                    mode="create",
                    use_multipart=False,
                    attributes={"attempt": attempt},
                )
            except FOREIGN as error:
                if not exists(error):
                    raise
                return self._attempt(store, key) == attempt
            return True

        return self._ask(name, put)

    def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        key = self._key(name)

        def delete(store: Any) -> None:
            try:
                self._obstore.delete(store, key)
            except FOREIGN as error:
                if not is_missing(error):
                    raise

        self._ask(name, delete)

    def delete_all(self, names: Sequence[str]) -> None:
        """See `ObjectStore.delete_all`: one request each."""
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self.delete, names))

    def names(self, prefix: str) -> list[str]:
        """See `ObjectStore.names`."""
        return [entry.name for entry in self.entries(prefix)]

    def entries(self, prefix: str) -> list[Entry]:
        """See `ObjectStore.entries`."""
        top = self._key("")
        # obstore lists folders; the rest of the prefix is compared here.
        folder = (top + prefix).rpartition("/")[0]

        def listed(store: Any) -> Iterator[Entry]:
            for page in self._obstore.list(store, prefix=folder or None):
                for each in page:
                    name = each["path"].removeprefix(top)
                    yield Entry(name, each["size"], each["last_modified"].timestamp())

        found = self._ask("", lambda store: [*listed(store)])
        # obstore strips the slash of a folder's marker.
        folders = {parent for each in found for parent in _parents(each.name)}
        kept = (
            each
            for each in found
            if each.name.startswith(prefix)
            and is_name(each.name)
            and (each.size or each.name not in folders)
        )
        return sorted(kept, key=lambda entry: entry.name)

    def remove_unfinished(self, age: float, now: float) -> int:
        """Nothing: Azure removes blocks that were never put together, after a week."""
        return 0

    def upload(self, name: str, path: Path) -> None:
        """See `ObjectStore.upload`."""
        with path.open("rb") as file:
            self._put(name, file, in_parts=True)

    def download(self, name: str, path: Path) -> None:
        """See `ObjectStore.download`."""
        key = self._key(name)

        def get(store: Any) -> None:
            answer = self._obstore.get(store, key)
            with finished_file(path) as file:
                for chunk in answer.stream(min_chunk_size=_PART):
                    file.write(chunk)

        self._ask(name, get)

    def _key(self, name: str) -> str:
        return key_of(name, self.prefix)

    def _put(self, name: str, content: bytes | BinaryIO, *, in_parts: bool) -> None:
        key = self._key(name)

        def put(store: Any) -> None:
            if not isinstance(content, bytes):
                content.seek(0)  # it may be another try
            self._obstore.put(store, key, content, use_multipart=in_parts, chunk_size=_PART)

        self._ask(name, put)

    def _attempt(self, store: Any, key: str) -> str | None:
        """The token of the `create` call that wrote the object."""
        try:
            answer = self._obstore.get(store, key, options={"head": True})
        except FOREIGN as error:
            if is_missing(error):
                return None
            raise
        found: str | None = answer.attributes.get("attempt")
        return found

    def _ask(self, name: str, ask: Callable[[Any], Answer]) -> Answer:
        """The answer to a request about an object ("": the store), after retries.

        Raises:
            UnlearnRayError: obstore's error, translated.
        """
        begun, tries = time.monotonic(), 0
        while True:
            try:
                answer = ask(self._store())
            except FOREIGN as error:
                tries += 1
                request = Request(subject_of(name, self.url), self.container, self._endpoint)
                found = failure(error, request)
                if status(error) and found.patience not in AWAY:
                    self._outages.answered()
                reason = found.problem.reason
                if self._outages.waits_out(found.patience, begun, tries, reason):
                    continue
                # Its text holds the server's, which may contain what was signed.
                raise found.problem from None
            self._outages.answered()
            return answer

    @property
    def _endpoint(self) -> str:
        account = self.account or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
        named = os.environ.get("AZURE_STORAGE_ENDPOINT") or os.environ.get("AZURE_ENDPOINT")
        own = f"https://{account}.blob.core.windows.net" if account else ""
        return self.endpoint or named or own

    def _store(self) -> Any:
        """obstore's; thread-safe."""
        if self._opened is None:
            given = {"account_name": self.account, "endpoint": self.endpoint}
            insecure = self._endpoint.startswith("http://")
            self._opened = self._obstore.store.AzureStore(
                self.container,
                client_options={**_CLIENT, "allow_http": insecure},
                retry_config=_RETRIES,
                **{name: value for name, value in given.items() if value},
            )
        return self._opened


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))


def _obstore() -> Any:
    try:
        import obstore
    except ImportError as error:
        raise MachineError(
            "a store at az://", "obstore is not installed", "pip install 'unlearn_ray[azure]'"
        ) from error
    return obstore
