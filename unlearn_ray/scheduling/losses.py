"""A worker that Ray's memory monitor has killed, by what Ray says of it."""

from __future__ import annotations

_OF_RAYS_MONITOR = "due to the node running low on memory"


def memory_kill(error: BaseException) -> str | None:
    """What happened and what helps, in words; None if the worker was lost in another way.

    Args:
        error: of a worker, or of a group of them, that is gone.
    """
    if _OF_RAYS_MONITOR not in f"{error}":
        return None
    return (
        "Ray killed it as its machine ran low on memory; lower the batch size, or request more "
        "CPUs per worker (resources), so that fewer share a machine"
    )
