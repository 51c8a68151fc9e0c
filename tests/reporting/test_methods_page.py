"""The generated pages of docs/ are what methods, columns and others say of themselves now."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from unlearn_ray.core.registry import find, parts
from unlearn_ray.methods.base import Method
from unlearn_ray.reporting.methods_page import methods_page
from unlearn_ray.reporting.part_words import attributes

ROOT = Path(__file__).parents[2]


PAGES = ["methods", "metrics", "scores", "columns", "errors", "sweep", "papers"]


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_up_to_date(page: str) -> None:
    # As the Makefile writes it: in this process tests may have registered methods.
    done = subprocess.run(
        [sys.executable, "-m", f"unlearn_ray.reporting.{page}_page"],
        cwd=ROOT,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ROOT / "docs" / f"{page}.md").read_text() == done.stdout, "run `make docs`"


def test_every_method_has_a_section_with_its_fields() -> None:
    _, *sections = methods_page().split("\n## ")
    assert [section.splitlines()[0] for section in sections] == list(parts(Method))
    alignment = next(text for text in sections if text.startswith("alignment_calibration"))
    assert "| `alpha` | number >= 0 | 1.0 | weight of the negative alignment. |" in alignment
    assert "| `epsilon` | number >= 0 or null | null |" in alignment
    assert "`learning_rate` 0.006" in alignment
    assert "\n    L_unlearn = -alpha" in alignment
    assert "Attributes:" not in alignment


def test_every_field_stands_in_its_methods_section() -> None:
    _, *sections = methods_page().split("\n## ")
    for section, method in zip(sections, parts(Method).values(), strict=True):
        assert {field.name for field in fields(method)} <= set(re.findall(r"`(\w+)`", section))


def test_attributes_are_read_from_docstrings_and_those_of_bases() -> None:
    found = attributes(find(Method, "alignment_calibration"))
    assert found["gamma"] == "weight of the log-sum-exp; null is alpha, as in MUC."
    assert found["optimizer"].startswith('"sgd"; "adam"')


class Documented:
    """Two at once, and one over lines.

    Attributes:
        first, second: of a pair.
        third: what is said
            on two lines: with a colon.
    """


def test_one_text_for_several_names() -> None:
    assert attributes(Documented) == {
        "first": "of a pair.",
        "second": "of a pair.",
        "third": "what is said on two lines: with a colon.",
    }
