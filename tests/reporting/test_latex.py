"""Tables in LaTeX: no TeX is at hand, so they are read as TeX reads braces, math and rows."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from tests.results.rows import frame, replicated_sweep, small_sweep
from unlearn_ray.core.errors import Exit
from unlearn_ray.reporting.latex import escaped, latex, latex_frame, tabular
from unlearn_ray.reporting.table import comparison
from unlearn_ray.results import main
from unlearn_ray.storage.store import open_store

AWAY = {"original": 10.0, "finetune": 4.0, "neggrad": 0.0, "gradient_ascent": 4.0}
HOSTILE = "a_b & c% $x$ {d} \\end{table} #1 ^~ \x1b[31m <e> |"


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every tabular, after checking what TeX would stumble over."""
    depth, math, environments = 0, False, []
    for word in re.findall(r"\\begin\{(?:\w+)\}|\\end\{(?:\w+)\}|\\.|[{}$%\n]", text, re.DOTALL):
        if word.startswith(r"\begin"):
            environments.append(word[7:-1])
        elif word.startswith(r"\end{"):
            assert environments.pop() == word[5:-1]
        elif word in "{}":
            depth += 1 if word == "{" else -1
            assert depth >= 0
        elif word == "$":
            math = not math
        elif word == "\n":
            assert not math, "math that does not end in its line"
    assert (depth, math, environments) == (0, False, [])
    found = []
    for columns, body in re.findall(
        r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.S
    ):
        rows = [line.strip() for line in body.splitlines() if line.rstrip().endswith(r"\\")]
        cells = [re.split(r"(?<!\\)&", row.removesuffix(r"\\")) for row in rows]
        assert {len(row) for row in cells} == {len(columns)}
        assert not any(row[0].strip().startswith(("[", "*")) for row in cells)
        found.append([[cell.strip() for cell in row] for row in cells])
    return found


def test_best_is_bold_and_the_next_rank_underlined_ties_included() -> None:
    table = comparison(frame(replicated_sweep(5, AWAY)))
    assert table.evidence is not None
    ranks = {name: one.rank for name, one in table.evidence.judgements.items()}
    assert ranks == {"finetune": 2, "gradient_ascent": 2, "neggrad": 1}
    text = latex(table)
    (main_table, evidence, *_) = tables(text)
    first = {row[0]: row for row in main_table}
    average = first["Method"].index("Avg. Gap (pp)")
    best, second = first[r"\textbf{neggrad}"], first[r"\underline{finetune}"]
    assert re.fullmatch(r"\\textbf\{\$\\mathbf\{0\.\d\d\}\$\}", best[average])
    assert re.fullmatch(r"\\underline\{\$\d\.\d\d\$\}", second[average])
    assert r"\underline{gradient\_ascent}" in first
    assert re.fullmatch(r"\$\d\d\.\d\d \\pm \d\.\d\d\$ \(\$\d\.\d\d\$\)", second[1])
    assert text.count(r"\textbf{") == 4  # below the main table the name alone
    assert [row[0] for row in evidence[:2]] == ["Method", "original"]
    assert r"Mean $\pm$ standard deviation over 10 runs of 2 seeds, 5 replicates each" in text
    assert r"at the level of 5\% (Holm over 3 methods); underlined: the next rank." in text


def test_without_evidence_nothing_is_marked() -> None:
    text = latex(comparison(frame(small_sweep())))
    assert r"\textbf" not in text
    assert r"\underline" not in text
    assert "Nothing is marked: there is one retrained model of each split." in text
    rows = {row[0]: row for row in tables(text)[0]}
    assert rows["retrain"][1] == r"$91.00 \pm 1.41$"
    assert rows["retrain"][-2] == "-"


def test_hostile_text_is_printed_as_it_is() -> None:
    rows = frame(small_sweep()).assign(dataset=HOSTILE)
    text = latex(comparison(rows))
    tables(text)
    assert r"a\_b \& c\% \$x\$ \{d\} \textbackslash{}end\{table\} \#1" in text
    assert "\x1b" not in text
    hostile = pd.DataFrame(
        {HOSTILE: ["[1]", "*", HOSTILE, "a\nb\n\nc"], "key": ["3fa9", "12-3", 1e-5, 7]}
    )
    ((head, *body),) = tables(latex_frame(hostile))
    assert head == [escaped(HOSTILE).strip(), "key"]
    assert [row[1] for row in body] == ["3fa9", "12-3", r"$1 \cdot 10^{-5}$", "$7$"]
    assert "\n\n" not in latex_frame(hostile)


def test_a_tabular_of_nothing_but_a_header() -> None:
    assert tables(tabular([["a", "b"]])) == [[["a", "b"]]]


@pytest.mark.parametrize("command", [["compare"], ["compare", "--sweep", "small", "--sweep", "b"]])
def test_the_command(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = open_store(str(tmp_path / "store"))
    for number, row in enumerate(small_sweep()):
        opened.write_row(f"a/{number:03}", row)
        better = {
            **row,
            "sweep": "b",
            "test_accuracy": (row["test_accuracy"] or 0) + 1 / (number + 1),
        }
        opened.write_row(f"b/{number:03}", better)
    assert main([opened.url, *command, "--format", "latex"]) == Exit.DONE
    text = capsys.readouterr().out
    found = tables(text)
    if len(command) == 1:
        assert text.count(r"\begin{table}") == len(found) == 4  # two sweeps, two tables each
    else:
        assert found[0][0] == ["Study", "Metric", "small", "b", "Difference", "N"]
        assert re.search(r"\$\+0\.\d\d\$ \{\[\}\$[+-]\d\.\d\d\$, \$\+\d\.\d\d\$\{\]\}", text)
        assert r"\caption{b less small. Difference: the second sweep's" in text
    assert main([opened.url, "best", "--format", "latex"]) == Exit.DONE
    assert len(tables(capsys.readouterr().out)) == 1
