"""A sweep on which blows fall: what dies when is drawn from a seed."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.chaos.cluster import TRIALS, WORKERS, LocalCluster, Node
from tests.chaos.collector import Collector
from tests.chaos.proxy import FaultyProxy
from tests.s3_server import S3Server
from tests.scheduling.sweeps import Driver

KINDS = ("worker", "trial", "node", "driver", "server", "network", "gc")
# Beyond one of each kind.
MORE_BLOWS = 3
# How many times longer than other things last a process that collects may run.
COLLECTING = 4
# How often each driver may be started again, after it was killed or gave up.
RESTARTS = 10
# How many times longer than an undisturbed run it may take.
PATIENCE = 8


class Failed(Exception):
    """The sweep did not come to its end."""


@dataclass(frozen=True)
class Blow:
    """One thing that breaks.

    Attributes:
        kind: of `KINDS`.
        after: time since the blow before, as a share of what an undisturbed run takes.
        lasts: seconds until a node, the server or the network is back.
        choice: which of the workers or nodes, in [0, 1).
    """

    kind: str
    after: float
    lasts: float
    choice: float

    def __str__(self) -> str:
        return f"{self.kind} +{self.after:.2f}"


def schedule(seed: int) -> list[Blow]:
    """Every kind once and a few more, in random order at random times."""
    generator = random.Random(seed)
    kinds = [*KINDS, *generator.choices(KINDS, k=MORE_BLOWS)]
    generator.shuffle(kinds)
    return [
        Blow(kind, generator.uniform(0.02, 0.12), generator.uniform(1, 5), generator.random())
        for kind in kinds
    ]


class Disturbed:
    """A sweep while blows fall on it; a context manager that leaves no process behind.

    Args:
        start: starts a driver.
        drivers: how many of them there are at a time.
        blows: what falls on it, in order.
        cluster: where it runs.
        server: its store.
        proxy: between them.
        seconds: what an undisturbed run takes.
        collect: starts a process that removes what nothing needs, and is killed after a while.

    Attributes:
        exits: the drivers' exit statuses so far.
        fallen: the kinds of the blows that fell.
    """

    def __init__(
        self,
        start: Callable[[], Driver],
        drivers: int,
        blows: list[Blow],
        cluster: LocalCluster,
        server: S3Server,
        proxy: FaultyProxy,
        seconds: float,
        collect: Callable[[], Collector],
    ) -> None:
        self.exits: list[int] = []
        self.fallen: list[str] = []
        self._blows = list(blows)
        self._start = start
        self._cluster = cluster
        self._server = server
        self._proxy = proxy
        self._seconds = seconds
        self._collect = collect
        self._begun = time.monotonic()
        # When what a blow took away comes back, and how, by the kind of the blow.
        self._returns: dict[str, tuple[float, Callable[[], None]]] = {}
        self._drivers = [start() for _ in range(drivers)]

    def __enter__(self) -> Disturbed:
        return self

    def __exit__(self, *exception: object) -> None:
        for driver in self._drivers:
            driver.__exit__()
        if "gc" in self._returns:
            self._returns["gc"][1]()

    def run(self) -> list[str]:
        """Run to the end, whatever happens; returns what each of the last drivers printed.

        Raises:
            Failed: the drivers gave up too often, or took too long.
        """
        last = time.monotonic()
        while not self._ended():
            self._bring_back(time.monotonic())
            if self._is_due(last) and self._falls():
                last = time.monotonic()
            if time.monotonic() - self._begun > PATIENCE * self._seconds:
                told = "".join(driver.told() for driver in self._drivers)
                raise Failed(f"not done after {PATIENCE} undisturbed runs{told}")
            time.sleep(0.05)
        self._bring_back(math.inf)
        return [driver.out for driver in self._drivers]

    def _is_due(self, last: float) -> bool:
        """Whether the next blow shall fall, if the one before fell then."""
        if not self._blows:
            return False
        return time.monotonic() > last + self._seconds * self._blows[0].after

    def _falls(self) -> bool:
        """Whether a blow fell: the first of those left that has something to hit."""
        for blow in self._blows:
            if self._strike(blow):
                self._blows.remove(blow)
                self.fallen.append(blow.kind)
                return True
        return False

    def _ended(self) -> bool:
        """Whether every driver has ended well; any other is started again."""
        for place, driver in enumerate(self._drivers):
            status = driver.process.poll()
            if status is None or status == 0:
                continue
            self.exits.append(status)
            last = driver.err.strip().rpartition("\n")[2]
            self._say(f"a driver ended: {status} {last if status > 0 else ''}")
            if len(self.exits) > RESTARTS * len(self._drivers):
                raise Failed(f"{RESTARTS} restarts of each were not enough{driver.told()}")
            driver.__exit__()
            self._drivers[place] = self._start()
        return all(driver.process.poll() == 0 for driver in self._drivers)

    def _strike(self, blow: Blow) -> bool:
        """Let a blow fall; False while there is nothing that it could hit."""
        if blow.kind in self._returns:
            return False
        what = {
            "worker": partial(self._kill_one, WORKERS),
            "trial": partial(self._kill_one, TRIALS),
            "node": self._lose_node,
            "driver": self._kill_driver,
            "server": self._kill_server,
            "network": self._cut_network,
            "gc": self._start_collector,
        }[blow.kind](blow)
        if what:
            self._say(f"{blow.kind} lost: {what}")
        return bool(what)

    def _bring_back(self, now: float) -> None:
        for kind, (when, bring) in list(self._returns.items()):
            if now >= when:
                del self._returns[kind]
                bring()
                self._say(f"{kind} is back")

    def _returns_after(self, blow: Blow, bring: Callable[[], None]) -> None:
        self._returns[blow.kind] = (time.monotonic() + blow.lasts, bring)

    def _kill_one(self, titles: tuple[str, ...], blow: Blow) -> str:
        workers = sorted(self._cluster.workers(titles).items())
        if not workers:
            return ""
        pid, title = workers[int(blow.choice * len(workers))]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return title

    def _lose_node(self, blow: Blow) -> str:
        nodes = self._cluster.nodes
        node: Node = nodes[int(blow.choice * len(nodes))]
        ran = ", ".join(node.workers().values()) or "idle"
        self._cluster.lose_node(node)
        self._returns_after(blow, self._cluster.add_node)
        return f"for {blow.lasts:.1f} s, it ran {ran}"

    def _kill_driver(self, blow: Blow) -> str:
        running = [driver for driver in self._drivers if driver.process.poll() is None]
        if not running:
            return ""
        driver = running[int(blow.choice * len(running))]
        age = time.monotonic() - driver.started
        driver.kill()
        return f"after {age:.1f} s"

    def _kill_server(self, blow: Blow) -> str:
        self._server.kill()
        self._returns_after(blow, self._server.start)
        return f"for {blow.lasts:.1f} s"

    def _cut_network(self, blow: Blow) -> str:
        self._proxy.refuse()
        self._returns_after(blow, self._proxy.listen)
        return f"for {blow.lasts:.1f} s"

    def _start_collector(self, blow: Blow) -> str:
        # It imports for seconds before it begins.
        collector = self._collect()
        when = time.monotonic() + COLLECTING * blow.lasts
        self._returns[blow.kind] = (when, lambda: self._say(f"gc said {collector.kill()!r}"))
        return f"killed after {COLLECTING * blow.lasts:.1f} s"

    def _say(self, what: str) -> None:
        print(f"  {time.monotonic() - self._begun:6.1f} s  {what}", flush=True)
