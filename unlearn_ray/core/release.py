"""Which release of this package runs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """The installed version, or that there is none."""
    try:
        return version("unlearn_ray")
    except PackageNotFoundError:
        return "(not installed)"  # run from its source
