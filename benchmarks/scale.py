"""What the scheduler and the store do with thousands of trials on many nodes.

A sweep whose steps sleep (benchmarks/simulated.py) is run as any sweep is: by the driver, Tune
and Optuna, in trial processes, through leases, records, artifacts and rows in a real store. The
nodes are raylets of this machine. Beside it, in the same cluster and with the same sleep: bare
Ray tasks, and plain Tune with a trial that does nothing else.

Per trial slot a machine needs some 330 MB (a process with torch), and 130 MB per node (a raylet
and its agents): 64 nodes take 30 GB. Where that is not there, give fewer nodes. What is measured
of the driver and the store depends on the number of trials; wall times are those of this machine,
whose cores all nodes share.

Measured on two busy cores with 3 nodes, 2,000 trials of 4 studies, which ran 2.24 of 3 seeds each,
without any sleep:

                                    driver's CPU a trial    driver's memory
    the sweep: trials 6 to 1,000          19 ms             665 to 736 MB
               1,001 to 2,000             26 ms             736 to 826 MB
    bare Ray tasks                         1 ms
    plain Tune, reuse_actors               9 ms
    plain Tune, defaults                  34 ms

Requests to the store: 6.1 of a worker for each seed of a trial; of the driver one for a trial, and
those of the end, when it reads the rows that were not merged yet, at most 2,000. So a trial of one
seed takes 7 requests, of two 13, of three 19.

What grows with the number of trials: Tune's memory, up to 2,000 trials (`scheduling.rounds`); rows
while they are merged, 100 MB at 20,000; Optuna's trials, 20 MB at 10,000 of 10 studies; and the
sampler's time (2, 9 and 49 ms after 100, 1,000 and 5,000 trials of one study), by TPE's nature.

    python -m benchmarks.scale                                  # minutes
    python -m benchmarks.scale --trials 10000 --nodes 64
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEEDS = 3
REPORTED_AT = (0.1, 0.2, 0.5, 1.0)
SUGGESTED_AFTER = (100, 1000, 5000)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what each part of a large sweep costs."""
    options = _options(arguments)
    from unlearn_ray.scheduling.environment import prepare

    prepare(None)
    # Every raylet's agent would measure the whole machine every few seconds.
    os.environ.setdefault("RAY_enable_metrics_collection", "0")
    # All nodes share this machine's cores: it takes longer than on their own.
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "300")
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        requests = Path(folder) / "requests"
        requests.mkdir()
        os.environ["UNLEARN_RAY_BENCHMARK_REQUESTS"] = str(requests)
        with _nodes(options.nodes) as address:
            cost = _sweep(options, address, Path(folder))
            tune = _others(options, address, options.seconds * cost.seeds)
    _suggestions(options.told)
    print(f"  of {options.trials} trials, and what a sweep of 10,000 may take")
    print(f"    driver's memory, at most        {cost.megabytes:8.0f} MB    1000 MB")
    print(f"    requests to the store a trial   {cost.requests:8.2f}         10")
    print(f"    driver's CPU a trial            {1000 * cost.cpu:8.1f} ms")
    print(f"      more than plain Tune's        {1000 * (cost.cpu - tune):8.1f} ms      20 ms")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--trials", type=int, default=400, help="of all studies together")
    parser.add_argument("--nodes", type=int, default=4, help="each runs one trial at a time")
    parser.add_argument("--studies", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.1, help="sleep of each trial and seed")
    parser.add_argument("--told", type=int, nargs="*", default=SUGGESTED_AFTER,
                        help="trials after which the sampler is timed")  # fmt: skip
    return parser.parse_args(arguments)


