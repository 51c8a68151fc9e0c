"""What a trial costs beside its training: process start, scheduling, records, rows.

Trials that train nothing (zero epochs, one accuracy) run through the studies of a sweep on warm
actors, and beside them, in the same Ray cluster, trials that do nothing through plain Ray Tune
with torch imported: with its defaults (a process per trial), and with `reuse_actors=True`.
The cost of ours is a trial's wall time less its unlearning and evaluation.

    python -m benchmarks.trial_cost
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

SWEEP = """
dataset: {digits: {image_size: 8}}
validation: 0.5
forget_set: {random: {fraction: 0.1}}
model: {resnet8: {width: 4}}
family: {simclr: {augmentation: {flip: 0}}}
training: {epochs: 0}
probe: {epochs: 1}
metrics: [forget_accuracy]
methods: {finetune: {epochs: 0, learning_rate: {log_uniform: [0.003, 0.03]}}}
search: {trials: TRIALS, startup: 5, concurrent: 1}
seeds: {tuning: [0], reporting: [1]}
"""
TRIALS, SLOW_TRIALS = 60, 6
# The first trials pay for starting the actor.
STARTING = 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the three costs, and ours as a ratio of Tune's default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trial_cost")
    parser.add_argument("--trials", type=int, default=TRIALS, help="of ours and with reused actors")
    parser.add_argument("--slow-trials", type=int, default=SLOW_TRIALS, help="of Tune's defaults")
    options = parser.parse_args(arguments)
    from unlearn_ray.scheduling.environment import prepare

    prepare(None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep.yaml"
        path.write_text(SWEEP.replace("TRIALS", str(options.trials)))
        _measure(path, f"{folder}/store", options)


def _measure(path: Path, store_url: str, options: argparse.Namespace) -> None:
    from unlearn_ray.config.sweep_file import load_sweep
    from unlearn_ray.scheduling.board import Board
    from unlearn_ray.scheduling.cluster import cluster
    from unlearn_ray.scheduling.jobs import Job, Jobs
    from unlearn_ray.scheduling.shared_study import SharedStudy
    from unlearn_ray.scheduling.studies import run_studies
    from unlearn_ray.scheduling.worker import WorkerConfig
    from unlearn_ray.steps.graph import Graph
    from unlearn_ray.steps.once import Account, run_here
    from unlearn_ray.storage.store import open_store
    from unlearn_ray.studies.plan import reference_steps

    sweep = load_sweep(path)
    store = open_store(store_url)
    worker_config = WorkerConfig(
        store=store.url,
        checkpoint_seconds=600,
        threads=sweep.resources.trial.threads,
        gpu=sweep.resources.trial.gpus,
        identity=store.identify(),
    )
    with cluster(None):
        board: Any = Board.remote()
        runtime = worker_config.runtime(board)
        account = Account(sweep.name, accelerators=1.0)
        graph = Graph(runtime.known, partial(run_here, runtime=runtime), account)
        graph.ensure(*reference_steps(sweep, 0))
        ends: list[float] = []
        driver = store.start_driver(sweep.name)
        (study,) = sweep.studies
        jobs = Jobs({})
        run = partial(
            run_studies,
            sweep,
            [SharedStudy(sweep, study, [], store, driver.key, lambda *_: None)],
            worker_config,
            board,
            jobs,
            on_start=lambda _: None,
            on_end=lambda *_: ends.append(time.perf_counter()),
            may_launch=lambda: True,
            stopping=lambda: False,
            note=print,
        )
        jobs.add([Job("studies", run)])
        jobs.run(lambda: False)
        driver.finish()
        rows = store.read_rows().to_pylist()
        assert len(rows) == options.trials
        work = statistics.median(
            r["unlearning_compute_seconds"] + r["evaluation_seconds"] for r in rows
        )
        gaps = [after - before for before, after in itertools.pairwise(ends[STARTING:])]
        ours = statistics.median(gaps) - work
        reused = _plain_tune(options.trials, reuse=True)
        default = _plain_tune(options.slow_trials, reuse=False)
    print(f"a trial beside its training and evaluation, one at a time, {options.trials} trials")
    print(f"  unlearn_ray                    {ours:8.3f} s   (unlearn and evaluate {work:.3f} s)")
    print(f"  Ray Tune, reuse_actors=True    {reused:8.3f} s   {reused / ours:6.1f}x ours")
    print(f"  Ray Tune, defaults             {default:8.3f} s   {default / ours:6.1f}x ours")
    sys.exit(0 if ours < 0.1 else "the cost of a trial is not under 0.1 s")


def _nothing(config: dict[str, Any]) -> None:
    import torch
    from ray import tune

    tune.report({"value": float(torch.zeros(1))})


def _plain_tune(trials: int, *, reuse: bool) -> float:
    from ray import tune

    ends: list[float] = []

    class Clock(tune.Callback):  # type: ignore[misc]
        """Notes when trials end."""

        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            """A trial ended."""
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_resources(_nothing, {"cpu": 1}),
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(
                num_samples=trials, max_concurrent_trials=1, reuse_actors=reuse
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[Clock()]),
        ).fit()
    first = STARTING if reuse else 0
    return statistics.median(b - a for a, b in itertools.pairwise(ends[first:]))


if __name__ == "__main__":
    main()
