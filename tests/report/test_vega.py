"""The script that draws charts, and its copy in the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import vl_convert

from unlearn_ray.report.vega import bundle


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a process that has made no script yet."""
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(tmp_path))
    bundle.cache_clear()
    yield tmp_path / "vega"
    bundle.cache_clear()


def test_it_is_made_once_and_made_again_if_it_was_cut_short(folder: Path) -> None:
    made = bundle()
    assert made == vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    bundle.cache_clear()
    assert bundle() == made
    for damaged in (b"", whole[:-1], b"\xff" + whole, whole.partition(b"\n")[2]):
        file.write_bytes(damaged)
        bundle.cache_clear()
        assert bundle() == made
        assert file.read_bytes() == whole
    assert [*folder.iterdir()] == [file]


def test_it_needs_no_cache(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    assert "vegaEmbed" in bundle()