@contextmanager
def _nodes(count: int) -> Iterator[str]:
    """A head, on which the driver is, and nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 80_000_000}
    started = time.perf_counter()
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory}
    )
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1, **memory)
        print(f"{count} nodes in {time.perf_counter() - started:.0f} s", flush=True)
        yield cluster.address
    finally:
        cluster.shutdown()


@dataclass(frozen=True)
class _Moment:
    """The driver after so many trials."""

    trials: int
    megabytes: float
    wall: float
    cpu: float

    @classmethod
    def now(cls, trials: int) -> _Moment:
        lines = Path("/proc/self/status").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        return cls(trials, kilobytes / 1024, time.perf_counter(), time.process_time())


@dataclass(frozen=True)
class _Cost:
    """What the sweep cost.

    Attributes:
        seeds: that a trial ran, on average.
        requests: to the store, of a trial, by the driver and all workers.
        megabytes: the driver's memory, at most.
        cpu: seconds of the driver's processor, of a trial that is not among the first.
    """

    seeds: float
    requests: float
    megabytes: float
    cpu: float


def _sweep(options: argparse.Namespace, address: str, folder: Path) -> _Cost:
    """Run the sweep and say what it cost."""
    from benchmarks.simulated import requests, run_references, simulated_sweep
    from unlearn_ray.reporting.progress import SweepProgress
    from unlearn_ray.scheduling.driver import run_sweep
    from unlearn_ray.storage.store import open_store
    from unlearn_ray.studies.plan import make_plan

    sweep = simulated_sweep(
        options.studies, options.trials, seconds=options.seconds, seeds=SEEDS, window=options.nodes
    )
    store = open_store(str(folder / "store"))
    run_references(sweep, store)
    plan = make_plan(sweep, store)
    before = requests(folder / "requests")
    progress = SweepProgress(sweep.name)

    def ended() -> int:
        return sum(study.ended for study in progress.studies.values())

    with _watched(ended, options) as moments:
        run_sweep(plan, store, address=address, progress=progress, stop=threading.Event())
    trials = ended()
    after = requests(folder / "requests")
    asked = 0.0
    print(f"  requests to the store per trial ({options.studies} studies, {SEEDS} seeds)")
    for who in sorted(after):
        verbs = {
            verb: (count - before.get(who, {}).get(verb, 0)) / trials
            for verb, count in after[who].items()
        }
        asked += sum(verbs.values())
        listed = ", ".join(f"{verb} {count:.2f}" for verb, count in verbs.items())
        print(f"    {who:8} {sum(verbs.values()):6.2f}: {listed}")
    rows: int = store.read_rows(columns=("trial",)).num_rows
    wall = moments[-1].wall - moments[0].wall
    print(f"  {rows} rows in {wall:.0f} s: {rows / wall:.1f} rows/s", flush=True)
    seconds, plan = _timed(lambda: make_plan(sweep, store))
    assert plan.complete
    print(f"  plan of the finished sweep: {seconds:.2f} s (rows were merged as they came)")
    seconds, _ = _timed(store.compact)
    print(f"  merging the last rows:      {seconds:.2f} s")
    seconds, _ = _timed(lambda: make_plan(sweep, store))
    print(f"  plan after that:            {seconds:.2f} s", flush=True)
    first = moments[min(1, len(moments) - 2)]
    return _Cost(
        seeds=rows / trials,
        requests=asked,
        megabytes=max(moment.megabytes for moment in moments),
        cpu=(moments[-1].cpu - first.cpu) / max(1, moments[-1].trials - first.trials),
    )


@contextmanager
def _watched(ended: Callable[[], int], options: argparse.Namespace) -> Iterator[list[_Moment]]:
    """Note and print the driver's moments while the block runs."""
    moments: list[_Moment] = []
    over = threading.Event()
    wanted = [0, 2 * options.nodes, *(round(part * options.trials) for part in REPORTED_AT)]

    def watch() -> None:
        while wanted and not over.wait(0.1):
            if ended() >= wanted[0]:
                while wanted and ended() >= wanted[0]:
                    wanted.pop(0)
                moments.append(_Moment.now(ended()))
                _print_moment(moments, options)

    print("  trials  driver MB  per trial since then: wall, driver's CPU", flush=True)
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield moments
    over.set()
    thread.join()
    if wanted:
        moments.append(_Moment.now(ended()))
        _print_moment(moments, options)


