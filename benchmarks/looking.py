"""What looking at a store of many rows costs: each command as a whole process, time and memory.

The store is made first (benchmarks/large_store.py), which takes a minute for 100,000 rows. Beside
it, in the same run: MLflow's search_runs over as many runs of the same trials, at a size at which
logging them in batches takes a reasonable time; it is given a process of its own, too. W&B is not
here: its export reads a server, and its offline runs can only be uploaded, not searched.

CPU time of the whole process, imports included, and its largest memory, on two cores that other
work shared: rows of 5 sweeps x 20 studies in one file, 100,000 of them with as many records, and
1,000,000:

                         100,000        1,000,000
    compare (5 tables)   1.8 s  334 MB   5.7 s  1414 MB
    best                 1.1 s  391 MB   8.6 s  1985 MB
    query winners        2.5 s  395 MB   7.2 s  1699 MB
    query rows           0.8 s  331 MB   2.0 s  1104 MB
    status               0.8 s  235 MB   6.5 s   853 MB
    report (one sweep)   2.5 s  365 MB  10.5 s  1055 MB
    plan                 2.7 s  476 MB   7.8 s  1321 MB (importing torch takes 1.2 s)

    python -m benchmarks.looking                              # 10,000 rows
    python -m benchmarks.looking --rows 100000 --records 100000 --runs 2000 --json looking.json
    python -m benchmarks.looking --rows 2000 --small          # a file for each row
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

QUERY = "SELECT sweep, study, count(*), min(score) FROM rows GROUP BY ALL ORDER BY ALL"
WINNERS = "SELECT sweep, study, average_gap_of_means FROM winners ORDER BY ALL"


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        name: what it did.
        wall, cpu: seconds; CPU time of all its threads.
        megabytes: its largest resident memory.
    """

    name: str
    wall: float
    cpu: float
    megabytes: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what each command costs."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="looking-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = _elsewhere(_made, folder, options)
        costs = [
            _cost(name, [sys.executable, "-m", "unlearn_ray", *words])
            for name, words in _commands(folder).items()
        ]
        _print(f"{rows} rows", costs)
        others = _mlflow(folder, options.runs) if options.runs else []
        if others:
            _print(f"{options.runs} runs of MLflow", others)
    if options.json is not None:
        told = {"rows": rows, "runs": options.runs}
        told |= {"ours": [*map(asdict, costs)], "mlflow": [*map(asdict, others)]}
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.looking")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--sweeps", type=int, default=5)
    parser.add_argument("--studies", type=int, default=20, help="of each sweep")
    parser.add_argument("--small", action="store_true", help="a file for each row")
    parser.add_argument("--runs", type=int, default=500, help="of MLflow; 0 for none")
    parser.add_argument("--folder", type=Path, help="where the store is, or is made and kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    return parser.parse_args(arguments)


def _elsewhere(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do it in a process of its own: a process that is started begins with its parent's memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _made(folder: Path, options: argparse.Namespace) -> int:
    """Make the store unless it is there; returns its number of rows."""
    from benchmarks.large_store import fill
    from unlearn_ray.storage.store import open_store

    store = open_store(str(folder / "store"))
    if not (folder / "store").exists():
        started = time.perf_counter()
        sizes = {"sweeps": options.sweeps, "studies": options.studies, "records": options.records}
        fill(store, folder, options.rows, **sizes, small=options.small)
        print(f"made in {time.perf_counter() - started:.0f} s", flush=True)
    rows: int = store.read_rows(columns=("row",)).num_rows
    return rows


def _commands(folder: Path) -> dict[str, list[str]]:
    store = str(folder / "store")
    results = ["results", store]
    return {
        "nothing (--version)": ["--version"],
        "compare": [*results, "compare"],
        "compare --sweep": [*results, "compare", "--sweep", "sweep_0"],
        "best": [*results, "best"],
        "query rows": [*results, "query", QUERY],
        "query winners": [*results, "query", WINNERS],
        "report": [*results, "report", "sweep_0", "--output", str(folder / "report.html")],
        "status": ["status", store],
        "plan": ["plan", str(folder / "sweep_0.yaml"), "--store", store],
    }


def _cost(name: str, command: Sequence[str]) -> Cost:
    """Run a command to its end, and say what it took.

    Raises:
        RuntimeError: it failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    told = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{name}: exit status {process.returncode}: {told}")
    return Cost(name, wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _print(title: str, costs: Sequence[Cost]) -> None:
    print(f"{title:24}   wall s    CPU s     MB")
    for each in costs:
        print(f"  {each.name:22} {each.wall:8.2f} {each.cpu:8.2f} {each.megabytes:6.0f}")
    sys.stdout.flush()


_SEARCH = """\
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
frame = mlflow.search_runs(experiment_names=["looking"], max_results=1_000_000)
best = frame.sort_values("metrics.score").groupby("params.study").first()
print(len(frame), len(best))
"""


def _mlflow(folder: Path, runs: int) -> list[Cost]:
    """The tuning rows of the first trials as runs, and a search for each study's best."""
    with tempfile.TemporaryDirectory(prefix="mlflow-") as temporary:
        uri = f"sqlite:///{temporary}/runs.db"
        started = time.perf_counter()
        _elsewhere(_log, uri, folder, runs)
        print(f"{runs} runs logged in {time.perf_counter() - started:.0f} s", flush=True)
        return [_cost("search_runs", [sys.executable, "-c", _SEARCH, uri])]


def _log(uri: str, folder: Path, runs: int) -> None:
    """Log each row as a run, by one batch of parameters and metrics."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    from unlearn_ray.results import load

    rows = load(str(folder / "store")).query("purpose == 'tuning'").iloc[:runs]
    client = MlflowClient(uri)
    experiment = client.create_experiment("looking")
    for row in rows.to_dict("records"):
        known = {str(name): value for name, value in row.items() if value == value and value}
        metrics = [
            Metric(name, value, 0, 0) for name, value in known.items() if isinstance(value, float)
        ]
        params = [
            Param(name, str(value))
            for name, value in known.items()
            if name.startswith("hp_") or name in ("sweep", "study", "trial", "seed", "state")
        ]
        client.log_batch(client.create_run(experiment).info.run_id, metrics, params)


if __name__ == "__main__":
    main()
