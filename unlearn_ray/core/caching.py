"""Where each machine caches what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """UNLEARN_RAY_CACHE, else ~/.cache/unlearn_ray."""
    chosen = os.environ.get("UNLEARN_RAY_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "unlearn_ray"