def _print_moment(moments: list[_Moment], options: argparse.Namespace) -> None:
    now = moments[-1]
    line = f"  {now.trials:6d}  {now.megabytes:9.0f}"
    if len(moments) > 1:
        since = moments[-2]
        trials = now.trials - since.trials
        wall, cpu = (now.wall - since.wall) / trials, (now.cpu - since.cpu) / trials
        line += f"  {1000 * wall:8.1f} ms {1000 * cpu:8.1f} ms"
    print(line, flush=True)


def _others(options: argparse.Namespace, address: str, sleep: float) -> float:
    """The same number of slots and the same sleep, and nothing else.

    Returns:
        Seconds of the driver's processor a trial of Tune with reused actors.
    """
    import ray

    # A process for each trial is slow: two for each slot are enough to see it.
    few = 2 * options.nodes
    many = max(few, min(options.trials, 50 * options.nodes))
    ray.init(address, log_to_driver=False, logging_level="ERROR")
    try:
        costs = {
            "bare Ray tasks": _tasks(many, sleep),
            "Tune, reuse_actors=True": _tune(many, options.nodes, sleep, reuse=True),
            "Tune, defaults": _tune(few, options.nodes, sleep, reuse=False),
        }
    finally:
        ray.shutdown()
    print(f"  beside it, per trial of {sleep:.2f} s on {options.nodes} slots: wall, driver's CPU")
    for name, (wall, cpu) in costs.items():
        print(f"    {name:24} {1000 * wall:8.1f} ms {1000 * cpu:8.1f} ms", flush=True)
    return costs["Tune, reuse_actors=True"][1]


def _tasks(trials: int, sleep: float) -> tuple[float, float]:
    import ray

    @ray.remote(num_cpus=1)  # type: ignore[untyped-decorator]
    def nap(seconds: float) -> None:
        time.sleep(seconds)

    ray.get([nap.remote(sleep) for _ in range(20)])
    wall, cpu = time.perf_counter(), time.process_time()
    ray.get([nap.remote(sleep) for _ in range(trials)])
    return (time.perf_counter() - wall) / trials, (time.process_time() - cpu) / trials


def _tune(trials: int, slots: int, sleep: float, *, reuse: bool) -> tuple[float, float]:
    from ray import tune

    def nap(config: dict[str, float]) -> None:
        time.sleep(sleep)
        tune.report({"value": config["x"]})

    class Clock(tune.Callback):  # type: ignore[misc]
        """Notes when trials end."""

        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            """A trial ended."""
            moments.append(_Moment.now(len(moments) + 1))

    moments: list[_Moment] = []
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_resources(nap, {"cpu": 1}),
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(
                num_samples=trials, max_concurrent_trials=slots, reuse_actors=reuse
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[Clock()]),
        ).fit()
    # As with ours, the first trials pay for starting the processes.
    first, last = moments[slots - 1], moments[-1]
    counted = last.trials - first.trials
    return (last.wall - first.wall) / counted, (last.cpu - first.cpu) / counted


def _suggestions(after: Sequence[int]) -> None:
    """Time of the sampler and the pruner after so many trials of one study."""
    from benchmarks.simulated import SPACE, random_past
    from unlearn_ray.config.sweep_schema import Search
    from unlearn_ray.scheduling.pruners import Bars
    from unlearn_ray.scheduling.sampler import Sampler
    from unlearn_ray.studies.history import TrialRecord
    from unlearn_ray.studies.rows import State

    print("  one study's trials so far: time to suggest one, for its bars, to take its end")
    for told in after:
        sampler, bars = Sampler("simulated", SPACE, Search()), Bars(Search(), SEEDS)
        for past in random_past(told):
            sampler.ask(past.point)
            sampler.tell(past)
            bars.tell(past)
        times = []
        for number in range(told, told + 10):
            started = time.perf_counter()
            point = sampler.ask(None)
            suggested = time.perf_counter()
            bars.now(number)
            decided = time.perf_counter()
            sampler.tell(TrialRecord(number, point, (0.5,), State.STOPPED))
            taken = time.perf_counter() - decided
            times.append((suggested - started, decided - suggested, taken))
        medians = [1000 * statistics.median(each) for each in zip(*times, strict=True)]
        print(f"    {told:5d} " + " ".join(f"{median:8.2f} ms" for median in medians))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    main()
