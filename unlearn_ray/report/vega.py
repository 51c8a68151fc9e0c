"""Vega, Vega-Lite and Vega-Embed as one script, which takes two seconds of CPU time to make.

It is kept in this machine's cache, by the version of what made it, with a digest of its text: a
file that a full disk cut short is made again.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from unlearn_ray.core.caching import cache_folder

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
            _keep(kept, text)
    assert "</script" not in text.lower()
    assert "<!--" not in text
    return text


def _kept(file: Path) -> str | None:
    """What `_keep` kept; None if it is not there, or not as it was."""
    try:
        digest, _, text = file.read_bytes().decode().partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    return text if digest == _digest(text) else None


def _keep(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as unfinished:
        path = Path(unfinished.name)
        try:
            unfinished.write(f"{_digest(text)}\n{text}".encode())
            unfinished.close()
            path.replace(file)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
