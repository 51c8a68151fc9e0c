"""Azurite, Microsoft's emulator of Azure Blob Storage; `make azure` installs it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import subprocess
import time
import urllib.parse
import urllib.request
import uuid
from email.utils import formatdate
from pathlib import Path
from typing import Self

__all__ = ["ACCOUNT", "KEY", "AzureServer", "ask"]

ROOT = Path(__file__).parent.parent
# Those of every emulator, in Microsoft's documentation.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class AzureServer:
    """Serves a folder, at a port that stays the same when it is started again.

    Args:
        folder: of its files.

    Raises:
        FileNotFoundError: it is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._program = _program()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Of the account."""
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self._program,
                    *("--location", str(self.folder), "--silent", "--skipApiVersionCheck"),
                    *("--blobHost", "127.0.0.1", "--blobPort", str(self.port)),
                ],
                stdout=log,
                stderr=log,
            )
        while self._process.poll() is None:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text())

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def store_url(self, prefix: str = "") -> str:
        """URL of a store in a new container."""
        name = f"container-{uuid.uuid4().hex[:12]}"
        ask("PUT", self.endpoint, name, restype="container")
        return f"az://{name}/{prefix}?account={ACCOUNT}&endpoint={self.endpoint}"


def ask(method: str, endpoint: str, name: str, data: bytes | None = None, **query: str) -> bytes:
    """The answer to a signed request: what a console or another tool may send.

    Args:
        method: of HTTP.
        endpoint: of the account.
        name: of a container, or CONTAINER/BLOB.
        data: that is sent.
        query: of the URL.
    """
    path = urllib.parse.quote(name)
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    if data is not None and not query:
        headers["x-ms-blob-type"] = "BlockBlob"
    kind = "" if data is None else "application/octet-stream"
    lines = [method, "", "", str(len(data)) if data else "", "", kind, *[""] * 6]
    lines += [f"{key}:{headers[key]}" for key in sorted(headers)]
    lines += [f"/{ACCOUNT}/{ACCOUNT}/{path}", *(f"{key}:{query[key]}" for key in sorted(query))]
    mac = hmac.new(base64.b64decode(KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(mac).decode()}"
    if kind:
        headers["Content-Type"] = kind
    url = f"{endpoint}/{path}?{urllib.parse.urlencode(query)}"
    request = urllib.request.Request(url, data, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request) as answer:
        body: bytes = answer.read()
        return body


def _program() -> list[str]:
    folder = Path(os.environ.get("UNLEARN_RAY_AZURITE", ROOT / ".venv-azurite"))
    main = folder / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    node = folder / "bin" / "node"
    if not main.exists() or not node.exists():
        raise FileNotFoundError(
            f"{folder}: no Azure server to test against; run `make azure`, or"
            " set UNLEARN_RAY_AZURITE to a folder with Azurite"
        )
    return [str(node), str(main)]
