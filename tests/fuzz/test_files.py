"""Whatever others put into ids files, images and stores is taken, or refused in one short line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.fuzzing import Target
from tests.fuzz.ids_files import IdsInput, IdsJudge, draw_ids
from tests.fuzz.images import ImageInput, ImageJudge, draw_image, good
from tests.fuzz.stores import StoreInput, StoreJudge

SHORT, LONG = 10, 100


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEARN_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def ids(tmp_path: Path) -> Target[IdsInput]:
    return Target("ids files", draw_ids, IdsJudge(tmp_path), IdsInput.smaller, IdsInput.show)


@pytest.fixture
def images(tmp_path: Path) -> Target[ImageInput]:
    good()
    judge = ImageJudge(tmp_path)
    return Target("images", draw_image, judge, ImageInput.smaller, ImageInput.show)


@pytest.fixture
def stores(tmp_path: Path, finished_sweep: Path) -> Target[StoreInput]:
    judge = StoreJudge(finished_sweep, tmp_path)
    return Target("stores", judge.draw, judge, StoreInput.smaller, StoreInput.show)


def test_ids_files(ids: Target[IdsInput]) -> None:
    ids.run(SHORT).check(accepted=0.05, refused=0.2)


def test_images(images: Target[ImageInput]) -> None:
    assert len(good()) > 100
    images.run(SHORT).check(accepted=0.05, refused=0.2)


def test_stores(stores: Target[StoreInput]) -> None:
    stores.run(SHORT).check(accepted=0.5)


@pytest.mark.slow
def test_ids_files_for_long(ids: Target[IdsInput]) -> None:
    ids.run(LONG).check()


@pytest.mark.slow
def test_images_for_long(images: Target[ImageInput]) -> None:
    images.run(LONG).check()


@pytest.mark.slow
def test_stores_for_long(stores: Target[StoreInput]) -> None:
    stores.run(LONG).check()
