"""Text from elsewhere reaches no terminal that would obey it."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from unlearn_ray.core.errors import StoreError
from unlearn_ray.core.printable import printable, printable_lines
from unlearn_ray.reporting.grid import aligned, markdown_grid, rich_grid


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]8;;http://evil\x07click", r"\x1b]8;;http://evil\x07click"),
        ("\x9b31m", r"\x9b31m"),
        ("a\tb\r\nc\x00", r"a\tb\r\nc\x00"),
        ("user\u202etxt.exe", r"user\u202etxt.exe"),
        ("\u2066\u200f\ufeff\u2028", r"\u2066\u200f\ufeff\u2028"),
        ("\udcff", r"\xff"),
    ],
)
def test_what_a_terminal_obeys_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    ["größe", "3.5 ± 0.1", "猫 と 犬", "a\u200cb", "👩\u200d👧", "a b\u00a0c", r"\n"],
)
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_nothing_harmful_is_left(text: str) -> None:
    shown = printable_lines(text)
    assert shown.count("\n") == text.count("\n")
    kinds = {unicodedata.category(each) for each in shown if each not in "\n\u200c\u200d"}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode()


def test_an_error_is_one_harmless_line() -> None:
    error = StoreError("object \x1b[2J\nerror: all is well", "no\r", "delete it")
    assert f"{error}" == r"object \x1b[2J\nerror: all is well: no\r; delete it"


def test_cells_of_every_grid() -> None:
    grid = [["a\x1b", "b"], ["\x1b[2J", "x\ny"]]
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(rich_grid(grid))
    for text in (aligned(grid), markdown_grid(grid), console.export_text()):
        assert "\x1b" not in text
        assert r"\x1b[2J" in text
    assert r"x\ny" in aligned(grid)
