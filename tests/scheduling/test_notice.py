"""SIGTERM in a worker process: the first lets what runs end by itself, others end the process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

WORKER = """
import signal, sys
from unlearn_ray.scheduling import notice

def former(number, frame):
    sys.exit(7)

signal.signal(signal.SIGTERM, former)
notice.install_handler()
notice.install_handler()

def say(word):
    print(word, flush=True)

if "idle" in sys.argv:
    say("idle")
    signal.pause()
with notice.at_work():
    say("at work")
    notice.wait()
    say("noticed")
    if "stubborn" in sys.argv:
        signal.pause()
say("saved")
"""


def worker(*words: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *words], stdout=subprocess.PIPE, text=True, cwd=root
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_what_runs_ends_by_itself() -> None:
    with worker() as process:
        assert said(process) == "at work"
        process.send_signal(signal.SIGTERM)
        assert said(process) == "noticed"
        assert said(process) == "saved"
        assert process.wait(30) == 0


def test_a_second_notice_ends_the_process_as_before() -> None:
    with worker("stubborn") as process:
        assert said(process) == "at work"
        process.send_signal(signal.SIGTERM)
        assert said(process) == "noticed"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 7


def test_an_idle_process_ends_at_once() -> None:
    with worker("idle") as process:
        assert said(process) == "idle"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 7
