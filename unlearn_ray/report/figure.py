"""What a report draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart, and what it shows in words.

    Attributes:
        name: of its anchor in the page and of its SVG file: lower case and hyphens.
        title: one line.
        caption: how to read it; what a person who cannot see it needs to know.
        chart: its data inside, binned or thinned to what can be seen.
    """

    name: str
    title: str
    caption: str
    chart: altair.TopLevelMixin
