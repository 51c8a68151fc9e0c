"""Counted things in words."""

from __future__ import annotations

import pytest

from unlearn_ray.config.sweep_schema import Resources, Workers
from unlearn_ray.core.words import counted


@pytest.mark.parametrize(
    ("count", "things", "text"),
    [
        (0, ("trial",), "0 trials"),
        (1, ("trial",), "1 trial"),
        (2, ("trial",), "2 trials"),
        (12345, ("trial",), "12,345 trials"),
        (1.0, ("CPU",), "1 CPU"),
        (0.5, ("CPU",), "0.5 CPUs"),
        (1, ("study", "studies"), "1 study"),
        (2, ("study", "studies"), "2 studies"),
    ],
)
def test_one_is_no_plural(count: float, things: tuple[str, ...], text: str) -> None:
    assert counted(count, *things) == text


def test_resources_in_words() -> None:
    assert f"{Resources()}" == "1 worker of 1 CPU each"
    asked = Resources(workers=Workers(min=2, max=4), cpu=2, gpu=1)
    assert f"{asked}" == "2 workers of 2 CPUs and 1 GPU each"
