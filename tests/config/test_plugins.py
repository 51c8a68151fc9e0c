"""The field `plugins`: loaded first, wrong ones told at their line, and no part of any key."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.own_project import write_parts, write_sweep
from tests.tiny import SWEEP
from unlearn_ray.config.sweep_file import load_sweep
from unlearn_ray.config.sweep_schema import Sweep
from unlearn_ray.core.errors import ConfigError
from unlearn_ray.storage.store import open_store
from unlearn_ray.studies.plan import make_plan

pytestmark = pytest.mark.usefixtures("no_plugins")


def keys(sweep: Sweep, folder: Path) -> set[str]:
    plan = make_plan(sweep, open_store(str(folder / "store")))
    return {one.step.key for one in plan.references} | {study.key for study in plan.studies}


def test_short_forms_name_methods_of_plugins(tmp_path: Path) -> None:
    """Also where --set names the plug-ins, and where it reaches into such a study."""
    files = write_parts(tmp_path)
    with files["own_method"].open("a") as own:
        own.write("\nfrom unlearn_ray.core.ranges import uniform\n")
        own.write("\nOwnMethod.recommended = {'learning_rate': uniform(0.01, 0.1)}\n")
    file = write_sweep(tmp_path, *(f"./{path.name}" for path in files.values()))
    named = f"plugins=[{', '.join(map(str, files.values()))}]"
    for overrides in (["methods=[scrub, own_method]"], ["methods=[own_method]", named]):
        assert load_sweep(file, overrides).studies[-1].method.name == "own_method"
    sweep = load_sweep(file, ["methods.own_method=recommended", "methods.own_method.epochs=2"])
    assert sweep.studies[-1].fixed["epochs"] == 2


def test_parts_are_known_and_places_are_in_no_key(tmp_path: Path) -> None:
    found = []
    written = {folder: write_parts(folder) for folder in (tmp_path / "a", tmp_path / "b")}
    for folder, files in written.items():
        file = write_sweep(folder, *(f"./{path.name}" for path in files.values()))
        sweep = load_sweep(file)
        assert sweep.plugins == tuple(map(str, files.values()))
        assert sweep.studies[0].method.__module__ == "own_method"
        found.append(keys(sweep, folder))
    assert found[0] == found[1]
    (tmp_path / "b/own_helper.py").write_text("ONE = 2.0\n")
    assert len(keys(load_sweep(file), tmp_path / "b") - found[0]) == 1  # the study's


def test_keys_of_other_sweeps_do_not_change(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(SWEEP)
    plain = keys(load_sweep(file), tmp_path)
    own = write_parts(tmp_path)["own_loader"]
    file.write_text(f"{SWEEP}plugins: {own.name}\n")
    sweep = load_sweep(file)
    assert sweep.plugins == (str(own),)
    assert keys(sweep, tmp_path) == plain
    file.write_text(f"{SWEEP}plugins: null\n")
    assert load_sweep(file).plugins == ()
    assert "own_loader" not in sys.modules


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[./none.py]", "plugins[0] = ./none.py: there is no file {folder}/none.py; name a"),
        ("./none.py", "plugins = ./none.py: there is no file"),
        ("[3]", "plugins[0] = 3: the name of a module or a file is expected; write ./my"),
        ("{a: b}", "plugins = {{a: b}}: the name of a module or a file is expected"),
        ('["a\\0.py"]', "the text "),
        ("[no.such.module]", "there is no module of this name"),
        ("[./own_loader.py, ./twice.py]", "plugins[1] = ./twice.py: metric own_loader: two parts"),
        ("[./taken.py]", "plugins[0] = ./taken.py: metric retain_accuracy: two parts have this"),
        ("[./wrong.py]", "plugins[0] = ./wrong.py: cannot be imported: NameError: name 'nothing'"),
    ],
)
def test_what_is_wrong_is_told_at_its_line(value: str, said: str, tmp_path: Path) -> None:
    own = write_parts(tmp_path)["own_loader"].read_text()
    (tmp_path / "twice.py").write_text(own)
    (tmp_path / "taken.py").write_text(own.replace('r("own_loader', 'r("retain_accuracy'))
    (tmp_path / "wrong.py").write_text("nothing\n")
    file = tmp_path / "tiny.yaml"
    file.write_text(f"plugins: {value}\n{SWEEP}")
    with pytest.raises(ConfigError, match=re.escape(said.format(folder=tmp_path))) as told:
        load_sweep(file)
    assert str(told.value).startswith(f"{file}:1: plugins")
    file.write_text(SWEEP)
    load_sweep(file)


def test_an_option_starts_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parts(tmp_path / "lab")
    file = tmp_path / "tiny.yaml"
    file.write_text(SWEEP)
    monkeypatch.chdir(tmp_path / "lab")
    sweep = load_sweep(file, ["plugins=[./own_loader.py]", "metrics=[retain_accuracy, own_loader]"])
    assert [metric.name for metric in sweep.metrics] == ["retain_accuracy", "own_loader"]
    with pytest.raises(ConfigError, match=r"own_loader.*unknown metric"):
        load_sweep(file, ["metrics=[own_loader]"])
