"""Vega, Vega-Lite and Vega-Embed as one script, which takes two seconds of CPU time to make.

It is kept in this machine's cache, by the version of what made it, with a digest of its text: a
file that a full disk cut short is made again.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from unlearn_ray.core.caching import cache_folder
from unlearn_ray.core.text_files import write_whole

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


@cache
def bundle() -> str:
    """The script.

    Raises:
        ModuleNotFoundError: the extra `report` is not installed.
    """
    import vl_convert

    made_by = version("vl-convert-python")
    kept = cache_folder() / "vega" / f"{made_by}-{_digest(_SNIPPET)[:16]}.js"
    text = _kept(kept)
    if text is None:
        text = str(vl_convert.javascript_bundle(_SNIPPET))
        with suppress(OSError):  # a cache that cannot be written costs time alone
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_whole(kept, f"{_digest(text)}\n{text}".encode())
    assert "</script" not in text.lower()
    assert "<!--" not in text
    return text


def _kept(file: Path) -> str | None:
    """What was kept; None if it is not there, or not as it was."""
    try:
        digest, _, text = file.read_bytes().decode().partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return text if digest == _digest(text) else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
