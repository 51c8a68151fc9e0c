"""`keep:` in a sweep file: what stays of a sweep's trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.keeping.searched import SEARCHED, search
from tests.keeping.test_collection import kept_models
from tests.tiny import runtime, tiny_sweep
from unlearn_ray.cli.run import keep_models
from unlearn_ray.config.sweep_schema import Keep, Sweep
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.storage.store import Store
from unlearn_ray.studies.plan import make_plan
from unlearn_ray.studies.study import study_key


def keeping(models: object, folder: Path, text: str = SEARCHED) -> Sweep:
    return tiny_sweep(folder, text + f"keep: {{models: {models}}}\n")


@pytest.mark.parametrize(("models", "tuning"), [("all", 6), ("best", 2), (2, 4), ("reporting", 0)])
def test_models_stay_as_the_file_says(
    models: object, tuning: int, local: Store, tmp_path: Path
) -> None:
    sweep = keeping(models, tmp_path)
    keep_models(make_plan(sweep, local), local)
    assert kept_models(local) == {"reference": 4, "tuning": tuning, "reporting": 2}
    assert make_plan(sweep, local).complete


def test_no_key_depends_on_it(searched: tuple[Sweep, Store], tmp_path: Path) -> None:
    plain, _ = searched
    other = tiny_sweep(tmp_path, f"{SEARCHED}keep: {{observations: [view_features], models: 3}}\n")
    assert other.keep == Keep(observations=("view_features",), models=3)
    keys = [[study_key(one, study) for study in one.studies] for one in (plain, other)]
    assert keys[0] == keys[1]


def test_models_of_another_sweep_stay(local: Store, tmp_path: Path) -> None:
    """Both have the same trials, of which the other keeps all."""
    text = SEARCHED.replace("searched", "third")
    search(tiny_sweep(tmp_path, text), runtime(local.url))
    before = kept_models(local)
    sweep = keeping("best", tmp_path, text)
    keep_models(make_plan(sweep, local), local)
    assert kept_models(local) == before


def test_not_beside_another_process_that_removes(
    local: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lease = local.keeper("gc")
    assert lease is not None
    with lease:
        keep_models(make_plan(keeping("best", tmp_path), local), local)
    assert "warning: no models were removed: store " in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["some", 0, -1, 1.5, "[best]"])
def test_anything_else_is_refused(wrong: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tiny.yaml:\d+: keep.models"):
        keeping(wrong, tmp_path)
