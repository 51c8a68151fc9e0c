"""Generates docs/papers.md: the four papers, their tables, and the sweeps for them.

What a sweep shows stands in the comments of its file, and only there.

python -m unlearn_ray.reporting.papers_page > docs/papers.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from unlearn_ray.config.bundled import bundled
from unlearn_ray.reporting.grid import markdown_grid

_HEAD = """\
# The four papers

The sweeps of `sweeps/`, by paper and table: they come with the package, and are named without a
path. `make docs` writes this page from the comments at their tops.

Each has the paper's own size, and wants GPUs: hundreds of epochs for each reference model. *Small,
on a laptop* is a reduced version, on scikit-learn's digits with a small network: it shows that
everything runs, and its numbers are not the paper's. Where a paper chose hyperparameters on the
seeds that it reports, ours are chosen on others.
"""
# An assignment ends before punctuation.
_OPTIONS = re.compile(r"(--set (?:'[^']*'|[^\s']*[^\s',.;:]))")
_ENDS_WITH_OPTIONS = re.compile(r"--set [^ ]+$|'$")


@dataclass(frozen=True)
class Paper:
    """A paper.

    Attributes:
        title: of its section.
        begins: how the comments of its sweeps begin.
        cited: the paper, in words.
        notes: on tables that have no sweep of their own.
    """

    title: str
    begins: str
    cited: str
    notes: tuple[str, ...] = ()


PAPERS = (
    Paper(
        "MUC: alignment calibration",
        "MUC",
        '"MUC: Machine Unlearning for Contrastive Learning with Black-box Evaluation". The method '
        "is `alignment_calibration`; the metrics are EMIA, RA, TA, UA and CMIA, all in percent.",
        (
            "Tables 7, 9 and 11 are columns of the same sweeps: `forgetting_score`, *AGP*, and the "
            "standard deviations beside the means.",
            "Table 8 leaves out a part of the method: `--set "
            "methods.alignment_calibration.alpha=0` (and `gamma=0`, which follows alpha in the "
            "paper), or `beta=0`.",
            "Table 12 chooses by the metrics of the classifier alone: `--set "
            "'metrics=[retain_accuracy, test_accuracy, forget_accuracy, cmia_efficacy]'`.",
        ),
    ),
    Paper(
        "Contrastive unlearning",
        "Contrastive Unlearning (2401.10458)",
        '"Contrastive Unlearning: A Contrastive Approach to Machine Unlearning", arXiv 2401.10458. '
        "The method is `contrastive_unlearning`.",
        ("Table 8 is the line *original* of each sweep; tables 6 and 7 are fields of the files.",),
    ),
    Paper(
        "Gradient penalty",
        "Gradient-penalty unlearning (2405.07317)",
        'Wang and Chen, "Machine Unlearning in Contrastive Learning", arXiv 2405.07317. The method '
        "is `gradient_penalty`.",
    ),
    Paper(
        "Discriminative adversarial unlearning",
        "Discriminative adversarial unlearning (2402.06864)",
        'Sharma et al., "Discriminative Adversarial Unlearning", 2024, arXiv 2402.06864. The '
        "method is `adversarial`.",
    ),
)


@dataclass(frozen=True)
class Described:
    """What the comments of a sweep file say.

    Attributes:
        name: of the sweep.
        shows: which table or figure it is for, and what is forgotten.
        remarks: the other sentences at its top.
        commands: blocks of commands at its top, each after the words that introduce it.
        notes: comments between its fields.
    """

    name: str
    shows: str
    remarks: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def papers_page() -> str:
    """The page, as Markdown."""
    files = bundled()
    blocks = [_HEAD.rstrip()]
    for paper in PAPERS:
        own = [
            described(name, path, paper.begins)
            for name, path in files.items()
            if path.read_text(encoding="utf-8").startswith(f"# {paper.begins}")
        ]
        blocks += _section(paper, own)
    return "\n\n".join(blocks) + "\n"


def described(name: str, path: Path, begins: str) -> Described:
    """What a file's comments say.

    Args:
        name: of the sweep.
        path: of its file.
        begins: how its first comment begins, which is left out.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    top = [line.removeprefix("#") for line in takewhile(lambda line: line.startswith("#"), lines)]
    words, commands = _parted(name, top)
    first, *remarks = _sentences(words)
    return Described(
        name,
        first.removeprefix(begins).lstrip(",: "),
        tuple(remarks),
        tuple(commands),
        tuple(_notes(lines[len(top) :])),
    )


