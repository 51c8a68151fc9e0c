"""CPU seconds of a sweep, by kind of process, and what share of the machine it leaves idle.

The sweep runs as any user's: a command, a Ray cluster of its own, an empty store. All its processes
count, Ray's own included, also those that end on the way: twice a second each one's times are read
from /proc. Where this program may make a control group (as root), the kernel's count of the group
is printed beside the sum, which misses the last half second of each process.

Give several trees to compare versions: rounds alternate between them. The idle share means
something on a machine that does nothing else.

    python -m benchmarks.processor_time                          # the quickstart: minutes
    python -m benchmarks.processor_time --trees ../before . --rounds 2
    python -m benchmarks.processor_time --references 14 --trees ../before . --rounds 2
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "UNLEARN_RAY_BENCHMARK_RUN"
INTERVAL_SECONDS = 0.5
GROUPS = Path("/sys/fs/cgroup/cpuacct")
TICK = os.sysconf("SC_CLK_TCK")
REFERENCES = """
dataset: {{digits: {{image_size: 8}}}}
validation: 0.1
forget_set: {{classes: {{classes: ["7"]}}}}
model: {{resnet8: {{width: 8}}}}
family: supervised
training: {{epochs: 15, batch_size: 64, learning_rate: 0.05}}
metrics: [retain_accuracy, forget_accuracy]
methods: {{finetune: {{epochs: 0, learning_rate: 0.01}}}}
seeds: {{tuning: [0], reporting: [1], replicates: {replicates}}}
"""


@dataclass(frozen=True)
class Run:
    """What a run took.

    Attributes:
        wall: seconds.
        kinds: CPU seconds by kind of process.
        group: CPU seconds by the kernel's count; None if there is no control group.
    """

    wall: float
    kinds: dict[str, float]
    group: float | None

    @property
    def cpu(self) -> float:
        """CPU seconds of all processes."""
        return sum(self.kinds.values()) if self.group is None else self.group


def main(arguments: Sequence[str] | None = None) -> None:
    """Print every run, and the medians of each tree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processor_time")
    parser.add_argument("--trees", nargs="+", default=["."], help="checkouts to compare")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sweep", default="sweeps/quickstart.yaml")
    parser.add_argument("--references", type=int, metavar="STEPS",
                        help="instead of a sweep: one with this many trained models")  # fmt: skip
    options = parser.parse_args(arguments)
    runs: dict[str, list[Run]] = {tree: [] for tree in options.trees}
    with tempfile.TemporaryDirectory(prefix="processor-time-") as folder:
        sweep = options.sweep
        if options.references:
            sweep = f"{folder}/references.yaml"
            text = REFERENCES.format(replicates=max(1, options.references // 2 - 1))
            Path(sweep).write_text(text)
        for number in range(options.rounds):
            for tree in options.trees:
                run = measure(Path(tree).resolve(), sweep, f"{folder}/{number}-{len(runs[tree])}")
                runs[tree].append(run)
                print(f"{tree}: {_in_words(run)}", flush=True)
    _print_kinds(runs)


def measure(tree: Path, sweep: str, store: str) -> Run:
    """Run a sweep of a tree; returns what it took.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    mark = secrets.token_hex(8)
    seen: dict[int, tuple[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="store-") as folder, _control_group(mark) as group:
        command = [sys.executable, "-m", "unlearn_ray.sweep", sweep, "--store", f"{folder}/store"]
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=tree,
            env={**os.environ, MARK: mark, "PYTHONPATH": str(tree)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: _join(group),
        )
        while process.poll() is None:
            _look(mark, seen)
            time.sleep(INTERVAL_SECONDS)
        wall = time.monotonic() - started
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        while _look(mark, seen):  # Ray's agents end some seconds later
            time.sleep(INTERVAL_SECONDS)
        total = None if group is None else int((group / "cpuacct.usage").read_text()) / 1e9
    kinds: defaultdict[str, float] = defaultdict(float)
    for kind, seconds in seen.values():
        kinds[kind] += seconds
    return Run(wall, kinds, total)


@contextlib.contextmanager
def _control_group(name: str) -> Iterator[Path | None]:
    path = GROUPS / f"unlearn_ray-{name}"
    try:
        path.mkdir()
    except OSError:
        yield None
        return
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.rmdir()


def _join(group: Path | None) -> None:
    if group is not None:
        (group / "cgroup.procs").write_text(str(os.getpid()))


def _look(mark: str, seen: dict[int, tuple[str, float]]) -> int:
    """Note the times of the run's processes; returns how many there are."""
    found = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        pid = int(folder.name)
        try:
            if pid not in seen and f"{MARK}={mark}".encode() not in (
                folder / "environ"
            ).read_bytes().split(b"\0"):
                continue
            words = (folder / "stat").read_text().rpartition(")")[2].split()
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except (OSError, UnicodeDecodeError):
            continue
        if words[0] == "Z":
            continue
        found += 1
        kind = _kind(title)
        if pid in seen and (not title or kind == "idle worker"):
            kind = seen[pid][0]
        seen[pid] = (kind, (int(words[11]) + int(words[12])) / TICK)
    return found


def _kind(title: str) -> str:
    """A process's kind, by its command or the title that Ray gives it."""
    if title.startswith("ray::"):
        name = re.split(r"[.( ]", title[len("ray::") :])[0]
        return "idle worker" if name in ("IDLE", "") else name.lstrip("_")
    for word in ("raylet", "gcs_server", "log_monitor", "runtime_env", "dashboard", "monitor"):
        if re.search(rf"[/_ ]{word}[^ ]*( |$)", title.partition(" --")[0]):
            return word
    if "default_worker" in title or "setup_worker" in title:
        return "idle worker"
    return "driver" if "unlearn_ray.sweep" in title else title.partition(" ")[0][-30:]


def _in_words(run: Run) -> str:
    idle = 1 - run.cpu / (run.wall * (os.cpu_count() or 1))
    summed = sum(run.kinds.values())
    return f"{run.wall:.0f} s, {run.cpu:.0f} CPU s (sum {summed:.0f}), {100 * idle:.0f} % idle"


def _print_kinds(runs: dict[str, list[Run]]) -> None:
    kinds = sorted({kind for each in runs.values() for run in each for kind in run.kinds})
    table = {
        kind: [
            statistics.median(run.kinds.get(kind, 0.0) for run in each) for each in runs.values()
        ]
        for kind in kinds
    }
    print(f"{'median CPU seconds':<28}" + "".join(f"{tree[-14:]:>16}" for tree in runs))
    for kind, seconds in sorted(table.items(), key=lambda item: -max(item[1])):
        print(f"{kind:<28}" + "".join(f"{each:>16.1f}" for each in seconds))
    totals = [statistics.median(run.cpu for run in each) for each in runs.values()]
    print(f"{'all':<28}" + "".join(f"{each:>16.1f}" for each in totals))


if __name__ == "__main__":
    main()
