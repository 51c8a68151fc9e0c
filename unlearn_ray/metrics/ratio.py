"""Ratios of counts that are never infinite."""

from __future__ import annotations


def ratio_of(count: int, reference: int) -> float:
    """count / reference; 1 if both are equal, and count / 1 if only the reference is 0."""
    return 1.0 if count == reference else count / max(reference, 1)
