"""Released files of best configurations: sweeps that search nothing and say where they are from."""

from __future__ import annotations

import re
from pathlib import Path

from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan

BEST = Path(__file__).parents[2] / "sweeps" / "best"


def test_every_released_file_plans(tmp_path: Path) -> None:
    files = sorted(BEST.glob("*.yaml"))
    assert files
    for path in files:
        sweep = load_sweep(path, store=str(tmp_path / "store"))
        setting = sweep.setting
        assert path.stem.startswith(f"{setting.dataset.name}-{setting.family.name}-")
        assert setting.forget_set.name in path.stem
        plan = make_plan(sweep, open_store(sweep.store))
        assert all(study.wanted == 1 for study in plan.studies)
        text = path.read_text()
        for said in (r"# The winners of sweep \w+: ", r"tuning seeds? ", r"Made on: ", r"With: "):
            assert re.search(said, text), (path.name, said)
        assert text.count("; score ") == len(plan.studies)
        assert "\nstore: " not in text
