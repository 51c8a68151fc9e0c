"""A real S3 server on loopback: OpenStack Swift's S3 API, one replica.

It runs in an environment of its own (swift.txt), since it is no dependency of the package.
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
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Self

import boto3

REGION = "us-east-1"
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
location = {region}
max_bucket_listing = {page}
[filter:tempauth]
use = egg:swift#tempauth
user_{account}_{user} = {secret} .admin
[filter:cache]
paste.filter_factory = s3_filter:cache_factory
[filter:lock]
paste.filter_factory = s3_filter:lock_factory
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
"""
_STOCK = [
    "catch_errors",
    "gatekeeper",
    "healthcheck",
    "listing_formats",
    "bulk",
    "copy",
    "slo",
    "dlo",
    "symlink",
]

_SWIFT_CONF = """\
[swift-hash]
swift_hash_path_prefix = unlearn_ray
swift_hash_path_suffix = unlearn_ray
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


@dataclass(frozen=True)
class Credentials:
    """Of the server's one user.

    Attributes:
        access_key: `account:user`.
        secret_key: without white space.
    """

    access_key: str
    secret_key: str = field(repr=False)


class S3Server:
    """Four processes that serve one folder; a context manager.

    Args:
        folder: the data and the logs, on a file system with user extended attributes; none but
            its owner may look into it.
        environment: a virtual environment with swift.txt installed.
        credentials: as before, if the folder holds data.
        port: where it listens on loopback; None is any free one.
        page: names in one page of a listing.
    """

    def __init__(
        self,
        folder: Path,
        environment: Path,
        credentials: Credentials,
        port: int | None = None,
        page: int = 1000,
    ) -> None:
        self.folder = folder
        self.python = environment.absolute() / "bin" / "python"
        self.credentials = credentials
        proxy, *backends = free_ports(4)
        names = ("proxy", "account", "container", "object")
        self.ports = dict(zip(names, (port or proxy, *backends), strict=True))
        self.endpoint = f"http://127.0.0.1:{self.ports['proxy']}"
        self._page = page
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._configure()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start on whatever data the folder holds, and wait until requests are answered.

        Raises:
            RuntimeError: it does not start; with the end of its log.
        """
        for name in self.ports:
            with (self.folder / f"{name}.log").open("ab") as log:
                self._processes[name] = self._spawn(name, log)
        deadline = time.monotonic() + START_SECONDS
        for name, port in self.ports.items():
            while not listens(port):
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

    @property
    def running(self) -> bool:
        """Whether all its processes live."""
        return all(process.poll() is None for process in self._processes.values())

    @cached_property
    def client(self) -> Any:
        """A boto3 client with this server's credentials."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.credentials.access_key,
            aws_secret_access_key=self.credentials.secret_key,
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
            preexec_fn=end_with_parent(signal.SIGKILL),
        )

    def _configure(self) -> None:
        etc, data = self.folder / "etc", self.folder / "data"
        self.folder.mkdir(parents=True, exist_ok=True)
        # The secret key stands in the proxy's configuration.
        self.folder.chmod(0o700)
        etc.mkdir(exist_ok=True)
        (data / "d1").mkdir(parents=True, exist_ok=True)
        (etc / "swift.conf").write_text(_SWIFT_CONF)
        user = pwd.getpwuid(os.getuid()).pw_name
        for name, port in self.ports.items():
            text = _DEFAULT.format(port=port, user=user, etc=etc)
            text += self._proxy() if name == "proxy" else _BACKEND.format(data=data, name=name)
            (etc / f"{name}-server.conf").write_text(text)
        rings = [f"{name}={port}" for name, port in self.ports.items() if name != "proxy"]
        subprocess.run([str(self.python), "-c", _RINGS, str(etc), *rings], check=True)

    def _proxy(self) -> str:
        account, user = self.credentials.access_key.split(":")
        text = _PROXY.format(
            region=REGION,
            page=self._page,
            account=account,
            user=user,
            secret=self.credentials.secret_key,
        )
        return text + "".join(f"[filter:{each}]\nuse = egg:swift#{each}\n" for each in _STOCK)


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nothing listens at now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def listens(port: int) -> bool:
    """Whether something accepts connections at a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end_with_parent(how: signal.Signals) -> Any:
    """A preexec_fn: the child gets this signal when its parent dies, which cannot tidy up then.

    None where the system has no such thing (not Linux).
    """
    if sys.platform != "linux":
        return None

    def ask() -> None:
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, how)

    return ask
