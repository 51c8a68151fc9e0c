"""Leases between machines whose clocks differ: real processes, a real S3 server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.s3_server import S3Server

APART = timedelta(minutes=10)
LEASE_SECONDS = 2.0

# Whatever asks for the time, in leases or where requests are signed, is told another one.
_MACHINE = """
import datetime, sys, time

APART = datetime.timedelta(seconds=float(sys.argv[3]))
read_clock = time.time
time.time = lambda: read_clock() + APART.total_seconds()

class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + APART

datetime.datetime = Shifted

import json
from unlearn_ray.core.errors import LeaseLost
from unlearn_ray.storage.store import Work, open_store

def say(**what):
    print(json.dumps(what), flush=True)

store = open_store(sys.argv[1], lease_seconds=float(sys.argv[2]))
store.objects._connection.opened().client.meta.events.register(
    "before-send.s3", lambda request, **_: signed.append(request.headers["X-Amz-Date"])
)
signed = []
for command in sys.stdin:
    if command == "take\\n":
        while (lease := store.lease("step", Work("unlearn"))) is None:
            time.sleep(0.05)
        say(generation=lease.generation, at=time.monotonic(), signed=signed[-1].decode())
    elif command == "hold\\n":
        time.sleep(1.5 * float(sys.argv[2]))
        say(at=time.monotonic())
        lease.check()
        lease.release()
    else:
        try:
            lease.check()
            say(lost="")
        except LeaseLost as error:
            say(lost=str(error))
"""


@dataclass
class Machine:
    """A process with a clock of its own."""

    process: subprocess.Popen[str]

    def ask(self, *commands: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.writelines(f"{command}\n" for command in commands)
        self.process.stdin.flush()

    def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture
def machines(s3_server: S3Server) -> Iterator[tuple[Machine, Machine]]:
    url = s3_server.store_url("prefix")
    started = []
    for ahead in (timedelta(0), APART):
        arguments = [url, str(LEASE_SECONDS), str(ahead.total_seconds())]
        process = subprocess.Popen(
            [sys.executable, "-c", _MACHINE, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(Machine(process))
    yield started[0], started[1]
    for machine in started:
        machine.process.kill()
        machine.process.communicate()


def when(signed: str) -> datetime:
    return datetime.strptime(signed, "%Y%m%dT%H%M%SZ")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("first", [0, 1])
def test_a_heartbeat_is_a_sign_of_life(first: int, machines: tuple[Machine, Machine]) -> None:
    """The holder keeps the lease for longer than it lasts; the other asks all along."""
    holder, other = machines[first], machines[1 - first]
    holder.ask("take", "hold")
    taken = holder.told()
    other.ask("take", "check")
    given_back, taken_next = holder.told(), other.told()
    assert (taken["generation"], taken_next["generation"]) == (1, 2)
    assert taken_next["at"] >= given_back["at"]
    assert other.told()["lost"] == ""
    # Both clocks were believed, by the server too.
    apart = abs(when(taken["signed"]) - when(taken_next["signed"]))
    assert abs(apart - APART) < timedelta(minutes=1)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("first", [0, 1])
def test_one_that_stands_still_is_replaced_and_told(
    first: int, machines: tuple[Machine, Machine]
) -> None:
    holder, other = machines[first], machines[1 - first]
    holder.ask("take")
    assert holder.told()["generation"] == 1
    other.ask("take")
    holder.process.send_signal(signal.SIGSTOP)
    assert other.told()["generation"] == 2
    holder.process.send_signal(signal.SIGCONT)
    holder.ask("check")
    assert "lease of step: " in holder.told()["lost"]
    other.ask("check")
    assert other.told()["lost"] == ""
