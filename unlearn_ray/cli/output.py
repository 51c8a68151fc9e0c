"""Where and in which format a command of `results` prints."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_ray.core.errors import BadInput
from unlearn_ray.core.printable import printable_lines

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

    from unlearn_ray.reporting.two_sweeps import TwoSweeps

FORMATS = ("table", "markdown", "latex", "csv", "json", "parquet")


@dataclass(frozen=True)
class Output:
    """Where and in which format a result is printed."""

    format: str
    path: Path | None

    @classmethod
    def of(cls, options: argparse.Namespace) -> Output:
        """Where --format and --output say."""
        return cls(getattr(options, "format", "table"), getattr(options, "output", None))

    def frame(self, frame: pd.DataFrame, *, append: bool = False) -> None:
        """Print a frame; `append` prints it below what was printed before."""
        from unlearn_ray.reporting import grid, latex, render

        if self.format == "table":
            cells = render.frame_grid(frame)
            text = grid.aligned(cells)
            self._view(lambda width: grid.rich_grid(cells, width=width), text, append=append)
        elif self.format == "markdown":
            text = grid.markdown_grid(render.frame_grid(frame)) + "\n"
            self.text(f"\n{text}" if append else text, append=append)
        elif self.format == "latex":
            self.text(latex.latex_frame(frame), append=append)
        else:
            self._machine(frame)

    def comparisons(
        self,
        rows: pd.DataFrame,
        orders: Mapping[str, Sequence[str]],
        tuning: Mapping[str, Sequence[int]],
    ) -> None:
        """Print the paper's table of every sweep, its studies in the order of its file."""
        import pandas as pd

        from unlearn_ray.reporting import latex, render, table

        found = table.comparisons(rows, orders, tuning)
        if self.format == "table":
            for number, comparison in enumerate(found):
                view = partial(render.rich_view, comparison)
                self._view(view, render.plain_text(comparison), append=number > 0)
        elif self.format == "markdown":
            self.text("\n\n".join(map(render.markdown, found)) + "\n")
        elif self.format == "latex":
            self.text("\n".join(map(latex.latex, found)))
        else:
            self._machine(pd.concat([part.frame() for part in found], ignore_index=True))

    def two_sweeps(self, compared: TwoSweeps) -> None:
        """Print the comparison of two sweeps."""
        from unlearn_ray.reporting.latex import latex_of_two

        if self.format == "table":
            self.text(compared.plain_text() + "\n")
        elif self.format == "markdown":
            self.text(compared.markdown() + "\n")
        elif self.format == "latex":
            self.text(latex_of_two(compared))
        else:
            self._machine(compared.frame())

    def _view(
        self, view: Callable[[int], RenderableType], text: str, *, append: bool = False
    ) -> None:
        if self.path is None and sys.stdout.isatty():
            from rich.console import Console

            console = Console()
            console.print(view(console.width))
        else:
            self.text(("\n" if append else "") + text + "\n", append=append)

    def _machine(self, frame: pd.DataFrame) -> None:
        if self.format == "csv":
            self.text(frame.to_csv(index=False))
        elif self.format == "json":
            self.text(frame.to_json(orient="records", indent=2, date_format="iso") + "\n")
        else:
            buffer = io.BytesIO()
            frame.to_parquet(buffer, index=False)
            self._bytes(buffer.getvalue())

    def text(self, text: str, *, append: bool = False) -> None:
        """Print a text; `append` adds it to the file that was written before."""
        if self.path is None:
            sys.stdout.write(printable_lines(text) if sys.stdout.isatty() else text)
        else:
            self._bytes(text.encode(), append=append)

    def _bytes(self, data: bytes, *, append: bool = False) -> None:
        if self.path is None:
            raise BadInput(
                "--format parquet", "binary output cannot go to a terminal", "add --output FILE"
            )
        try:
            with self.path.open("ab" if append else "wb") as file:
                file.write(data)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise BadInput(f"--output {self.path}", reason, "name a file to write") from None


def say(text: str) -> None:
    """Print a line that is not the result."""
    print(text, file=sys.stderr)
