"""A real S3 server on loopback for tests: OpenStack Swift's S3 API, one replica.

It lives in its own environment (`make s3`), since it is no dependency of the package.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import boto3

ROOT = Path(__file__).parent.parent
ACCESS_KEY = "test:tester"
SECRET_KEY = "testing"
REGION = "us-east-1"
# Names in one page of a listing: 1,000 on AWS, fewer here so that tests meet several pages.
PAGE = 100
START_SECONDS = 60

_DEFAULT = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {etc}
log_level = WARNING
"""

_BACKEND = """\
devices = {data}
mount_check = false
fallocate_reserve = 0
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
log_requests = false
network_chunk_size = 1048576
disk_chunk_size = 1048576
"""

_PROXY = """\
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk lock s3api tempauth \
copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
object_chunk_size = 1048576
client_chunk_size = 1048576
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
max_bucket_listing = {page}
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:cache]
paste.filter_factory = s3_filter:cache_factory
[filter:lock]
paste.filter_factory = s3_filter:lock_factory
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
"""
_STOCK = ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "copy", "slo")
_STOCK += ("dlo", "symlink")

_SWIFT_CONF = """\
[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests
[storage-policy:0]
name = default
default = yes
"""

_RINGS = """\
import sys
from swift.common.ring import RingBuilder
for argument in sys.argv[2:]:
    name, port = argument.split("=")
    builder = RingBuilder(4, 1, 0)
    where = {"ip": "127.0.0.1", "port": int(port), "device": "d1", "meta": ""}
    builder.add_dev({"region": 1, "zone": 1, "weight": 1.0, **where})
    builder.rebalance()
    builder.get_ring().save(f"{sys.argv[1]}/{name}.ring.gz")
"""


class S3Server:
    """Four processes that serve one folder; a context manager.

    Args:
        folder: a new folder, on a file system with user extended attributes.

    Raises:
        FileNotFoundError: the server is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = _environment() / "bin" / "python"
        names = ("proxy", "account", "container", "object")
        self.ports = dict(zip(names, _free_ports(len(names)), strict=True))
        self.endpoint = f"http://127.0.0.1:{self.ports['proxy']}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._configure()

    def __enter__(self) -> S3Server:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start on whatever data the folder holds, and wait until requests are answered."""
        for name in self.ports:
            with (self.folder / f"{name}.log").open("ab") as log:
                self._processes[name] = self._spawn(name, log)
        deadline = time.monotonic() + START_SECONDS
        for name, port in self.ports.items():
            while not _listens(port):
                if self._processes[name].poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    text = (self.folder / f"{name}.log").read_text()[-2000:]
                    raise RuntimeError(f"Swift's {name} server did not start:\n{text}")
                time.sleep(0.02)
        self.client.list_buckets()

    def stop(self) -> None:
        """End the processes; the data stays."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9 of every process, in the middle of whatever they do; the data stays."""
        self._end(signal.SIGKILL)

    def store_url(self, prefix: str = "") -> str:
        """URL of a store in a new bucket."""
        bucket = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=bucket)
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}"

    @cached_property
    def client(self) -> Any:
        """A boto3 client with this server's credentials."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def _end(self, how: signal.Signals) -> None:
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, how)
        for process in self._processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _spawn(self, name: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        program = self.python.parent / f"swift-{name}-server"
        return subprocess.Popen(
            [str(self.python), str(program), str(self.folder / "etc" / f"{name}-server.conf")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parent)},
            cwd=self.folder,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )

    def _configure(self) -> None:
        etc, data = self.folder / "etc", self.folder / "data"
        etc.mkdir(parents=True)
        (data / "d1").mkdir(parents=True)
        (etc / "swift.conf").write_text(_SWIFT_CONF)
        user = pwd.getpwuid(os.getuid()).pw_name
        for name, port in self.ports.items():
            text = _DEFAULT.format(port=port, user=user, etc=etc)
            if name == "proxy":
                stock = (f"[filter:{each}]\nuse = egg:swift#{each}\n" for each in _STOCK)
                text += _PROXY.format(page=PAGE) + "".join(stock)
            else:
                text += _BACKEND.format(data=data, name=name)
            (etc / f"{name}-server.conf").write_text(text)
        rings = [f"{name}={port}" for name, port in self.ports.items() if name != "proxy"]
        subprocess.run([str(self.python), "-c", _RINGS, str(etc), *rings], check=True)


def _environment() -> Path:
    folder = Path(os.environ.get("UNLEARN_RAY_S3_VENV", ROOT / ".venv-s3"))
    if not (folder / "bin" / "swift-proxy-server").exists():
        raise FileNotFoundError(
            f"{folder}: no S3 server to test against; run `make s3`, or set"
            " UNLEARN_RAY_S3_VENV to an environment with OpenStack Swift"
        )
    return folder.absolute()


def _free_ports(count: int) -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return iter([each.getsockname()[1] for each in sockets])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _die_with_parent() -> None:
    # A test run that is killed cannot tidy up.
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
