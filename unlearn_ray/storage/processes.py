"""Identity of a process, by which others on the same machine can tell that it died."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from unlearn_ray.storage.stored import stored

_PROC = Path("/proc")


@stored
class ProcessIdentity:
    """A process, distinguishable from a later one with the same PID.

    Attributes:
        host: its machine's name.
        pid: its PID.
        machine: the machine's boot and PID namespace; "" where the system does not tell (not
            Linux).
        started: clock ticks from boot to its start; "" likewise.
    """

    host: str
    pid: Annotated[int, Field(gt=0, lt=2**31)]
    machine: str
    started: str

    @staticmethod
    def here() -> ProcessIdentity:
        """This process."""
        started, _ = _start_and_state(os.getpid())
        return ProcessIdentity(socket.gethostname(), os.getpid(), _machine(), started)

    def is_dead(self) -> bool:
        """Whether it ran on this machine and has ended; False if that is unknown."""
        same_machine = (self.host, self.machine) == (socket.gethostname(), _machine())
        if not same_machine or not self.machine or not self.started:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # another user's: it is alive
        started, state = _start_and_state(self.pid)
        return started not in ("", self.started) or state in ("Z", "X")


@cache
def _machine() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _start_and_state(pid: int) -> tuple[str, str]:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return "", ""
    # The second field, the program's name, may hold spaces and parentheses.
    after_name = text.rpartition(")")[2].split()
    return after_name[19], after_name[0]