def _parted(name: str, top: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """The words at a file's top, and its commands with what introduces them."""
    words: list[str] = []
    commands: list[tuple[str, str]] = []
    block: list[str] = []
    for line in [*top, ""]:
        if line.startswith("   ") and (block or (words and words[-1].endswith(":"))):
            block.append(line.strip())
            continue
        if block:
            *before, introduced = re.split(r"(?<=\.)\s+(?=[A-Z])", " ".join(words))
            words = [" ".join(before)]
            commands.append((introduced, _runnable(name, block)))
            block = []
        if words and _ENDS_WITH_OPTIONS.search(words[-1]) and not line.startswith("   "):
            words[-1] += "."
        words.append(line.strip())
    return " ".join(filter(None, words)), commands


def _runnable(name: str, block: list[str]) -> str:
    """A block of commands; options alone are those of `unlearn-ray run`."""
    text = "\n    ".join(line.removesuffix(" ...") for line in block)
    return text if text.startswith("unlearn-ray") else f"unlearn-ray run {name} \\\n    {text}"


def _sentences(words: str) -> list[str]:
    return [_as_code(one) for one in re.split(r"(?<=[.])\s+(?=[A-Z])", words)]


def _as_code(words: str) -> str:
    """Options within a sentence, as code."""
    return _OPTIONS.sub(r"`\1`", words)


def _notes(lines: list[str]) -> Iterator[str]:
    """The comments between fields, each in one line after the field that it is about."""
    pending: list[str] = []
    for line in lines:
        if line.startswith("#"):
            pending.append(line.removeprefix("#").strip())
        elif pending:
            yield f"`{line.partition(':')[0]}`: {_as_code(' '.join(pending))}"
            pending = []


def _section(paper: Paper, own: list[Described]) -> Iterator[str]:
    yield f"## {paper.title}"
    yield paper.cited
    yield markdown_grid([["sweep", "shows"], *([f"`{one.name}`", one.shows] for one in own)])
    starts = [one.name.split("_")[0] for one in own]
    first = next(one.name for one in own if one.name.startswith(max(starts, key=starts.count)))
    yield (
        f"```sh\nunlearn-ray run {first} --store s3://bucket/unlearning\n"
        f"unlearn-ray results s3://bucket/unlearning compare --sweep {first}\n```"
    )
    said = [(one.name, note) for one in own for note in one.remarks]
    said += [(one.name, note) for one in own for note in one.notes]
    notes = [*paper.notes, *_once(said, [one.name for one in own])]
    yield "\n".join(f"- {note}" for note in notes)
    for one in own:
        if one.commands:
            yield f"### {one.name}"
        for introduced, text in one.commands:
            yield introduced
            yield f"```sh\n{text}\n```"


def _once(said: list[tuple[str, str]], all_names: list[str]) -> Iterator[str]:
    """Each remark once, with the sweeps that it is about."""
    about: dict[str, list[str]] = {}
    for name, note in said:
        about.setdefault(note, []).append(name)
    for note, names in about.items():
        yield f"{note} ({', '.join(_grouped(names, all_names))})"


def _grouped(names: list[str], all_names: list[str]) -> Iterator[str]:
    """Names of sweeps; all that begin alike are one pattern."""
    for start in dict.fromkeys(name.split("_")[0] for name in names):
        alike = [name for name in names if name.startswith(f"{start}_")]
        whole = [name for name in all_names if name.startswith(f"{start}_")]
        yield from [f"`{start}_*`"] if alike == whole and alike[1:] else [f"`{n}`" for n in alike]


if __name__ == "__main__":
    sys.stdout.write(papers_page())
