"""`results STORE optuna`, and optuna-dashboard on what it writes, in a browser."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.cli.test_light import light
from tests.results.searches import one_objective, two_objectives
from unlearn_ray.core.errors import Exit
from unlearn_ray.results import main


@pytest.fixture
def store(tmp_path: Path) -> str:
    two_objectives(tmp_path)
    return one_objective(tmp_path).url


def test_a_journal_is_written_whole_and_never_replaced_unasked(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out" / "studies.log"
    path.parent.mkdir()
    command = [store, "optuna", "--output", str(path)]
    assert main(command) == Exit.DONE
    told = capsys.readouterr().err.splitlines()
    assert told[0] == (
        f"written to {path}: 3 studies, 6 trials; look at it with: optuna-dashboard {path}"
    )
    assert told[1:] == ["1 trial left out, as they have not ended"]
    first = path.read_bytes()
    assert main(command) == Exit.BAD_INPUT
    assert "add --overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == Exit.DONE
    assert path.read_bytes() == first
    assert main([store, "optuna", "two", "--output", str(path), "--overwrite"]) == Exit.DONE
    assert len(path.read_bytes()) < len(first)
    assert [one.name for one in path.parent.iterdir()] == ["studies.log"]


def test_what_cannot_be_written_is_said(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = ["optuna", "--output", str(tmp_path / "nowhere" / "studies.log")]
    assert main([store, *nowhere]) == Exit.BAD_INPUT
    assert "no such file or directory; name a file to write" in capsys.readouterr().err
    assert main([store, "optuna", "tow", "--output", str(tmp_path / "a.log")]) == Exit.BAD_INPUT
    assert "did you mean two" in capsys.readouterr().err
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path, "is a directory"),
        (tmp_path / "file" / "a", "not a directory"),
    ):
        command = [store, "optuna", "--output", str(path), "--overwrite"]
        assert main(command) == Exit.BAD_INPUT
        assert reason in capsys.readouterr().err


def test_without_optuna_the_extra_is_named(store: str, tmp_path: Path) -> None:
    done = light("results", store, "optuna", "--output", str(tmp_path / "a.log"))
    assert done.returncode == Exit.MACHINE
    assert done.stderr == (
        "error: results optuna: Optuna is not installed; pip install 'unlearn_ray[optuna]'\n"
    )


@pytest.fixture
def dashboard(store: str, tmp_path: Path) -> Iterator[str]:
    """optuna-dashboard on the exported journal, on a free port of loopback."""
    path = tmp_path / "studies.log"
    assert main([store, "optuna", "--output", str(path)]) == Exit.DONE
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = Path(sys.executable).with_name("optuna-dashboard")
    where = ["--host", "127.0.0.1", "--port", port, "--server", "wsgiref"]
    with (tmp_path / "dashboard.txt").open("wb") as said:
        process = subprocess.Popen([str(program), str(path), *where], stdout=said, stderr=said)
    try:
        url = f"http://127.0.0.1:{port}"
        _await_answer(f"{url}/api/studies", process)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _await_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 200
    while time.monotonic() < end and process.poll() is None:
        try:
            with direct.open(url, timeout=20):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"optuna-dashboard does not answer (status {process.poll()})")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_page(viewport={"width": 1440, "height": 900}) as page:
        page.set_default_timeout(30_000)
        yield page


def test_the_dashboard_shows_studies_and_trials(dashboard: str, page: Page) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{dashboard}/dashboard")
    for name in ("one/finetune", "one/fixed", "two/finetune"):
        page.get_by_text(name).first.wait_for()
    page.get_by_text("one/finetune").first.click()
    page.get_by_text("Hyperparameter Importance").first.wait_for()
    study = page.url.rstrip("/")
    page.goto(f"{study}/trials?numbers=2")
    page.get_by_text("3 Trials").wait_for()
    for state in ("Complete", "Pruned", "Fail"):
        page.get_by_text(state, exact=True).first.wait_for()
    page.get_by_text("loss <b>became</b> NaN").first.wait_for()  # as text
    page.goto(f"{dashboard}/dashboard/studies/2")
    page.get_by_text("Pareto Front").first.wait_for()
    assert errors == []
