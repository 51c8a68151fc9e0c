"""Generates docs/scores.md, the page of all scores, from docstrings and fields.

python -m unlearn_ray.reporting.scores_page > docs/scores.md
"""

from __future__ import annotations

import sys

from unlearn_ray.core.registry import parts
from unlearn_ray.reporting.grid import markdown_grid
from unlearn_ray.reporting.part_words import class_words, fields_grid
from unlearn_ray.scores.base import MaskedScore, Score

_HEAD = """\
# Scores

What each score of `unlearn_ray/scores/` is and takes, from its own docstring; `make docs` writes
this page. A sweep names them under `scores:`. A score is a function of many models: of a *bank*
(`bank:`, models on random masks of audited samples), or of the *replicates* of one split
(`seeds: {replicates: ...}`). [How to believe a table](evidence.md) says which one answers which
question.
"""


def scores_page() -> str:
    """The page, as Markdown."""
    grid = [["score", "of", "models at least", "about"]]
    for name, score in parts(Score).items():
        models = "a bank" if issubclass(score, MaskedScore) else "replicates"
        about = "the original" if score.of_original else "each method"
        grid.append([f"[{name}](#{name})", models, f"{score.least}", about])
    blocks = [_HEAD.rstrip(), markdown_grid(grid)]
    for name, score in parts(Score).items():
        each = ", ".join(f"`{column}` ({header})" for column, header in score.columns.items())
        blocks += [f"## {name}", *class_words(score), f"Columns: {each}.", *fields_grid(score)]
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    sys.stdout.write(scores_page())
