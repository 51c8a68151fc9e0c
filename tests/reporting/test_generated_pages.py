"""Pages that are generated from code have all of it."""

from __future__ import annotations

import re

import pytest

from unlearn_ray.config.bundled import bundled
from unlearn_ray.config.fields import schema_fields
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_schema import Search, Seeds, Sweep
from unlearn_ray.core import errors
from unlearn_ray.core.errors import Exit, UnlearnRayError
from unlearn_ray.core.registry import parts
from unlearn_ray.data.base import Dataset
from unlearn_ray.metrics.base import Metric
from unlearn_ray.reporting.errors_page import errors_page
from unlearn_ray.reporting.metrics_page import metrics_page
from unlearn_ray.reporting.papers_page import PAPERS, Paper, described, papers_page
from unlearn_ray.reporting.scores_page import scores_page
from unlearn_ray.reporting.sweep_page import sweep_page
from unlearn_ray.scores.base import Score
from unlearn_ray.steps.setting import Setting

# Their images are the reader's.
BROUGHT = {"clip_class", "clip_coco", "cu_mini_class", "cu_mini_sample"}
# For no table of a paper.
OWN = {"quickstart", "clip_digits", "best/digits-supervised-classes-7"}


def section(page: str, heading: str) -> str:
    """A section of the second level, with those below it."""
    return page.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_every_metric_has_its_columns_and_fields() -> None:
    page = metrics_page()
    for name, metric in parts(Metric).items():
        own = section(page, name)
        for column, header in metric.columns.items():
            assert f"`{column}` ({header})" in own
        assert set(schema_fields(metric)) <= set(re.findall(r"`(\w+)`", own))
    assert (
        "| [cka](#cka) | `cka_forget`, `cka_retain`, `cka_test` | - | block_features; also of:"
        in page
    )
    assert "| [retain_accuracy](#retain_accuracy) | `retain_accuracy` | yes | outputs |" in page


def test_every_score_says_of_how_many_models() -> None:
    page = scores_page()
    for name, score in parts(Score).items():
        assert all(f"`{column}`" in section(page, name) for column in score.columns)
    assert "| [u_lira](#u_lira) | a bank | 12 | each method |" in page
    assert "| [klom](#klom) | replicates | 20 | each method |" in page


def test_every_field_of_a_sweep_file() -> None:
    page = sweep_page()
    fields = {*schema_fields(Sweep), *schema_fields(Setting)} - {"setting", "studies"}
    for name in fields:
        assert f"\n| `{name}` | " in page
    for heading, cls in (("search", Search), ("seeds", Seeds)):
        assert set(schema_fields(cls)) <= set(re.findall(r"\n\| `(\w+)`", section(page, heading)))
    datasets = section(page, "Dataset: the choices")
    assert re.findall(r"^### (\w+)$", datasets, re.MULTILINE) == list(parts(Dataset))
    assert "(sgd" not in page.lower(), "a default is shown as Python writes it"
    assert "None" not in page


def test_every_error_has_its_exit_status() -> None:
    page = errors_page()
    kinds = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, UnlearnRayError)
    ]
    assert len(kinds) > 15
    for kind in kinds:
        assert page.count(f"`{kind.__name__}` |") == 1
    assert all(f"\n| {status:d} | " in page for status in Exit)
    assert re.search(r"`StoreFull` \| 3 \|", page)
    assert re.search(r"`DataError` \| 2 \|", page)


def test_every_sweep_of_a_paper_is_shown_once() -> None:
    page = papers_page()
    shown = re.findall(r"^\| `(\w+)` \| ", page, re.MULTILINE)
    assert sorted(shown) == sorted(set(bundled()) - OWN)
    assert len(PAPERS) == 4
    assert "| `ac_cifar` | Table 1, MoCo: forget 10 % of CIFAR-10 at random, ResNet-18. |" in page
    assert "(`ac_*`)" in page
    assert "Table 9, every class: `--set 'forget_set.classes.classes=[0]'`" in page
    assert "unlearn-ray run cu_cifar_class \\\n    --set dataset=digits" in page


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.title)
def test_nothing_of_a_comment_is_lost(paper: Paper) -> None:
    begins = paper.begins
    for name, path in bundled().items():
        text = path.read_text(encoding="utf-8")
        if not text.startswith(f"# {begins}"):
            continue
        told = described(name, path, begins)
        commands = [each for pair in told.commands for each in pair]
        kept = " ".join([told.shows, *told.remarks, *commands, *told.notes])
        comments = re.findall(r"^# ?(.*)$", text.removeprefix(f"# {begins}"), re.MULTILINE)
        for word in re.findall(r"[A-Za-z]{3,}", " ".join(comments)):
            assert word in kept, f"{name}: {word}"


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.title)
def test_options_within_sentences_are_those_of_the_sweep(paper: Paper) -> None:
    for name, path in bundled().items():
        text = path.read_text(encoding="utf-8")
        if not text.startswith(f"# {paper.begins}") or name in BROUGHT:
            continue
        told = described(name, path, paper.begins)
        notes = paper.notes if name == "ac_cifar" else ()
        for remark in (*told.remarks, *told.notes, *notes):
            sets = re.findall(r"`--set ([^`]*)`", remark)
            load_sweep(path, [each.strip("'") for each in sets])
