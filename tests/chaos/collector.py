"""`gc`, as cron runs it beside a sweep: in a process of its own, which may be killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

from tests.s3_server import ROOT
from unlearn_ray.core.errors import MissingObject
from unlearn_ray.storage.store import Store
from unlearn_ray.storage.tensors import MODEL

KEEP = "reporting"
KILLED = 3
SECONDS = 300


class Collector:
    """A process that removes what nothing kept needs.

    Args:
        url: of the store.
        environment: variables beside this process's own.
    """

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "unlearn_ray.results", url, "gc", "--keep", KEEP],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
        )

    def kill(self) -> str:
        """kill -9, unless it has ended; what it has said."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        return self.process.communicate()[1]

    def ends(self, seconds: float) -> str | None:
        """What it has said when it ends in this time; None if it was killed then."""
        try:
            return self.process.communicate(timeout=seconds)[1]
        except subprocess.TimeoutExpired:
            self.kill()
            return None


def collected(url: str, direct: Store, environment: Mapping[str, str], seed: int) -> list[str]:
    """Collect the store of a finished sweep, killed at random moments and then to the end.

    Args:
        url: of the store, perhaps behind a proxy.
        direct: the same store, for a look at what is left.
        environment: variables beside this process's own.
        seed: draws the moments.

    Returns:
        What is wrong with what is left.
    """
    generator = random.Random(seed)
    for _ in range(KILLED):
        Collector(url, environment).ends(generator.uniform(1, 8))
    last = Collector(url, environment)
    said = last.ends(SECONDS)
    if last.process.returncode != 0:
        return [f"gc ended with {last.process.returncode}: {said}"]
    return left_wrong(direct)


def left_wrong(store: Store) -> list[str]:
    """Artifacts that should be there and are not, and the other way round."""
    wrong = []
    for key, kind in store.kinds().items():
        record = store.record(kind, key)
        assert record is not None
        of_tuning = "/tuning-" in record.row and kind == "unlearn"
        for file in record.files:
            goes = of_tuning and file == MODEL
            try:
                store.read_artifact(record, file)
            except MissingObject as error:
                wrong += [] if goes else [f"collected: {error}"]
            else:
                wrong += [f"not collected: {kind} {key}"] if goes else []
    return wrong
