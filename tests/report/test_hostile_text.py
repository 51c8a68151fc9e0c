"""Text from stores shows as text, and runs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import Opened
from tests.report.stores import announced, searched, write
from unlearn_ray.report.evidence import sweep_evidence
from unlearn_ray.report.page import page
from unlearn_ray.storage.store import Store, open_store

HOSTILE = (
    "<script>window.ran = true</script>",
    "</script><script>window.ran = true</script>",
    "</style><img src=x onerror='window.ran = true'>",
    "\"'><svg onload=window.ran=true>",
    "{{ 7 * 7 }}{% raw %}",
    "<!--<script>",
    "&lt;b&gt; javascript:alert(1)",
)
# What would hide or reverse what stands beside it, and how it is shown.
UNSEEN = {
    "\u202edesrever": "\\u202edesrever",
    "\u2028line": "\\u2028line",
    "\x1b[2Jwiped": "\\x1b[2Jwiped",
    "\x00nothing": "\\x00nothing",
}
ALL = (*HOSTILE, *UNSEEN)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def written(store: Store, folder: Path, sweep: str) -> Path:
    path = folder / "report.html"
    path.write_text(page(sweep_evidence(store, sweep)), encoding="utf-8")
    return path


def renamed(rows: list[dict[str, Any]], sweep: str) -> list[dict[str, Any]]:
    """The same rows, in which every study's name, failure and machine is hostile."""
    names = sorted({row["study"] for row in rows} - {"retrain", "original"})
    to = {name: ALL[number] for number, name in enumerate(names)}
    changed = []
    for number, row in enumerate(rows):
        text = ALL[number % len(ALL)]
        failure = row["failure"] and text
        more = {"host": text, "dataset": text, "version_torch": text, "made_on": text}
        study = to.get(row["study"], row["study"])
        changed.append({**row, "sweep": sweep, "study": study, "failure": failure, **more})
    return changed


@pytest.mark.parametrize("sweep", ALL)
def test_names_of_sweeps(store: Store, tmp_path: Path, opened: Opened, sweep: str) -> None:
    rows = searched(["finetune"], trials=10, replicates=1)
    write(store, [{**row, "sweep": sweep} for row in rows])
    path = written(store, tmp_path, sweep)
    with opened(path) as seen:
        assert seen.page.inner_text("h1") == UNSEEN.get(sweep, sweep)
        assert seen.page.title() == f"{UNSEEN.get(sweep, sweep)}: report"
        assert seen.page.evaluate("window.ran") is None
        assert (seen.errors, seen.requests) == ([], [path.as_uri()])


def test_names_of_studies_failures_and_files(store: Store, tmp_path: Path, opened: Opened) -> None:
    methods = [
        *("finetune", "gradient_ascent", "random_label", "neggrad", "l1_sparsity", "scrub"),
        *("bad_teacher", "salun", "boundary_shrink", "boundary_expanding", "unsir"),
    ]
    rows: list[dict[str, Any]] = [*searched(methods, trials=10, replicates=4)]
    write(store, renamed(rows, "small"))
    keys = {ALL[number]: f"{name}-s1" for number, name in enumerate(sorted(methods))}
    announced(store, "small", keys, 10, yaml="name: small\n" + "\n".join(ALL))
    path = written(store, tmp_path, "small")
    with opened(path) as seen:
        told, file = seen.page.inner_text("main"), seen.page.inner_text("#file pre")
        for text in ALL:
            shown = UNSEEN.get(text, text)
            assert shown in file
            assert shown in told.replace(file, "")
        drawn = seen.page.evaluate(
            "[...document.querySelectorAll('.chart svg text')].map(one => one.textContent)"
        )
        assert "{{ 7 * 7 }}{% raw %}" in drawn
        assert seen.page.evaluate("window.ran") is None
        assert seen.page.locator("img").count() == 0
        assert (seen.errors, seen.requests) == ([], [path.as_uri()])


def test_tooltips(store: Store, tmp_path: Path, opened: Opened) -> None:
    rows = searched(["finetune", "scrub"], trials=10, replicates=4)
    bold = {"finetune": "<b id=injected>bold</b>"}
    write(store, [{**row, "study": bold.get(f"{row['study']}", row["study"])} for row in rows])
    path = written(store, tmp_path, "small")
    with opened(path) as seen:
        mark = seen.page.locator("#gap-and-time path[aria-roledescription=point]").first
        mark.hover(force=True)
        seen.page.wait_for_selector("#vg-tooltip-element.visible")
        assert "trial" in seen.page.inner_text("#vg-tooltip-element")
        assert seen.page.locator("#injected").count() == 0
