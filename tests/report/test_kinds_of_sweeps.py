"""Reports of sweeps that lack something: gaps, a search, replicates, rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_light import HEAVY, light
from tests.report.conftest import Opened
from tests.report.stores import announced, searched, write
from tests.results.rows import one_row
from unlearn_ray.cli.main import main
from unlearn_ray.core.boundary import EXTRAS
from unlearn_ray.core.errors import BadInput, Exit
from unlearn_ray.report.evidence import sweep_evidence, sweep_names
from unlearn_ray.report.page import page
from unlearn_ray.storage.store import Store, open_store
from unlearn_ray.studies.rows import State

Row = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def without_retrained(rows: list[Row]) -> list[Row]:
    """What `retrained: none` writes."""
    kept = [row for row in rows if row["study"] != "retrain"]
    null = ("_retrained", "_gap", "average_gap_percentage", "tug_of_war")
    return [
        {name: None if name.endswith(null) else value for name, value in row.items()}
        for row in kept
    ]


def of_two_objectives(rows: list[Row]) -> list[Row]:
    return [
        {**row, "score_2": row["score"] and 100 / row["score"], "objective": "average_gap, other"}
        for row in rows
    ]


def cut_short(rows: list[Row]) -> list[Row]:
    """The first half of the search; nothing is reported."""
    tuning = [row for row in rows if row["purpose"] == "tuning"]
    return [*tuning[: len(tuning) // 2], *(row for row in rows if row["purpose"] == "reference")]


def untuned(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["purpose"] != "tuning"]


def failed(rows: list[Row]) -> list[Row]:
    reason = "loss is NaN"
    return [one_row("finetune", 0, None, purpose="tuning", state=State.FAILED, failure=reason)]


def identical(rows: list[Row]) -> list[Row]:
    """Every trial alike: no scale has an extent."""
    rates = [row for row in rows if row["purpose"] == "tuning" and row["state"] == "complete"]
    return [{**row, "score": 0.0, "average_gap": 0.0} for row in rates]


KINDS = {
    "without gaps": (without_retrained, "No verdict: nothing was compared with retraining."),
    "with two objectives": (of_two_objectives, "retraining"),
    "unfinished": (cut_short, "no study has been run on the reporting seeds yet"),
    "without search": (untuned, "retraining"),
    "all failed": (failed, "no study has been run on the reporting seeds yet"),
    "all alike": (identical, "no study has been run on the reporting seeds yet"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("studies", [["finetune"], ["finetune", "scrub", "neggrad"]], ids=len)
def test_kinds(kind: str, studies: list[str], store: Store, tmp_path: Path, opened: Opened) -> None:
    change, verdict = KINDS[kind]
    write(store, change([*searched(studies, trials=10, replicates=4)]))
    announced(store, "small", {name: f"{name}-s1" for name in studies}, 10)
    path = tmp_path / "report.html"
    path.write_text(page(sweep_evidence(store)), encoding="utf-8")
    with opened(path, width=390) as seen:
        assert verdict in seen.page.inner_text("#verdict")
        assert (seen.errors, seen.requests) == ([], [path.as_uri()])
        assert seen.page.locator(".chart:not([data-state=drawn])").count() == 0
        drawn = {one.get_attribute("id") for one in seen.page.locator("figure").all()}
        assert ("objectives" in drawn) == (kind == "with two objectives")
        assert ("best-by-trials" in drawn) == (kind not in ("without search", "all failed"))


def test_nothing_but_a_manifest(store: Store, tmp_path: Path, opened: Opened) -> None:
    announced(store, "small", {"finetune": "finetune-s1"}, 10)
    path = tmp_path / "report.html"
    path.write_text(page(sweep_evidence(store)), encoding="utf-8")
    with opened(path) as seen:
        assert "nothing has been measured yet" in seen.page.inner_text("#verdict")
        assert seen.errors == []


def test_one_replicate_bears_no_verdict(store: Store) -> None:
    write(store, searched(["finetune", "scrub"], trials=3, replicates=1))
    text = page(sweep_evidence(store))
    assert "no verdict and no star" in text
    assert "no split has two retrained models" in text


def test_older_studies_of_a_name_are_left_out(store: Store) -> None:
    rows = searched(["finetune"], trials=10, replicates=1)
    older = [
        {**row, "study_key": "older", "trial": 100, "created": "2025-01-01T00:00:00Z"}
        for row in rows
        if row["purpose"] == "tuning"
    ]
    write(store, [*older, *rows])
    assert set(sweep_evidence(store).trials["study_key"]) == {"finetune-s1"}
    assert "1 older study left out" in page(sweep_evidence(store))


def test_a_sweep_must_be_named_among_several(store: Store) -> None:
    rows = searched(["finetune"], trials=3, replicates=1)
    write(store, [*rows, {**rows[0], "sweep": "other"}])
    assert sweep_names(store) == ["other", "small"]
    assert sweep_evidence(store, "other").sweep == "other"
    with pytest.raises(BadInput, match="it holds 2 sweeps; name one of other, small"):
        sweep_evidence(store)
    with pytest.raises(BadInput, match="small"):
        sweep_evidence(store, "smal")


def test_the_command(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(store, searched(["finetune"], trials=3, replicates=1))
    path = tmp_path / "out.html"
    assert main(["results", store.url, "report", "--output", str(path)]) == Exit.DONE
    assert f"written to {path}" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    gone = tmp_path / "none" / "out.html"
    assert main(["results", store.url, "report", "--output", str(gone)]) == Exit.BAD_INPUT
    assert main(["results", str(tmp_path / "elsewhere"), "report"]) == Exit.STORE
    assert main(["results", store.url, "report", "smal"]) == Exit.BAD_INPUT
    assert "small" in capsys.readouterr().err


DRAWING = frozenset(name for name, extra in EXTRAS.items() if extra == "report")


def test_it_needs_neither_pytorch_nor_ray(store: Store, tmp_path: Path) -> None:
    write(store, searched(["finetune"], trials=3, replicates=1))
    path = tmp_path / "out.html"
    done = light("results", store.url, "report", "--output", str(path), missing=HEAVY - DRAWING)
    assert (done.returncode, path.exists()) == (Exit.DONE, True), done.stderr


@pytest.mark.parametrize("name", sorted(DRAWING))
def test_a_missing_extra_is_named(store: Store, name: str) -> None:
    write(store, searched(["finetune"], trials=3, replicates=1))
    done = light("results", store.url, "report", missing=frozenset({name}))
    assert done.returncode == Exit.MACHINE
    assert "pip install 'unlearn_ray[report]'" in done.stderr
