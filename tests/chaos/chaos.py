"""Kills a sweep's workers, nodes, drivers, S3 server and network, and runs it to its end.

python -m tests.chaos.chaos --seeds 0-19     one run per seed, which draws what dies when

One of the blows is a `gc` that is killed after a while. In the end it is run again, killed at
random moments and then to its end: what the table needs is there, and the trials' models are not.

All requests to the store go through a proxy that loses, delays and refuses some of them all the
time. Several drivers run the sweep at once; each is started again with the same command whenever
it was killed or gave up. In the end rows, weights and every driver's table are those of one driver
that nobody disturbed, nothing that was complete was run again, and the store holds what its server
acknowledged.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.chaos.evidence import History
from tests.chaos.proxy import FaultyProxy, Rates
from tests.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from tests.scheduling.sweeps import SWEEP, Driver, rows, table, weights, write_sweep
from unlearn_ray.storage.store import open_store

RATES = Rates(
    cut_request=0.02,
    cut_answer=0.02,
    lose_answer=0.02,
    slow_down=0.02,
    fail_after=0.02,
    delay=0.05,
    delay_seconds=1.0,
)
NODES = 2
DRIVERS = 2
PREFIX = "chaos"
# Pretraining lasts long enough to be hit, and saves every two seconds.
CHANGES: dict[str, Any] = {
    "training": {**SWEEP["training"], "epochs": 40},
    "seeds": {"tuning": [0, 2], "reporting": [1]},
    "checkpoint_minutes": 0.03,
}
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_DEFAULT_REGION": REGION,
    # A developer's own profile must not reach the sweep.
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
}


@dataclass(frozen=True)
class Result:
    """What a sweep left and printed, without what differs between two runs of the same."""

    rows: list[dict[str, Any]]
    weights: dict[str, str]
    table: list[str]

    @staticmethod
    def of(store: str, out: str) -> Result:
        """That of a finished sweep."""
        return Result(rows(store), weights(store), table(out))

    def differences(self, expected: Result) -> list[str]:
        """The names of the parts that are not those of `expected`."""
        mine, others = vars(self), vars(expected)
        return [f"other {name}" for name in mine if mine[name] != others[name]]


@dataclass
class Verdict:
    """How a seed's run ended.

    Attributes:
        wrong: what was found wrong; nothing if all is well.
        exits: of drivers that did not end well, in order.
        blows: the kinds of those that fell before the end.
        faults: of the network, counted.
        uploads: trainings whose artifact was uploaded more than once.
    """

    wrong: list[str] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    blows: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    uploads: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        found = "; ".join(self.wrong) or "as undisturbed"
        return (
            f"{'FAILED' if self.wrong else 'ok'}: {found}; {len(self.blows)} blows;"
            f" exits {self.exits}; {self.faults.total()} faults {dict(self.faults)};"
            f" uploaded more than once: {self.uploads or 'nothing'}"
        )


def undisturbed(folder: Path) -> tuple[Result, float]:
    """The sweep on a cluster of its own, with a folder as its store; and its seconds."""
    folder.mkdir(parents=True)
    store = str(folder / "store")
    with Driver(write_sweep(folder, **CHANGES), store, environment=ENVIRONMENT) as driver:
        out = driver.ends(0).out
        return Result.of(store, out), time.monotonic() - driver.started


def run_seed(seed: int, folder: Path, expected: Result, seconds: float) -> Verdict:
    """One disturbed run in a new folder.

    Args:
        seed: of everything that is drawn.
        folder: for the store, logs and the sweep file.
        expected: what the undisturbed run left.
        seconds: what it took.
    """
    from tests.chaos.blows import KINDS, Disturbed, Failed, schedule
    from tests.chaos.cluster import LocalCluster
    from tests.chaos.collector import Collector, collected

    folder.mkdir(parents=True)
    file, verdict = write_sweep(folder, **CHANGES), Verdict()
    outs: list[str] = []
    with (
        S3Server(folder / "server") as server,
        FaultyProxy(server.ports["proxy"], RATES, seed) as proxy,
        LocalCluster(NODES) as cluster,
    ):
        direct = server.store_url(PREFIX)
        url = direct.replace(server.endpoint, proxy.endpoint)

        def start() -> Driver:
            return Driver(file, url, "--address", cluster.address, environment=ENVIRONMENT)

        def collect() -> Collector:
            return Collector(url, ENVIRONMENT)

        blows = schedule(seed)
        with Disturbed(
            start, DRIVERS, blows, cluster, server, proxy, seconds, collect
        ) as disturbed:
            try:
                outs = disturbed.run()
            except Failed as failed:
                verdict.wrong.append(str(failed))
            verdict.exits = disturbed.exits
            verdict.blows = disturbed.fallen
            verdict.wrong += [f"no {kind} was lost" for kind in {*KINDS} - {*disturbed.fallen}]
        if outs:
            for out in outs:
                verdict.wrong += Result.of(direct, out).differences(expected)
            left = open_store(direct).objects.names("checkpoints/")
            verdict.wrong += [f"left: {name}" for name in left]
            verdict.wrong += collected(url, open_store(direct), ENVIRONMENT, seed)
            for out in outs:
                verdict.wrong += Result.of(direct, out).differences(expected)
        history = History(urlsplit(direct).netloc, f"{PREFIX}/", proxy.exchanges)
        verdict.wrong += [f"lost: {each}" for each in history.lost(server.client)]
        verdict.wrong += [f"run again: {each}" for each in history.run_again()]
        verdict.uploads, verdict.faults = history.uploads(), proxy.faults
    return verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 0 if every seed's run ended as the undisturbed one."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.chaos", description=__doc__)
    parser.add_argument("--seeds", type=_seeds, required=True, metavar="N or N-M")
    parser.add_argument("--folder", type=Path, help="a new one for logs and stores, to be kept")
    options = parser.parse_args(arguments)
    os.environ.update(ENVIRONMENT)  # Ray reads it while it is imported
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        expected = undisturbed(folder / "undisturbed")
        print(f"undisturbed: {expected[1]:.0f} s", flush=True)
        good = [_report(seed, folder / f"seed-{seed}", *expected) for seed in options.seeds]
    print(f"{sum(good)} of {len(good)} seeds ended as the undisturbed run")
    return 0 if all(good) else 1


def _report(seed: int, folder: Path, expected: Result, seconds: float) -> bool:
    from tests.chaos.blows import schedule

    began = time.monotonic()
    print(f"seed {seed}: {', '.join(map(str, schedule(seed)))}", flush=True)
    verdict = run_seed(seed, folder, expected, seconds)
    print(f"seed {seed}: {time.monotonic() - began:.0f} s, {verdict}", flush=True)
    return not verdict.wrong


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


if __name__ == "__main__":
    sys.exit(main())
